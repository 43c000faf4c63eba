"""Epochs of several processes on one log: what each holds, what the others hear, what is left when
one ends. The other process is a second `Connections` on the same log, with an epoch of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import broker
from broker import BadRequest
from broker.channels.occupancy import TABLE, Occupancy
from broker.channels.presence import LeaveMembers
from broker.event import Kind
from broker.events import (
    ConnectionExpired,
    ConnectionLost,
    ConnectionOpened,
    ConnectionResumed,
    WorkerEnded,
    WorkerStarted,
)
from broker.live.connection_log import (
    EndWorker,
    ExpireConnection,
    StartWorker,
    connection,
    live_epochs,
)
from broker.live.connections import Connections, LiveConnection
from storage import LogSettings, Span, Stream
from storage.verify import verify
from tests.broker.acting import ENTER, Acting, Time
from tests.broker.conftest import FakeClock

LEAVE_MS, TTL_MS = 15_000, 120_000
INVALID_KEY = 80018


class Shared(Acting):
    """`here`: of the process that writes the log; `there`: of a worker."""

    there: Connections

    @property
    def here(self) -> Connections:
        return self.broker.epoch.connections

    async def begin(self) -> None:
        epoch = self.broker.epoch
        self.there = Connections(
            self.broker.log, epoch.hub, epoch.timers, epoch.background, self.broker.settings
        )
        self.there.join((await self.submit(StartWorker())).reply)

    async def open(self, at: Connections) -> LiveConnection:
        opened = await at.open(self.app, None)
        await self.act(ENTER, "me", connection=opened.id)
        return opened

    def is_present(self, id_: str) -> bool:
        return (id_, "me") in self.members()

    def epochs(self) -> tuple[int, ...]:
        with self.broker.rows() as rows:
            return live_epochs(rows)


@pytest.fixture
def time(clock: FakeClock) -> Time:
    return Time(clock)


@pytest.fixture
async def shared(path: Path, time: Time) -> AsyncIterator[Shared]:
    async with broker.open(path, clock=time.wall) as b:
        shared = Shared(b)
        await shared.begin()
        yield shared
        await shared.broker.rebuild()
    assert verify(path, b.log.domain, LogSettings(), lambda *_: None) == []


def counted(shared: Shared, channel: str = "c") -> Occupancy:
    return shared.broker.occupancy(shared.app, channel)


async def test_epochs_are_numbered_and_end(shared: Shared, path: Path, time: Time) -> None:
    assert shared.epochs() == (1, 2)
    await shared.submit(StartWorker())
    assert shared.epochs() == (1, 2, 3)
    await shared.submit(EndWorker(2))
    await shared.submit(EndWorker(2))
    assert shared.epochs() == (1, 3)
    page = await shared.broker.log.read(Stream("", "", Kind.CONNECTIONS), Span(), limit=10)
    assert [record.event for record in page.records[1:]] == [
        *(WorkerStarted(2), WorkerStarted(3), WorkerEnded(2))
    ]


async def test_a_start_of_the_broker_ends_every_worker(path: Path, time: Time) -> None:
    async with broker.open(path, clock=time.wall) as b:
        await Shared(b).begin()
        await Shared(b).attach(epoch=2)
    async with broker.open(path, clock=time.wall) as b:
        again = Shared(b)
        assert again.epochs() == (3,)
        assert counted(again) == Occupancy()
        await again.attach()
        with b.rows() as rows:
            assert len(list(rows.scan(TABLE))) == 1


async def test_attachments_of_all_are_counted(shared: Shared) -> None:
    await shared.attach()
    await shared.attach(epoch=2)
    await shared.attach(epoch=2, connection="other")
    assert counted(shared).connections == counted(shared).subscribers == 3
    await shared.detach(epoch=2)
    assert counted(shared).connections == 2
    await shared.detach()
    assert counted(shared).connections == 1


async def test_what_a_worker_had_attached_goes_with_it_and_that_is_told(shared: Shared) -> None:
    """The others' counts stay; its rows go when somebody new attaches."""
    await shared.attach()
    await shared.attach(epoch=2)
    await shared.attach("d", epoch=2)
    await shared.settled()
    told: list[tuple[str, Occupancy]] = []
    for channel in "cd":
        shared.broker.epoch.occupancy.add(shared.app, channel, lambda *what: told.append(what))
    await shared.here.worker_ended(2)
    await shared.settled()
    assert [(name, now.connections) for name, now in told] == [("c", 1), ("d", 0)]
    await shared.submit(StartWorker())
    await shared.attach(epoch=3)
    assert counted(shared).connections == 2
    with shared.broker.rows() as rows:
        assert len([key for key, _ in rows.scan(TABLE)]) == 3  # of "d" nobody has attached since


