"""Connections over their whole life: held, lost, resumed, closed, expired; and after a restart.

Every deadline passes on a clock that the test moves.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import trio

import broker
from broker import BadRequest, Broker, BrokerSettings, NotFound
from broker.event import Kind
from broker.events import (
    BrokerStarted,
    ConnectionClosed,
    ConnectionExpired,
    ConnectionLost,
    ConnectionOpened,
    ConnectionResumed,
)
from broker.live.connection_log import (
    ConnectionRow,
    connection,
    connections,
    latest_epoch,
)
from broker.live.connections import Connections, LiveConnection
from storage import Cut, Span, Stream
from tests.broker.acting import ENTER, Acting, Time, writer_held
from tests.broker.conftest import FakeClock

LEAVE_MS, TTL_MS = 15_000, 120_000
INVALID_KEY, INCOMPATIBLE_CLIENT = 80018, 40102


class Held(Acting):
    """A broker's connections, and a member of each that is opened."""

    @property
    def connections(self) -> Connections:
        return self.broker.epoch.connections

    async def open(self, client_id: str | None = None) -> LiveConnection:
        opened = await self.connections.open(self.app, client_id)
        await self.act(ENTER, "me", connection=opened.id)
        return opened

    async def resume(self, key: str, client_id: str | None = None) -> LiveConnection:
        return await self.connections.resume(self.app, key, client_id)

    async def refused(self, key: str, client_id: str | None = None) -> int:
        """The code with which resuming is refused."""
        with pytest.raises(BadRequest) as refused:
            await self.resume(key, client_id)
        return refused.value.code

    def row(self, id_: str) -> ConnectionRow | None:
        with self.broker.rows() as rows:
            return connection(rows, id_)

    def is_present(self, id_: str) -> bool:
        return (id_, "me") in self.members()

    async def life(self) -> list[type]:
        return [type(event) for event in await self.events(Kind.CONNECTIONS, "")]


@pytest.fixture
def time(clock: FakeClock) -> Time:
    return Time(clock)


def a_broker(path: Path, time: Time, **settings: Any) -> AbstractAsyncContextManager[Broker]:
    return broker.open(path, clock=time.wall, settings=BrokerSettings(**settings))


@pytest.fixture
async def held(path: Path, time: Time) -> AsyncIterator[Held]:
    async with a_broker(path, time) as b:
        yield Held(b)


async def test_an_open_connection_is_on_disk(held: Held) -> None:
    opened = await held.open("me")
    row = held.row(opened.id)
    assert row is not None
    assert (row.app, row.client_id, row.lost_ms) == (held.app, "me", None)
    assert row.epoch == held.connections.epoch == 1
    secret = opened.key.partition("!")[2]
    assert opened.key == f"{opened.id}!{secret}"
    assert secret.encode() not in row.key_hash
    assert held.connections.find(held.app, opened.key) is opened
    assert await held.life() == [ConnectionOpened]


async def test_an_app_that_does_not_exist_has_no_connections(held: Held) -> None:
    with pytest.raises(NotFound):
        await held.connections.open("nowhere", None)
    assert held.connections.live == {}


async def test_resuming_gives_a_new_key_to_the_same_connection(held: Held) -> None:
    opened = await held.open("me")
    superseded = trio.Event()
    opened.superseded = superseded.set
    resumed = await held.resume(opened.key)
    assert superseded.is_set()
    assert (resumed.id, resumed.client_id) == (opened.id, "me")
    assert resumed.key != opened.key
    assert held.connections.find(held.app, opened.key) is None
    assert held.connections.find(held.app, resumed.key) is resumed
    assert await held.life() == [ConnectionOpened, ConnectionResumed]


async def test_a_client_that_never_saw_its_new_key_comes_back_with_the_old_one(
    held: Held,
) -> None:
    first = await held.open()
    held.connections.lost(first)
    second = await held.resume(first.key)
    third = await held.resume(first.key)
    assert third.key not in (first.key, second.key)
    third.confirmed = True
    assert await held.refused(first.key) == INVALID_KEY
    assert held.connections.live[first.id] is third


async def test_who_was_superseded_cannot_take_it_back(held: Held) -> None:
    """Or two clients would take it from each other for ever."""
    first = await held.open()
    second = await held.resume(first.key)
    assert await held.refused(first.key) == INVALID_KEY
    assert held.connections.live[first.id] is second


async def test_a_key_is_of_no_more_use_once_the_next_was_seen(held: Held) -> None:
    first = await held.open()
    first.confirmed = True
    second = await held.resume(first.key)
    second.confirmed = True
    assert await held.refused(first.key) == INVALID_KEY
    assert held.connections.live[first.id] is second
    assert (await held.resume(second.key)).id == first.id


async def test_keys_that_are_none(held: Held) -> None:
    opened = await held.open()
    for key in ["", "!", opened.id, f"{opened.id}!", f"{opened.id}!wrong", "x!y", "\ufffd!é"]:
        assert await held.refused(key) == INVALID_KEY, key
    assert held.connections.live == {opened.id: opened}
    assert held.is_present(opened.id)


