"""Both SDKs attach and detach: modes, params, rewind, history up to the attachment, refusals."""

import pytest

from tests.conformance.on_asyncio import on_asyncio
from tests.conformance.realtime.client import refusal
from tests.conformance.realtime.node_sdk import NodeChannel
from tests.conformance.realtime.proxy import Proxy
from tests.conformance.realtime.rest import Rest
from tests.conformance.realtime.sdk import Sdk

pytestmark = pytest.mark.conformance

DEFAULT_MODES = {"publish", "subscribe", "presence", "presence_subscribe"}
CHANNELS_MAX = 200


@on_asyncio
async def test_attach_detach_and_attach_again(sdk: Sdk, channel: str) -> None:
    async with sdk.connected() as client, Rest(sdk.server) as rest:
        target = await client.channel(channel)
        inbox = await target.subscribe()
        change = await target.reaches("attached")
        assert (change.previous, change.refused, change.resumed) == ("attaching", None, False)
        assert (await target.attachment()).modes >= DEFAULT_MODES
        await rest.publish(channel, {"name": "one"})
        assert (await inbox.one()).name == "one"
        await target.detach()
        await target.reaches("detached")
        await rest.publish(channel, {"name": "unseen"})
        await target.attach()
        assert (await target.reaches("attached")).resumed is False
        await rest.publish(channel, {"name": "two"})
        assert (await inbox.one()).name == "two"


@pytest.mark.parametrize("name", [":hell", "[bad", "[unknown]x", "new\nline"])
@on_asyncio
async def test_invalid_names(one_sdk: Sdk, name: str) -> None:
    async with one_sdk.connected() as client:
        target = await client.channel(name)
        assert await refusal(target.attach()) == (400, 40010)
        assert (await target.attachment()).state == "failed"
        assert (await client.connection()).state == "connected"


@pytest.mark.parametrize("end", ["slash/in", "plus+", "space in", "\U0001f600", "per%2F", "q?&=#"])
@on_asyncio
async def test_names(one_sdk: Sdk, channel: str, end: str) -> None:
    async with one_sdk.connected() as client, Rest(one_sdk.server) as rest:
        target = await client.channel(f"{channel}:{end}")
        inbox = await target.subscribe()
        await rest.publish(f"{channel}:{end}", {"name": "n"})
        assert (await inbox.one()).name == "n"


@on_asyncio
async def test_capabilities(sdk: Sdk, channel: str) -> None:
    sdk = sdk.with_tokens()
    allowed = {f"{channel}:read": ["subscribe"], f"{channel}:write": ["publish"]}
    async with sdk.connected(issue=sdk.issuer(capability=allowed)) as client:
        read, write, none = [await client.channel(f"{channel}:{n}") for n in ("read", "write", "x")]
        await read.attach()
        assert (await read.attachment()).modes == {"subscribe", "presence_subscribe"}
        await write.attach()
        assert (await write.attachment()).modes == {"publish"}
        assert await refusal(none.attach()) == (401, 40160)
        assert (await none.attachment()).state == "failed"
        assert await refusal(read.publish("n")) == (401, 40160)


@on_asyncio
async def test_modes(sdk: Sdk, channel: str) -> None:
    async with sdk.connected(client_id="me") as client, Rest(sdk.server) as rest:
        deaf = await client.channel(channel, modes=("publish", "presence"))
        unheard = await deaf.subscribe()
        assert (await deaf.attachment()).modes == {"publish", "presence"}
        other = await client.channel(f"{channel}:mute", params={"modes": "subscribe"})
        heard = await other.subscribe()
        attachment = await other.attachment()
        assert attachment.modes == {"subscribe"}
        assert attachment.params == {"modes": "subscribe"}
        assert (await refusal(other.publish("n")))[1] in (40160, 40165)
        assert (await refusal(other.enter()))[1] in (40160, 40165)
        await rest.publish(channel, {"name": "unheard"})
        await rest.publish(f"{channel}:mute", {"name": "heard"})
        assert (await heard.one()).name == "heard"
        await client.ping()
        assert unheard.items == []


