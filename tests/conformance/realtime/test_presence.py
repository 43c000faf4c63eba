"""Both SDKs are present: enter, update, leave, for others too; SYNC; going away in every way."""

import asyncio

import pytest

from tests.conformance.on_asyncio import on_asyncio
from tests.conformance.realtime.client import Received
from tests.conformance.realtime.payloads import PAYLOADS
from tests.conformance.realtime.proxy import Proxy
from tests.conformance.realtime.rest import Rest
from tests.conformance.realtime.sdk import Sdk

pytestmark = pytest.mark.conformance

REMAIN = {"remainPresentFor": "1000"}


def told(received: list[Received]) -> list[tuple[object, ...]]:
    return [(message.action, message.client_id, message.data) for message in received]


@on_asyncio
async def test_enter_update_leave(sdk: Sdk, channel: str) -> None:
    sdk = sdk.with_tokens()
    async with sdk.connected(client_id="me") as member, sdk.connected() as watcher:
        own = await member.channel(channel)
        own_events = await own.watch_presence()
        events = await (await watcher.channel(channel)).watch_presence()
        await own.enter("hello")
        await own.presence("update", {"mood": "good"})
        await own.presence("leave", b"bye")
        expected = [("enter", "hello"), ("update", {"mood": "good"}), ("leave", b"bye")]
        received = await events.take(3)
        assert told(received) == [(action, "me", data) for action, data in expected]
        assert [m.id for m in await own_events.take(3)] == [m.id for m in received]
        connection = (await member.connection()).id
        assert {message.connection_id for message in received} == {connection}
        kept = await own.presence_history(direction="forwards")
        assert told(kept) == told(received)
        assert [(m.id, m.timestamp) for m in kept] == [(m.id, m.timestamp) for m in received]
        assert await own.members() == []


@on_asyncio
async def test_payloads_of_every_kind_in_both_formats(sdk: Sdk, channel: str) -> None:
    async with (
        sdk.connected(client_id="me") as member,
        sdk.in_the_other_format().connected() as watcher,
    ):
        events = await (await watcher.channel(channel)).watch_presence()
        own = await member.channel(channel)
        for payload in PAYLOADS:
            await own.enter(payload)
            assert (await events.one()).data == payload


@on_asyncio
async def test_who_comes_later_finds_them_as_they_entered(sdk: Sdk, channel: str) -> None:
    async with sdk.connected(client_id="me") as member, sdk.connected() as watcher:
        own = await member.channel(channel)
        entered = await own.watch_presence()
        await own.enter({"a": 1})
        first = await entered.one()
        later = await watcher.channel(channel)
        (found,) = await later.members()
        assert found.action == "present"
        assert (found.id, found.client_id, found.connection_id, found.timestamp, found.data) == (
            first.id,
            first.client_id,
            first.connection_id,
            first.timestamp,
            first.data,
        )
        await own.presence("update", "b")
        await entered.one()
        await later.detach()
        ((again),) = await later.members()
        assert (again.data, again.id) == ("b", entered.items[-1].id)


@on_asyncio
async def test_without_echo_presence_is_still_told(sdk: Sdk, channel: str) -> None:
    async with sdk.connected(client_id="me", echo=False) as quiet:
        own = await quiet.channel(channel)
        events = await own.watch_presence()
        await own.enter("here")
        assert told([await events.one()]) == [("enter", "me", "here")]


@on_asyncio
async def test_history_until_attach(node_sdk: Sdk, channel: str) -> None:
    async with node_sdk.connected(client_id="a") as a, node_sdk.connected(client_id="b") as b:
        own, later = await a.channel(channel), await b.channel(channel)
        await own.enter("before")
        await later.attach()
        await own.presence("update", "after")
        before = await later.presence_history(untilAttach=True)
        assert told(before) == [("enter", "a", "before")]
        assert len(await later.presence_history()) == 2