@pytest.mark.parametrize(
    ("opened_as", "resumed_as", "refused"),
    [
        ("me", "you", True),
        ("me", "me", False),
        ("me", None, False),
        (None, "me", False),
        (None, None, False),
    ],
)
async def test_who_may_resume_what(
    held: Held, opened_as: str | None, resumed_as: str | None, refused: bool
) -> None:
    opened = await held.open(opened_as)
    if refused:
        assert await held.refused(opened.key, resumed_as) == INCOMPATIBLE_CLIENT
        assert held.connections.live[opened.id] is opened
    else:
        assert (await held.resume(opened.key, resumed_as)).client_id == opened_as


async def test_another_app_cannot_resume(held: Held) -> None:
    other = Held(held.broker, (await held.broker.apps.create()).id)
    opened = await held.open()
    assert await other.refused(opened.key) == INVALID_KEY
    assert held.connections.live[opened.id] is opened
    assert other.connections.find(other.app, opened.key) is None


async def test_a_lost_connection_leaves_then_expires(held: Held, time: Time) -> None:
    opened = await held.open()
    held.connections.lost(opened)
    await time.passes(LEAVE_MS - 100, held)
    assert held.is_present(opened.id)
    await time.passes(100, held)
    assert not held.is_present(opened.id)
    await time.passes(TTL_MS - LEAVE_MS - 100, held)
    row = held.row(opened.id)
    assert row is not None
    assert row.lost_ms is not None
    await time.passes(100, held)
    assert held.row(opened.id) is None
    assert await held.refused(opened.key) == INVALID_KEY
    assert await held.life() == [ConnectionOpened, ConnectionLost, ConnectionExpired]


async def test_one_that_is_resumed_in_time_neither_leaves_nor_expires(
    held: Held, time: Time
) -> None:
    opened = await held.open()
    held.connections.lost(opened)
    await time.passes(LEAVE_MS - 100, held)
    await held.resume(opened.key)
    await time.passes(2 * TTL_MS, held)
    assert held.is_present(opened.id)
    row = held.row(opened.id)
    assert row is not None
    assert row.lost_ms is None


async def test_losing_what_another_transport_resumed_changes_nothing(
    held: Held, time: Time
) -> None:
    opened = await held.open()
    resumed = await held.resume(opened.key)
    held.connections.lost(opened)
    held.connections.closed(opened)
    await time.passes(2 * TTL_MS, held)
    assert held.is_present(opened.id)
    assert held.connections.live[opened.id] is resumed


@pytest.mark.parametrize("remain_ms", [1_000, 60_000, 2 * TTL_MS])
async def test_a_client_may_ask_how_long_it_remains_present(
    held: Held, time: Time, remain_ms: int
) -> None:
    opened = await held.open()
    held.connections.lost(opened, remain_ms)
    await time.passes(remain_ms - 100, held)
    assert held.is_present(opened.id)
    await time.passes(100, held)
    assert not held.is_present(opened.id)
    await time.passes(TTL_MS, held)
    assert held.row(opened.id) is None


async def test_who_says_goodbye_leaves_now(held: Held, time: Time) -> None:
    opened = await held.open()
    held.connections.closed(opened)
    await held.settled()
    assert not held.is_present(opened.id)
    assert held.row(opened.id) is None
    assert await held.refused(opened.key) == INVALID_KEY
    await time.passes(2 * TTL_MS, held)
    assert await held.life() == [ConnectionOpened, ConnectionClosed]


async def test_members_of_a_channel_leave_when_it_is_detached(held: Held) -> None:
    opened = await held.open()
    await held.act(ENTER, "me", connection=opened.id, channel="d")
    held.connections.leave_channel(opened, "c")
    await held.settled()
    assert not held.is_present(opened.id)
    assert held.members("d") == {(opened.id, "me")}


