"""The network goes away and comes back: nothing is lost, nothing doubled, nothing out of order."""

import asyncio
import json

import pytest

from tests.conformance.on_asyncio import on_asyncio
from tests.conformance.realtime.proxy import Proxy
from tests.conformance.realtime.rest import Rest
from tests.conformance.realtime.sdk import Sdk

pytestmark = pytest.mark.conformance


@on_asyncio
async def test_a_subscriber_misses_nothing(sdk: Sdk, channel: str) -> None:
    names = [str(number) for number in range(30)]
    async with (
        Proxy(sdk.server.port) as proxy,
        sdk.connected(via=proxy) as client,
        Rest(sdk.server) as rest,
    ):
        target = await client.channel(channel)
        inbox = await target.subscribe()
        await target.reaches("attached")
        before = await client.connection()
        for cut, name in enumerate(names):
            await rest.publish(channel, {"name": name})
            if cut % 10 == 5:
                proxy.close()
                await client.reaches("disconnected")
            if cut % 10 == 9:
                proxy.open()
                change = await client.reaches("connected")
                assert change.refused is None
                assert (await target.reaches("attached")).resumed is True
        await rest.publish(channel, {"name": "end"})
        received = await inbox.until(lambda message: message.name == "end")
        after = await client.connection()
    assert [message.name for message in received] == [*names, "end"]
    assert after.id == before.id
    assert after.key != before.key


@on_asyncio
async def test_many_missed_messages(one_sdk: Sdk, channel: str) -> None:
    """More than the server would keep for one connection."""
    async with (
        Proxy(one_sdk.server.port) as proxy,
        one_sdk.connected(via=proxy) as client,
        Rest(one_sdk.server) as rest,
    ):
        target = await client.channel(channel)
        inbox = await target.subscribe()
        await target.reaches("attached")
        await rest.publish(channel, {"name": "first"})
        await inbox.one()
        proxy.close()
        await client.reaches("disconnected")
        for start in range(0, 3_000, 500):
            await rest.publish(channel, *({"name": str(start + n)} for n in range(500)))
        proxy.open()
        assert (await target.reaches("attached")).resumed is True
        received = await inbox.take(3_000)
    assert [message.name for message in received] == [str(number) for number in range(3_000)]


@on_asyncio
async def test_a_subscriber_that_does_not_read_for_a_while(one_sdk: Sdk, channel: str) -> None:
    """7 MB, more than its outbox and the buffers on the way hold: the rest comes from the log."""
    async with (
        Proxy(one_sdk.server.port) as proxy,
        one_sdk.connected(via=proxy) as client,
        one_sdk.connected() as other,
        Rest(one_sdk.server) as rest,
    ):
        inbox = await (await client.channel(channel)).subscribe()
        meanwhile = await (await other.channel(channel)).subscribe()
        proxy.hold()
        names = [str(number) for number in range(120)]
        for name in names:
            await rest.publish(channel, {"name": name, "data": "x" * 60_000})
        assert [message.name for message in await meanwhile.take(len(names))] == names
        proxy.release()
        assert [message.name for message in await inbox.take(len(names))] == names
        await rest.publish(channel, {"name": "live"})
        assert (await inbox.one()).name == "live"


@on_asyncio
async def test_what_was_not_acknowledged_is_processed_once(sdk: Sdk, channel: str) -> None:
    """The server got it and its ACK was lost: the SDK sends it again, with the same msgSerial."""
    names = [str(number) for number in range(50)]
    async with (
        Proxy(sdk.server.port) as proxy,
        sdk.connected(via=proxy) as client,
        sdk.connected() as witness,
    ):
        inbox = await (await witness.channel(channel)).subscribe()
        target = await client.channel(channel)
        await target.publish("acknowledged")
        await inbox.one()
        connection = (await client.connection()).id
        proxy.hold()
        publishing = asyncio.gather(*(target.publish(name) for name in names))
        seen = await inbox.take(len(names))
        assert not publishing.done()
        proxy.cut()
        proxy.release()
        serials = await publishing
        await target.publish("end")
        rest = await inbox.until(lambda message: message.name == "end")
        assert (await client.connection()).id == connection
    assert [message.name for message in seen] == names
    assert [message.serial for message in seen] == serials
    assert [message.name for message in rest] == ["end"]


@on_asyncio
async def test_what_was_published_while_away_arrives_in_order(sdk: Sdk, channel: str) -> None:
    async with Proxy(sdk.server.port) as proxy, sdk.connected(via=proxy) as client:
        target = await client.channel(channel)
        inbox = await target.subscribe()
        await target.publish("0")
        proxy.close()
        await client.reaches("disconnected")
        publishing = asyncio.gather(*(target.publish(str(number)) for number in range(1, 20)))
        proxy.open()
        await publishing
        received = await inbox.take(20)
    assert [message.name for message in received] == [str(number) for number in range(20)]


@on_asyncio
async def test_recover_in_another_client(node_sdk: Sdk, channel: str) -> None:
    """RTN16: the connection and its channels go on elsewhere."""
    async with (
        Proxy(node_sdk.server.port) as proxy,
        node_sdk.connected(via=proxy) as first,
        Rest(node_sdk.server) as rest,
    ):
        target = await first.channel(channel)
        inbox = await target.subscribe()
        await rest.publish(channel, {"name": "seen"})
        await inbox.one()
        connection = await first.connection()
        proxy.close()
        await first.reaches("disconnected")
        await rest.publish(channel, {"name": "missed"})
        async with node_sdk.client(recover=connection.recovery_key) as second:
            await second.connect()
            assert (await second.reaches("connected")).refused is None
            assert (await second.connection()).id == connection.id
            recovered = await second.channel(channel)
            continued = await recovered.subscribe()
            assert (await recovered.reaches("attached")).resumed is True
            await rest.publish(channel, {"name": "live"})
            assert [message.name for message in await continued.take(2)] == ["missed", "live"]


@on_asyncio
async def test_a_connection_taken_over(node_sdk: Sdk, channel: str) -> None:
    """Recovered while its first client is still there: that one goes on with a connection of its
    own, and takes nothing back."""
    async with node_sdk.connected() as first:
        target = await first.channel(channel)
        await target.publish("before")
        connection = await first.connection()
        async with node_sdk.client(recover=connection.recovery_key) as second:
            await second.connect()
            assert (await second.reaches("connected")).refused is None
            assert (await second.connection()).id == connection.id
            assert (await first.reaches("connected")).reason == (400, 80018)
            assert (await first.connection()).id != connection.id
            for client in (first, second):
                assert await client.ping() >= 0
                assert await (await client.channel(channel)).publish("after")
            assert [change.current for change in second.changes.unread] == []
            assert [change.current for change in first.changes.unread] == []


@on_asyncio
async def test_recover_what_never_was(node_sdk: Sdk, channel: str) -> None:
    never = {"connectionKey": "never!was", "msgSerial": 7, "channelSerials": {}}
    async with node_sdk.client(recover=json.dumps(never)) as client:
        await client.connect()
        assert (await client.reaches("connected")).reason == (400, 80018)
        assert (await client.connection()).id
        assert await (await client.channel(channel)).publish("n")


@on_asyncio
async def test_a_closed_connection_does_not_resume(one_sdk: Sdk, channel: str) -> None:
    async with one_sdk.connected() as client:
        before = (await client.connection()).id
        await client.close_connection()
        await client.reaches("closed")
        await client.connect()
        await client.reaches("connected")
        assert (await client.connection()).id != before