@pytest.mark.parametrize("count", [250, 2_000])
@on_asyncio
async def test_a_crowd(one_sdk: Sdk, channel: str, count: int) -> None:
    """All of them, over SYNC and over REST: there is no cliff at 200."""
    async with (
        one_sdk.connected(**one_sdk.anybody()) as source,
        one_sdk.in_the_other_format().connected() as watcher,
        Rest(one_sdk.server) as rest,
    ):
        crowd = await source.channel(channel)
        await crowd.attach()
        names = [f"client-{number}" for number in range(count)]
        await asyncio.gather(*(crowd.enter_client(name, name) for name in names))
        members = await (await watcher.channel(channel)).members()
        assert {member.client_id: member.data for member in members} == {n: n for n in names}
        assert len(members) == count
        if count <= 1_000:
            assert await rest.members(channel) == set(names)


@on_asyncio
async def test_on_behalf_of_others(sdk: Sdk, channel: str) -> None:
    async with (
        sdk.connected(**sdk.anybody()) as source,
        sdk.connected() as watcher,
    ):
        events = await (await watcher.channel(channel)).watch_presence()
        crowd = await source.channel(channel)
        await crowd.enter_client("a", "1")
        await crowd.enter_client("b", "2")
        await crowd.presence("updateClient", "a", "3")
        await crowd.presence("leaveClient", "b")
        assert told(await events.take(4)) == [
            ("enter", "a", "1"),
            ("enter", "b", "2"),
            ("update", "a", "3"),
            ("leave", "b", "2"),
        ]
        members = await (await watcher.channel(channel)).members()
        assert [(member.client_id, member.data) for member in members] == [("a", "3")]


@pytest.mark.parametrize("leaving", ["close", "detach"])
@on_asyncio
async def test_leaving_at_once(sdk: Sdk, channel: str, leaving: str) -> None:
    async with sdk.connected(client_id="me") as member, sdk.connected() as watcher:
        events = await (await watcher.channel(channel)).watch_presence()
        own = await member.channel(channel)
        await own.enter("here")
        await events.one()
        if leaving == "close":
            await member.close_connection()
        else:
            await own.detach()
        assert told([await events.one()]) == [("leave", "me", "here")]


@on_asyncio
async def test_leaving_some_time_after_a_drop_and_coming_back(sdk: Sdk, channel: str) -> None:
    async with Proxy(sdk.server.port) as proxy, sdk.connected() as watcher:
        events = await (await watcher.channel(channel)).watch_presence()
        async with sdk.connected(client_id="me", via=proxy, transport_params=REMAIN) as member:
            await (await member.channel(channel)).enter("here")
            await events.one()
            connection = (await member.connection()).id
            assert connection
            proxy.close()
            await member.reaches("disconnected")
            left = await events.one()
            assert told([left]) == [("leave", "me", "here")]
            assert left.connection_id == connection
            assert left.id
            assert not left.id.startswith(connection)
            proxy.open()
            await member.reaches("connected")
            assert (await member.connection()).id == connection
            assert told([await events.one()]) == [("enter", "me", "here")]


@on_asyncio
async def test_a_short_drop_is_no_leave(sdk: Sdk, channel: str) -> None:
    async with Proxy(sdk.server.port) as proxy, sdk.connected() as watcher:
        events = await (await watcher.channel(channel)).watch_presence()
        async with sdk.connected(client_id="me", via=proxy) as member:
            own = await member.channel(channel)
            await own.enter("here")
            await own.reaches("attached")
            await events.one()
            proxy.cut()
            assert (await own.reaches("attached")).resumed is True
            await own.presence("update", "still here")
            seen = await events.until(lambda message: message.data == "still here")
            assert "leave" not in {message.action for message in seen}
            (found,) = await (await watcher.channel(channel)).members()
            assert found.data == "still here"


@on_asyncio
async def test_members_of_two_connections(sdk: Sdk, channel: str) -> None:
    """One client on two connections is two members."""
    async with sdk.connected(client_id="me") as a, sdk.connected(client_id="me") as b:
        events = await (await b.channel(channel)).watch_presence()
        for client in (a, b):
            await (await client.channel(channel)).enter()
        await events.take(2)
        members = await (await b.channel(channel)).members()
        ids = {(await client.connection()).id for client in (a, b)}
        assert {member.connection_id for member in members} == ids
        await a.close_connection()
        await events.until(lambda message: message.action == "leave")
        (left,) = await (await b.channel(channel)).members()
        assert left.connection_id == (await b.connection()).id