async def test_a_refused_resume_changes_nothing(held: Held, time: Time) -> None:
    """Ids are no secret: trying one must not keep its members, nor its connection."""
    opened = await held.open()
    held.connections.lost(opened)
    for _ in range(20):
        await time.passes(TTL_MS // 20, held)
        assert await held.refused(f"{opened.id}!guessed") == INVALID_KEY
    await held.settled()
    assert not held.is_present(opened.id)
    assert held.row(opened.id) is None


async def test_a_refused_resume_changes_nothing_of_another_app(held: Held, time: Time) -> None:
    other = Held(held.broker, (await held.broker.apps.create()).id)
    opened = await held.open()
    held.connections.lost(opened)
    assert await other.refused(opened.key) == INVALID_KEY
    await time.passes(2 * TTL_MS, held, other)
    assert not held.is_present(opened.id)
    assert await held.life() == [ConnectionOpened, ConnectionLost, ConnectionExpired]
    assert await other.life() == []
    assert await other.events(Kind.PRESENCE) == []


@pytest.mark.parametrize("resuming", [False, True])
async def test_a_client_that_goes_away_while_it_is_let_in_leaves_nothing_behind(
    held: Held, time: Time, resuming: bool
) -> None:
    opened = await held.open()
    held.connections.lost(opened)
    await held.settled()
    async with writer_held(held.broker.log), trio.open_nursery() as nursery:
        if resuming:
            nursery.start_soon(held.resume, opened.key)
        else:
            nursery.start_soon(held.connections.open, held.app, None)
        while not held.broker.log.queued:
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert held.connections.live == {}
    await time.passes(LEAVE_MS, held)
    assert held.members() == set()
    await time.passes(TTL_MS, held)
    with held.broker.rows() as rows:
        assert list(connections(rows)) == []


async def test_each_start_is_an_epoch(path: Path, time: Time) -> None:
    for number in (1, 2, 3):
        async with a_broker(path, time) as b:
            assert b.epoch.connections.epoch == number
            with b.rows() as rows:
                assert latest_epoch(rows) == number
    async with a_broker(path, time) as b:
        page = await b.log.read(Stream("", "", Kind.CONNECTIONS), Span(), limit=10)
        assert [record.event for record in page.records] == [BrokerStarted(n) for n in (1, 2, 3, 4)]


async def test_what_a_dead_process_held_can_be_resumed(path: Path, time: Time) -> None:
    """For the TTL from the start on: the time that the broker was down is nobody's fault."""
    async with a_broker(path, time) as b:
        opened = await Held(b).open("me")
    time.wall.advance(10 * TTL_MS)
    async with a_broker(path, time) as b:
        held = Held(b)
        await time.passes(LEAVE_MS - 100, held)
        assert held.is_present(opened.id)
        resumed = await held.resume(opened.key)
        assert (resumed.id, resumed.client_id) == (opened.id, "me")
        await time.passes(2 * TTL_MS, held)
        assert held.is_present(opened.id)


async def test_a_client_whose_last_key_the_crash_took_comes_back(path: Path, time: Time) -> None:
    """It resumed, and the process died before it was told its new key."""
    async with a_broker(path, time) as b:
        opened = await Held(b).open()
        opened.confirmed = True
        await Held(b).resume(opened.key)
    async with a_broker(path, time) as b:
        assert (await Held(b).resume(opened.key)).id == opened.id


async def test_members_that_a_dead_process_held_leave_by_events(path: Path, time: Time) -> None:
    async with a_broker(path, time) as b:
        opened = await Held(b).open()
    async with a_broker(path, time) as b:
        held = Held(b)
        await time.passes(LEAVE_MS, held)
        assert not held.is_present(opened.id)
        await time.passes(TTL_MS - LEAVE_MS - 100, held)
        assert held.row(opened.id) is not None
        await time.passes(100, held)
        assert await held.refused(opened.key) == INVALID_KEY
        assert await held.life() == [ConnectionOpened, ConnectionExpired]


async def test_what_was_lost_before_the_crash_has_the_rest_of_its_time(
    path: Path, time: Time
) -> None:
    async with a_broker(path, time) as b:
        held = Held(b)
        opened = await held.open()
        held.connections.lost(opened)
        await held.settled()
        time.wall.advance(TTL_MS - 5_000)
        await held.act(ENTER, "somebody else", connection="x")  # the log's last sign of life
    time.wall.advance(10 * TTL_MS)
    async with a_broker(path, time) as b:
        held = Held(b)
        await time.passes(4_900, held)
        assert not held.connections._is_too_late(opened.id)
        await time.passes(100, held)
        assert await held.refused(opened.key) == INVALID_KEY
        assert held.row(opened.id) is not None  # its members have their own time
        await time.passes(LEAVE_MS - 5_000, held)
        assert held.row(opened.id) is None
        assert not held.is_present(opened.id)


async def test_members_may_outstay_what_can_be_resumed(held: Held, time: Time) -> None:
    """remainPresentFor is the client's; how long a connection can be resumed is the operator's."""
    opened = await held.open()
    held.connections.lost(opened, 2 * TTL_MS)
    await time.passes(TTL_MS, held)
    assert await held.refused(opened.key) == INVALID_KEY
    assert held.is_present(opened.id)
    await time.passes(TTL_MS, held)
    assert not held.is_present(opened.id)
    assert held.row(opened.id) is None


async def test_connections_outlive_their_events(held: Held, time: Time) -> None:
    opened = await held.open()
    other = await held.open("you")
    held.connections.lost(other)
    await held.settled()
    streams = [Stream(held.app, "", Kind.CONNECTIONS), Stream("", "", Kind.CONNECTIONS)]
    before = held.row(opened.id), held.row(other.id)
    await held.broker.log.trim([Cut(stream, held.broker.log.position) for stream in streams])
    assert await held.life() == []
    await held.broker.rebuild()
    assert (held.row(opened.id), held.row(other.id)) == before
    with held.broker.rows() as rows:
        assert latest_epoch(rows) == held.connections.epoch
    assert (await held.resume(other.key)).client_id == "you"


async def test_find_wants_the_whole_newest_key(held: Held) -> None:
    opened = await held.open()
    find = held.connections.find
    assert find(held.app, opened.key) is opened
    assert find("another", opened.key) is None
    for key in ["", "!", opened.id, f"{opened.id}!", f"{opened.key}x", "x!y"]:
        assert find(held.app, key) is None
    held.connections.lost(opened)
    assert find(held.app, opened.key) is None
