"""The broker is killed or stopped and starts again on its data and port: connections go on."""

import asyncio
import shutil
from pathlib import Path

import pytest

from broker import offline
from storage import LogSettings
from tests.conformance.on_asyncio import on_asyncio
from tests.conformance.realtime.client import Client
from tests.conformance.realtime.proxy import Proxy
from tests.conformance.realtime.rest import Rest
from tests.conformance.realtime.sdk import Sdk
from tests.conformance.serving import ServerProcess

pytestmark = pytest.mark.conformance


async def restart(server: ServerProcess) -> None:
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)


async def resumed(client: Client, connection: str | None) -> None:
    assert (await client.reaches("connected")).refused is None
    assert (await client.connection()).id == connection


@on_asyncio
async def test_kill_9(one_sdk: Sdk, own_server: ServerProcess, channel: str) -> None:
    """In the middle of publishing, with ACKs on their way: each message is published once, and
    acknowledged with the serial it got; the subscriber sees each once, in order."""
    sdk = one_sdk.to(own_server)
    names = [str(number) for number in range(200)]
    async with (
        Proxy(own_server.port) as proxy,
        Proxy(own_server.port) as quiet,
        sdk.connected(via=quiet) as publisher,
        sdk.connected(via=proxy) as subscriber,
    ):
        source, target = await publisher.channel(channel), await subscriber.channel(channel)
        inbox = await target.subscribe()
        await target.reaches("attached")
        await source.publish("first")
        await inbox.one()
        connections = [(await client.connection()).id for client in (publisher, subscriber)]
        quiet.hold()
        publishing = asyncio.gather(*(source.publish(name) for name in names[:100]))
        seen = await inbox.take(60)
        await asyncio.to_thread(own_server.kill)
        assert not publishing.done()
        await subscriber.reaches("disconnected")
        quiet.cut()
        quiet.release()
        await publisher.reaches("disconnected")
        later = asyncio.gather(*(source.publish(name) for name in names[100:]))
        await asyncio.to_thread(own_server.start)
        await resumed(publisher, connections[0])
        await resumed(subscriber, connections[1])
        assert (await target.reaches("attached")).resumed is True
        serials = await publishing + await later
        seen += await inbox.take(len(names) - len(seen))
        await source.publish("end")
        assert (await inbox.one()).name == "end"
        async with Rest(own_server) as rest:
            assert await rest.names(channel) == ["first", *names, "end"]
    assert [message.name for message in seen] == names
    assert [message.serial for message in seen] == serials


@on_asyncio
async def test_presence_and_occupancy_after_kill_9(
    one_sdk: Sdk, own_server: ServerProcess, channel: str
) -> None:
    """A member who resumes stays. One whose process never comes back leaves after its grace, by an
    event. Occupancy counts who is there, at once."""
    sdk = one_sdk.with_tokens().to(own_server)
    async with (
        Proxy(own_server.port) as proxy,
        Proxy(own_server.port) as gone,
        sdk.connected(client_id="stays", via=proxy) as stays,
        sdk.connected(client_id="ghost", via=gone) as ghost,
    ):
        own = await stays.channel(channel)
        events = await own.watch_presence()
        await own.enter("here")
        await (await ghost.channel(channel)).enter("boo")
        await events.take(2)
        connection = (await stays.connection()).id
        gone.close()
        await restart(own_server)
        await resumed(stays, connection)
        assert (await own.reaches("attached")).resumed in (True, False)
        assert {m.client_id for m in await own.members()} == {"stays", "ghost"}
        left = await events.first(lambda message: message.action == "leave", within_s=40)
        assert (left.client_id, left.data) == ("ghost", "boo")
        metrics = await own.occupancy()
        assert (metrics["connections"], metrics["presenceMembers"]) == (1, 1)


@on_asyncio
async def test_a_graceful_stop(one_sdk: Sdk, own_server: ServerProcess, channel: str) -> None:
    """SIGTERM: clients are told, and go on when the server is back."""
    sdk = one_sdk.to(own_server)
    async with Proxy(own_server.port) as proxy, sdk.connected(via=proxy) as client:
        target = await client.channel(channel)
        inbox = await target.subscribe()
        await target.reaches("attached")
        await target.publish("before")
        await inbox.one()
        connection = (await client.connection()).id
        await asyncio.to_thread(own_server.stop)
        reason = (await client.reaches("disconnected")).reason
        assert reason
        assert reason[1] in (50003, 80003)
        publishing = asyncio.ensure_future(target.publish("during"))
        await asyncio.to_thread(own_server.start)
        await resumed(client, connection)
        assert await publishing
        assert (await inbox.one()).name == "during"


@on_asyncio
async def test_rewind_and_history_after_kill_9(
    one_sdk: Sdk, own_server: ServerProcess, channel: str
) -> None:
    sdk = one_sdk.with_tokens().to(own_server)
    async with sdk.connected() as client:
        serial = await (await client.channel(channel)).publish("kept", b"\x00")
    await restart(own_server)
    async with sdk.connected() as client:
        target = await client.channel(channel, params={"rewind": "1"})
        message = await (await target.subscribe()).one()
        assert (message.name, message.data, message.serial) == ("kept", b"\x00", serial)
        (found,) = await target.history()
        assert found.serial == serial


@on_asyncio
async def test_a_restored_backup(
    one_sdk: Sdk, own_server: ServerProcess, channel: str, tmp_path: Path
) -> None:
    """The directory is lost, and an older backup put in its place. The SDK has the same connection
    again, and says of its channel that something was missed; what comes then is heard."""
    sdk, backup = one_sdk.to(own_server), tmp_path / "backup"
    async with Proxy(own_server.port) as proxy, sdk.connected(via=proxy) as client:
        target = await client.channel(channel)
        inbox = await target.subscribe()
        await target.reaches("attached")
        connection = (await client.connection()).id
        kept = await target.publish("kept")
        await asyncio.to_thread(offline.backup, own_server.data, backup, LogSettings())
        lost = await target.publish("lost")
        await inbox.take(2)
        await asyncio.to_thread(own_server.kill)
        await client.reaches("disconnected")
        shutil.rmtree(own_server.data)
        await asyncio.to_thread(offline.restore, backup, own_server.data, LogSettings())
        await asyncio.to_thread(own_server.start)
        await resumed(client, connection)
        assert (await target.reaches("attached")).resumed is False
        new = await target.publish("new")
        assert (await inbox.one()).name == "new"
        found = await target.history(direction="forwards")
    assert [(one.name, one.serial) for one in found] == [("kept", kept), ("new", new)]
    assert new not in (None, lost)
