"""Both SDKs publish over a connection: what arrives, what the ACK says, what is refused."""

import asyncio
from collections.abc import Callable
from uuid import uuid4

import pytest

from tests.conformance.on_asyncio import on_asyncio
from tests.conformance.realtime.client import refusal
from tests.conformance.realtime.payloads import PAYLOADS
from tests.conformance.realtime.rest import Rest
from tests.conformance.realtime.sdk import ONE_WAY_EACH, Sdk, Way

pytestmark = pytest.mark.conformance


@on_asyncio
async def test_payloads_of_every_kind_in_both_formats(sdk: Sdk, channel: str) -> None:
    other = sdk.in_the_other_format()
    async with sdk.connected() as publisher, other.connected() as reader:
        inboxes = [await (await one.channel(channel)).subscribe() for one in (publisher, reader)]
        target = await publisher.channel(channel)
        for payload in PAYLOADS:
            serial = await target.publish("n", payload)
            for inbox in inboxes:
                message = await inbox.one()
                assert (message.name, message.data) == ("n", payload)
                assert message.serial == serial
                assert message.action == "message.create"
                assert message.connection_id == (await publisher.connection()).id


@pytest.mark.parametrize("cipher_key", [None, bytes(range(16)), bytes(range(32))])
@on_asyncio
async def test_each_sdk_reads_the_other(
    sdk_of: Callable[[Way], Sdk], channel: str, cipher_key: bytes | None
) -> None:
    python, node = (sdk_of(way) for way in ONE_WAY_EACH)
    async with python.connected() as one, node.connected() as other:
        channels = [await client.channel(channel, cipher_key=cipher_key) for client in (one, other)]
        inboxes = [await named.subscribe() for named in channels]
        for payload in PAYLOADS[:-1]:
            for source in channels:
                await source.publish("n", payload)
                assert [(await inbox.one()).data for inbox in inboxes] == [payload] * 2


@on_asyncio
async def test_ciphers(sdk: Sdk, channel: str) -> None:
    """The broker carries what it cannot read."""
    pytest.importorskip("Crypto", reason="ably[crypto] is not installed")
    key = bytes(range(16))
    async with (
        sdk.connected() as writer,
        sdk.in_the_other_format().connected() as reader,
        sdk.connected() as outsider,
    ):
        clear = await (await reader.channel(channel, cipher_key=key)).subscribe()
        opaque = await (await outsider.channel(channel)).subscribe()
        target = await writer.channel(channel, cipher_key=key)
        for payload in PAYLOADS[:-1]:
            await target.publish("n", payload)
            assert (await clear.one()).data == payload
            assert (await opaque.one()).encoding.endswith("cipher+aes-128-cbc")


@on_asyncio
async def test_what_is_delivered_acknowledged_and_kept_is_the_same(sdk: Sdk, channel: str) -> None:
    sdk = sdk.with_tokens()
    extras = {"headers": {"a": "b", "n": 1, "t": True}}
    async with sdk.connected(client_id="me") as client:
        target = await client.channel(channel)
        inbox = await target.subscribe()
        serials = await target.publish_all(
            [{"name": "a", "data": "1"}, {"name": "b", "data": b"2", "extras": extras}]
        )
        serials.append(await target.publish("c", {"three": 3}))
        received = await inbox.take(3)
        kept = await target.history(direction="forwards")
    assert [message.serial for message in received] == serials == sorted(set(serials))
    assert [(m.id, m.serial, m.timestamp, m.client_id, m.connection_id, m.data) for m in kept] == [
        (m.id, m.serial, m.timestamp, m.client_id, m.connection_id, m.data) for m in received
    ]
    assert {message.client_id for message in kept} == {"me"}
    assert received[1].extras == kept[1].extras == extras


@on_asyncio
async def test_an_explicit_id_is_published_once(sdk: Sdk, channel: str) -> None:
    """Whether it comes over REST or over a connection, first or again."""
    async with sdk.connected() as client, Rest(sdk.server) as rest:
        target = await client.channel(channel)
        inbox = await target.subscribe()
        (first,) = await rest.publish(channel, {"name": "a", "data": "1", "id": "order-7"})
        assert await target.publish("b", "2", id="order-7") == first
        second = await target.publish("c", "3", id="order-8")
        assert await target.publish("d", "4", id="order-8") == second
        assert await rest.publish(channel, {"name": "e", "id": "order-8"}) == [second]
        await target.publish("end")
        received = await inbox.until(lambda message: message.name == "end")
        assert await rest.names(channel) == ["a", "c", "end"]
    assert [message.name for message in received] == ["a", "c", "end"]
    assert received[0].connection_id is None