async def test_who_is_resumed_elsewhere_is_told_and_cannot_come_back(shared: Shared) -> None:
    told: list[str] = []
    for at, to in ((shared.here, shared.there), (shared.there, shared.here)):
        opened = await shared.open(at)
        opened.superseded = lambda: told.append("superseded")
        resumed = await to.resume(shared.app, opened.key, None)
        await shared.settled()
        assert told.pop() == "superseded"
        assert opened.id not in at.live
        assert to.live[opened.id] is resumed
        for connections in (at, to):
            with pytest.raises(BadRequest) as refused:
                await connections.resume(shared.app, opened.key, None)
            assert refused.value.code == INVALID_KEY
        assert shared.is_present(opened.id)


async def test_a_deadline_does_not_reach_who_was_resumed_elsewhere(
    shared: Shared, time: Time
) -> None:
    opened = await shared.open(shared.here)
    shared.here.lost(opened)
    await time.passes(LEAVE_MS - 100, shared)
    await shared.there.resume(shared.app, opened.key, None)
    late = (
        LeaveMembers(shared.app, opened.id, "base", if_lost=True),
        ExpireConnection(shared.app, opened.id, shared.here.epoch),
    )
    for command in late:  # as if the tail had not said it yet
        assert (await shared.submit(command)).serials == ()
    await time.passes(2 * TTL_MS, shared)
    assert shared.is_present(opened.id)
    kinds = [type(event) for event in await shared.events(Kind.CONNECTIONS, "")]
    assert kinds == [ConnectionOpened, ConnectionLost, ConnectionResumed]


async def test_what_a_worker_held_is_seen_off_when_it_ends(shared: Shared, time: Time) -> None:
    """Its connections are lost then; members leave after their delay, unless resumed; and what it
    had lost before is not forgotten."""
    left, comes, before = [await shared.open(shared.there) for _ in range(3)]
    stays = await shared.open(shared.here)
    shared.there.lost(before)
    await shared.settled()
    await shared.here.worker_ended(2)
    await shared.settled()
    with shared.broker.rows() as rows:
        row = connection(rows, left.id)
        assert row is not None
        assert row.lost_ms is not None
    await shared.here.resume(shared.app, comes.key, None)
    await time.passes(LEAVE_MS, shared)
    assert {id_ for id_, _ in shared.members()} == {comes.id, stays.id}
    await time.passes(TTL_MS, shared)
    with shared.broker.rows() as rows:
        assert connection(rows, left.id) is connection(rows, before.id) is None
    assert [type(e) for e in await shared.events(Kind.CONNECTIONS, "")].count(
        ConnectionExpired
    ) == 2


async def test_a_connection_is_found_wherever_it_is_held(shared: Shared) -> None:
    opened = await shared.open(shared.there)
    found = shared.here.find(shared.app, opened.key)
    assert found is not None
    assert (found.id, found.client_id) == (opened.id, None)
    assert shared.here.find(shared.app, f"{opened.id}!guessed") is None
    assert shared.here.find("other", opened.key) is None
    shared.there.lost(opened)
    await shared.settled()
    assert shared.here.find(shared.app, opened.key) is None
