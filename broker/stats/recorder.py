"""Counts what apps do, and records it once a minute.

What the log holds is counted from its tail, beginning where the last recording stopped: so after a
`kill -9` everything published is counted once, whoever recorded it. What no event carries
(broker.stats.activity) is only in memory; a kill loses it since the last minute. A recording holds
both, and up to which serial the log was counted, in one transaction.

Amounts are in exactly one of four places: the log's rows, the recording that is on its way there,
`pending`, and what is counted of this minute. `unrecorded` says of the last three which recording
brings them into the rows, so that an answer neither misses them nor counts them twice.

Fault model: a recording that the log refuses is merged back and tried with the next. Where a record
is damaged that is reported, and counting goes on from the end of the log. Nothing here fails a
publish or a delivery. Refuses to be up to date by itself: it reads the tail in strides; `caught_up`
is for who cannot wait.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from itertools import groupby
from typing import NamedTuple

import trio

from broker.channels import lifecycle
from broker.errors import BrokerError
from broker.event import Kind
from broker.events import AppDeleted
from broker.live.timers import Timers
from broker.stats.activity import Activity
from broker.stats.gauges import Gauges
from broker.stats.intervals import MINUTE_MS, Unit, floor
from broker.stats.pending import Pending
from broker.stats.projections import cursor
from broker.stats.recording import MinuteCounts, RecordStats
from broker.stats.tally import Persisted, Tally
from storage import Damaged, Log, Outcome, Record, StorageError
from storage.serial import ms_of

STRIDE_S = 0.05  # a wake for every commit would cost more than the counting
STRIDE_RECORDS = 1_000  # with so many at a time it does not
CATCH_UP_S = 1  # how long an answer waits for the tail
FINISH_S = 5  # how long closing waits for it, and for the last recording
_COST_BYTES = 1_024
_GAUGED = frozenset({int(Kind.CONNECTIONS), int(Kind.LIFECYCLE), int(Kind.SYSTEM)})
logger = logging.getLogger("tidelog.stats")


class Unrecorded(NamedTuple):
    """Minutes of an app that are in the rows once recording `number` is."""

    number: int
    minutes: tuple[MinuteCounts, ...]


class Recorder:
    """`position`: up to which serial the log was counted."""

    def __init__(self, log: Log, timers: Timers, activity: Activity, persisted: Persisted) -> None:
        self.position = log.position
        self._log = log
        self._timers = timers
        self._tally = Tally(persisted, self._see)
        self._tallied_ms = 0  # the minute that the tally is of
        self._gauges = Gauges()
        self._gauges_from = 0
        self._activity = activity
        self._minute_ms = 0  # the minute that gauges and activity are of
        self._pending = Pending()
        self._in_flight: RecordStats | None = None
        self._number = 0
        self._deleted: list[str] = []
        self._is_counting = False
        self._started = trio.Event()
        self._turn_at: int | None = None
        self._wanted = 0
        self._hurry = trio.Event()
        self._progress = trio.lowlevel.ParkingLot()

    def start(self) -> None:
        """Go on where the log says that counting stopped; a log that was never counted, from here.
        Called as an epoch begins, before anything connects."""
        with self._log.view() as view:
            known = cursor(view)
            self._gauges_from = view.position
            self._gauges.start(lifecycle.active(view))
        self._minute_ms = self._this_minute()
        self._is_counting = True
        if known is not None:
            self.position, self._number = known.through, known.number
        else:
            self.position = self._gauges_from
            self._submit()
        self._started.set()
        self._schedule()

    async def run(self) -> None:
        """Count until the log is closed or has failed."""
        await self._started.wait()
        try:
            while not await self._follow():
                self.position = self._log.position
        except (StorageError, BrokerError) as error:
            logger.warning("usage is not counted any more: %s", error)
        finally:
            self._is_counting = False
            self._progress.unpark_all()

    async def _follow(self) -> bool:
        """False when something in the log cannot be read."""
        try:
            async with aclosing(self._log.tail(self.position)) as tail:
                async for records in tail:
                    for minute_ms, of_minute in _by_minute(records):
                        await self._begin(minute_ms)
                        self._count(of_minute)
                    self._progress.unpark_all()
                    await self._pause(len(records))
        except Damaged as error:
            logger.error("usage is incomplete, the log cannot be read: %s", error)
            return False
        return True

    async def _pause(self, counted: int) -> None:
        await trio.lowlevel.checkpoint()
        if counted < STRIDE_RECORDS and self._wanted <= self.position:
            self._hurry = trio.Event()
            with trio.move_on_after(STRIDE_S):
                await self._hurry.wait()

    async def caught_up(self) -> None:
        """Until everything that is in the log now was counted, but not for ever."""
        target = self._log.position
        self._hurry_to(target)
        with trio.move_on_after(CATCH_UP_S):
            while self._is_counting and self.position < target:
                await self._progress.park()

    def _hurry_to(self, position: int) -> None:
        self._wanted = max(self._wanted, position)
        self._hurry.set()

    async def settled(self) -> None:
        """Until no recording is on its way."""
        while self._in_flight is not None:
            await self._progress.park()

    async def finish(self) -> None:
        """Record what is left: the broker closes."""
        if not self._is_counting:
            return
        with trio.move_on_after(FINISH_S):
            await self.caught_up()
            await self.settled()
            self._turn()
            await self.settled()

    async def _begin(self, minute_ms: int) -> None:
        """Count another minute than before. Where many are to be caught up with, they are recorded
        on the way."""
        if minute_ms == self._tallied_ms:
            return
        self._settle_tally()
        if self._pending.is_full:
            await self.settled()
            self._submit()
            await self.settled()
        self._tallied_ms = minute_ms

    def _count(self, records: Sequence[Record]) -> None:
        self._tally.count(records)
        self.position = records[-1].serial
        if self._tally.is_full:
            self._settle_tally()
        while self._deleted:
            self._forget(self._deleted.pop())
        if self._turn_at is not None and self.position >= self._turn_at:
            self._turn()

    def _see(self, record: Record) -> None:
        """A record that is no message."""
        if record.stream.kind not in _GAUGED:
            return
        if isinstance(record.event, AppDeleted):
            self._deleted.append(record.event.app)
        elif record.serial > self._gauges_from:
            self._gauges.moved(record.stream.app, record.event)

    def _settle_tally(self) -> None:
        for app, counters in self._tally.settle().items():
            self._pending.add(app, self._tallied_ms, counters)

    def _forget(self, app: str) -> None:
        self._settle_tally()
        self._pending.forget(app)
        self._gauges.forget(app)
        self._activity.forget(app)

    def _this_minute(self) -> int:
        return floor(self._log.clock.now(), Unit.MINUTE)

    def _schedule(self) -> None:
        self._timers.schedule(MINUTE_MS - self._log.clock.now() % MINUTE_MS, self._minute_over)

    def _minute_over(self) -> None:
        """Record it, once the tail has brought all of it; if that takes longer than the next
        minute, without."""
        if not self._is_counting:
            return
        self._schedule()
        target = self._log.position
        if self.position >= target or self._turn_at is not None:
            self._turn()
        else:
            self._turn_at = target
            self._hurry_to(target)

    def _turn(self) -> None:
        """The minute is over, or the broker closes."""
        self._turn_at = None
        self._settle_tally()
        for app, counters in self._activity.take():
            self._pending.add(app, self._minute_ms, counters)
        for app in {*self._gauges.apps(), *self._pending.apps(self._minute_ms)}:
            self._pending.add(app, self._minute_ms, self._gauges.counters(app))
        self._gauges.next_minute()
        self._minute_ms = max(self._minute_ms, self._this_minute())
        if self._pending:
            self._submit()

    def _submit(self) -> None:
        if self._in_flight is not None:
            return
        self._settle_tally()
        command = RecordStats(self._number + 1, self.position, self._pending.take())
        try:
            cost = _COST_BYTES * (1 + len(command.minutes))
            self._log.enqueue([command], self._decided, app="", cost=cost)
        except StorageError as error:
            self._refused(command, error)
        else:
            self._number, self._in_flight = command.number, command

    def _decided(self, results: list[Outcome | Exception]) -> None:
        command, self._in_flight = self._in_flight, None
        assert command is not None
        if isinstance(results[0], Exception):
            self._refused(command, results[0])
        self._progress.unpark_all()

    def _refused(self, command: RecordStats, error: Exception) -> None:
        logger.warning("usage is recorded later: %s", error)
        self._pending.give_back(command.minutes)

    def unrecorded(self, app: str) -> tuple[Unrecorded, ...]:
        """What the rows do not hold, or not for sure. Ask before they are read."""
        self._settle_tally()
        waiting = [*self._pending.of(app), *self._now(app)]
        found = Unrecorded(self._number + 1, tuple(waiting))
        if self._in_flight is None:
            return (found,)
        sent = tuple(minute for minute in self._in_flight.minutes if minute.app == app)
        return Unrecorded(self._in_flight.number, sent), found

    def _now(self, app: str) -> Iterator[MinuteCounts]:
        """This minute so far, as `_turn` would add it."""
        counters, minute_ms = self._activity.of(app), self._minute_ms
        if counters is not None:
            yield MinuteCounts(app, minute_ms, counters)
        elif app not in self._gauges.apps() and app not in self._pending.apps(minute_ms):
            return
        yield MinuteCounts(app, minute_ms, self._gauges.counters(app))


def _by_minute(records: Sequence[Record]) -> Iterator[tuple[int, Sequence[Record]]]:
    first, last = _minute_of(records[0]), _minute_of(records[-1])
    if first == last:
        yield first, records
        return
    for minute_ms, of_minute in groupby(records, _minute_of):
        yield minute_ms, list(of_minute)


def _minute_of(record: Record) -> int:
    return floor(ms_of(record.serial), Unit.MINUTE)