@on_asyncio
async def test_params(sdk: Sdk, channel: str) -> None:
    """Those in force are echoed, as strings; those that mean nothing are not."""
    async with sdk.connected() as client:
        given = {"rewind": "2", "occupancy": "metrics", "foo": "bar"}
        target = await client.channel(channel, params=given)
        await target.attach()
        assert (await target.attachment()).params == {"rewind": "2", "occupancy": "metrics"}
        wrong = await client.channel(f"{channel}:wrong", params={"rewind": "soon"})
        assert await refusal(wrong.attach()) == (400, 40000)


@pytest.mark.parametrize("params", [{"rewind": "2"}, {"rewind": "1m", "rewindLimit": "2"}, None])
@on_asyncio
async def test_rewind(one_sdk: Sdk, channel: str, params: dict[str, str] | None) -> None:
    """As params, and in the name's qualifier."""
    async with (
        one_sdk.connected() as writer,
        Proxy(one_sdk.server.port) as proxy,
        one_sdk.connected(via=proxy) as client,
    ):
        source = await writer.channel(channel)
        for name in "abc":
            await source.publish(name)
        name = channel if params else f"[?rewind=2]{channel}"
        target = await client.channel(name, params=params)
        inbox = await target.subscribe()
        assert [message.name for message in await inbox.take(2)] == ["b", "c"]
        await target.reaches("attached")
        await source.publish("live")
        assert (await inbox.one()).name == "live"
        proxy.cut()
        await client.reaches("disconnected")
        assert (await target.reaches("attached")).resumed is True
        await source.publish("after")
        assert (await inbox.one()).name == "after"


@on_asyncio
async def test_rewind_by_time(one_sdk: Sdk, channel: str) -> None:
    async with one_sdk.connected() as client, Rest(one_sdk.server) as rest:
        await rest.publish(channel, *({"name": name} for name in "abc"))
        inbox = await (await client.channel(channel, params={"rewind": "60s"})).subscribe()
        assert [message.name for message in await inbox.take(3)] == ["a", "b", "c"]


@on_asyncio
async def test_history_until_attach(node_sdk: Sdk, channel: str) -> None:
    async with node_sdk.connected() as client, Rest(node_sdk.server) as rest:
        target = await client.channel(channel)
        await rest.publish(channel, *({"name": name} for name in "abc"))
        await target.attach()
        await rest.publish(channel, *({"name": name} for name in "def"))
        before = await target.history(untilAttach=True)
        assert [message.name for message in before] == ["c", "b", "a"]
        everything = await target.history(direction="forwards")
        assert [message.name for message in everything] == list("abcdef")


@on_asyncio
async def test_set_options_attaches_again(node_sdk: Sdk, channel: str) -> None:
    """ably-python's set_options waits for ever."""
    async with node_sdk.connected() as client, Rest(node_sdk.server) as rest:
        target = await client.channel(channel)
        assert isinstance(target, NodeChannel)
        inbox = await target.subscribe()
        await rest.publish(channel, {"name": "a"})
        assert (await inbox.one()).name == "a"
        await target.set_options(modes=("publish",))
        assert (await target.attachment()).modes == {"publish"}
        await rest.publish(channel, {"name": "unheard"})
        await target.set_options(params={"rewind": "1"}, modes=("subscribe",))
        attachment = await target.attachment()
        assert (attachment.modes, attachment.params) == ({"subscribe"}, {"rewind": "1"})
        await rest.publish(channel, {"name": "b"})
        assert (await inbox.until(lambda message: message.name == "b"))[-1].name == "b"
        assert [message.name for message in inbox.items].count("a") == 1


@on_asyncio
async def test_the_two_hundred_and_first_channel(one_sdk: Sdk, channel: str) -> None:
    async with one_sdk.connected() as client:
        targets = [await client.channel(f"{channel}:{n}") for n in range(CHANNELS_MAX + 1)]
        for target in targets[:-1]:
            await target.attach()
        assert await refusal(targets[-1].attach()) == (400, 90010)
        assert (await client.connection()).state == "connected"
        await targets[0].detach()
        again = await client.channel(f"{channel}:again")
        await again.attach()