@on_asyncio
async def test_without_echo(sdk: Sdk, channel: str) -> None:
    async with sdk.connected(echo=False) as quiet, sdk.connected() as other:
        inbox = await (await quiet.channel(channel)).subscribe()
        elsewhere = await (await other.channel(channel)).subscribe()
        await (await quiet.channel(channel)).publish("own")
        await (await other.channel(channel)).publish("other")
        assert [message.name for message in await elsewhere.take(2)] == ["own", "other"]
        assert (await inbox.one()).name == "other"


@on_asyncio
async def test_ephemeral_messages_are_delivered_and_not_kept(sdk: Sdk, channel: str) -> None:
    async with sdk.connected() as client, Rest(sdk.server) as rest:
        target = await client.channel(channel)
        inbox = await target.subscribe()
        await target.publish("kept")
        await target.publish("gone", "d", extras={"ephemeral": True})
        assert [message.name for message in await inbox.take(2)] == ["kept", "gone"]
        assert await rest.names(channel) == ["kept"]
        late = await client.channel(f"[?rewind=2]{channel}")
        rewound = await late.subscribe()
        await target.publish("live")
        assert [message.name for message in await rewound.take(2)] == ["kept", "live"]


@on_asyncio
async def test_many_at_once_keep_their_order(sdk: Sdk, channel: str) -> None:
    async with sdk.connected() as client, sdk.connected() as reader:
        inbox = await (await reader.channel(channel)).subscribe()
        target = await client.channel(channel)
        names = [str(number) for number in range(300)]
        serials = await asyncio.gather(*(target.publish(name) for name in names))
        received = await inbox.take(len(names))
    assert [message.name for message in received] == names
    assert [message.serial for message in received] == serials


@on_asyncio
async def test_publishing_needs_no_attachment(sdk: Sdk, channel: str) -> None:
    async with sdk.connected() as client, Rest(sdk.server) as rest:
        target = await client.channel(channel)
        assert await target.publish("n", "d")
        assert (await target.attachment()).state == "initialized"
        assert await rest.names(channel) == ["n"]


@on_asyncio
async def test_publishing_before_there_is_a_connection(sdk: Sdk, channel: str) -> None:
    async with sdk.client() as client, Rest(sdk.server) as rest:
        await client.connect()
        target = await client.channel(channel)
        assert all(await asyncio.gather(*(target.publish(name) for name in "abc")))
        assert await rest.names(channel) == ["a", "b", "c"]


@on_asyncio
async def test_refusals_leave_the_connection_alone(sdk: Sdk, channel: str) -> None:
    allowed = {f"{channel}:open": ["publish"], f"{channel}:shut": ["subscribe"]}
    sdk = sdk.with_tokens()
    async with sdk.connected(issue=sdk.issuer(client_id="me", capability=allowed)) as client:
        target = await client.channel(f"{channel}:open")
        shut = await client.channel(f"{channel}:shut")
        assert await refusal(shut.publish("n")) == (401, 40160)
        assert await refusal((await client.channel("[bad")).publish("n")) == (400, 40010)
        assert await refusal(target.publish("n", clientId="you")) == (400, 40012)
        assert await refusal(target.publish("n", extras={"surprise": 1})) == (400, 40032)
        twice = [{"name": "n", "id": "a:1"}, {"name": "n", "id": "a:0"}]
        assert await refusal(target.publish_all(twice)) == (400, 40031)
        assert await target.publish("fine")
        assert (await client.connection()).state == "connected"
    async with Rest(sdk.server) as rest:
        assert await rest.names(f"{channel}:open") == ["fine"]


@on_asyncio
async def test_an_identified_namespace(sdk: Sdk) -> None:
    sdk = sdk.with_tokens()
    name = f"identified:{uuid4()}"
    async with sdk.connected() as nobody, sdk.connected(client_id="me") as somebody:
        assert await refusal((await nobody.channel(name)).publish("n")) == (401, 40161)
        assert await (await somebody.channel(name)).publish("n")


@on_asyncio
async def test_on_behalf_of_others(sdk: Sdk, channel: str) -> None:
    """Who may be anybody says who it is, message by message."""
    async with sdk.connected(**sdk.anybody()) as client:
        target = await client.channel(channel)
        inbox = await target.subscribe()
        await target.publish("n", clientId="you")
        assert (await inbox.one()).client_id == "you"
