"""What recordings fold to, against a plain list of them; trims, rebuilds and deletion included.

Every log that is closed is verified: chains, index, and every row against a rebuild.
"""

import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from broker import NotFound
from broker.administration import CreateApp, DeleteApp
from broker.domain import broker_domain
from broker.purge import carry_out
from broker.purge import pending as purges
from broker.stats.counters import Counters, merged
from broker.stats.intervals import DAY_MS, HOUR_MS, LAST_MS, MINUTE_MS, Unit, floor
from broker.stats.projections import (
    CURSOR_STREAM,
    MINUTES,
    TOTALS,
    Cursor,
    cursor,
    day_stream,
    days,
    recorded,
)
from broker.stats.recording import AddStats, MinuteCounts, RecordStats
from storage import Cut, Log, LogSettings, Rows, open_log
from storage.verify import verify
from tests.broker.conftest import START_MS, FakeClock

APPS = ("one", "two")
START = floor(START_MS, Unit.DAY)
STEPS = 120
SEED = int(os.environ.get("TIDELOG_SEED", random.randrange(1 << 32)))
SEEDS = int(os.environ.get("TIDELOG_SEEDS", "6"))
NAMES = ("messages.inbound.rest.messages.count", "channels.peak", "channels.min")


@asynccontextmanager
async def log_at(path: Path, clock: FakeClock) -> AsyncIterator[Log]:
    async with open_log(path, broker_domain(), wall=clock) as log:
        yield log
    assert verify(path, broker_domain(), LogSettings(), lambda *_: None) == []


async def create(log: Log, *apps: str) -> None:
    for app in apps:
        await log.submit(CreateApp(app), app=app)


def minute(app: str, minute_ms: int, **counters: int) -> MinuteCounts:
    return MinuteCounts(app, minute_ms, {f"channels.{name}": n for name, n in counters.items()})


def found(rows: Rows, app: str, unit: Unit, *, reverse: bool = False) -> list[tuple[int, Counters]]:
    return list(recorded(rows, app, unit, 0, LAST_MS, reverse))


def summed(rows: Rows, app: str, unit: Unit) -> dict[int, Counters]:
    total: dict[int, Counters] = {}
    for start, counters in found(rows, app, unit):
        total[start] = merged([total.get(start, {}), counters])
    return total


async def test_minutes_are_kept_apart_and_hours_and_days_add_up(
    path: Path, clock: FakeClock
) -> None:
    async with log_at(path, clock) as log:
        await create(log, *APPS)
        minutes = (
            minute("one", START, peak=5, min=2, opened=1),
            minute("one", START + MINUTE_MS, peak=3, min=0, opened=2),
            minute("one", START + HOUR_MS, peak=7, min=4, opened=4),
            minute("two", START, opened=100),
            minute("gone", START, opened=1_000),
        )
        await log.submit(RecordStats(1, 17, minutes), app="")
        with log.view() as rows:
            assert found(rows, "one", Unit.MINUTE) == [
                (item.minute_ms, item.counters) for item in minutes[:3]
            ]
            hours = found(rows, "one", Unit.HOUR)
            assert hours[0] == (
                START,
                {"channels.peak": 5, "channels.min": 0, "channels.opened": 3},
            )
            assert hours[1][0] == START + HOUR_MS
            assert found(rows, "one", Unit.DAY) == [
                (START, {"channels.peak": 7, "channels.min": 0, "channels.opened": 7})
            ]
            assert found(rows, "one", Unit.HOUR, reverse=True) == hours[::-1]
            assert found(rows, "two", Unit.DAY) == [(START, {"channels.opened": 100})]
            assert days(rows, "gone") == []
            assert cursor(rows) == Cursor(17, 1)


async def test_a_range_includes_both_ends(path: Path, clock: FakeClock) -> None:
    async with log_at(path, clock) as log:
        await create(log, "one")
        minutes = tuple(minute("one", START + n * MINUTE_MS, opened=n) for n in range(10))
        await log.submit(AddStats("one", minutes), app="one")
        with log.view() as rows:
            bounds = START + 3 * MINUTE_MS, START + 6 * MINUTE_MS
            for reverse in (False, True):
                starts = [
                    start for start, _ in recorded(rows, "one", Unit.MINUTE, *bounds, reverse)
                ]
                assert sorted(starts, reverse=reverse) == starts
                assert sorted(starts) == [START + n * MINUTE_MS for n in (3, 4, 5, 6)]


async def test_a_recording_is_decided_once(path: Path, clock: FakeClock) -> None:
    async with log_at(path, clock) as log:
        await create(log, "one")
        command = RecordStats(1, 5, (minute("one", START, opened=1),))
        assert len((await log.submit(command, app="")).serials) == 2
        assert (await log.submit(command, app="")).serials == ()
        with log.view() as rows:
            assert found(rows, "one", Unit.DAY) == [(START, {"channels.opened": 1})]


async def test_statistics_of_no_app_are_refused(path: Path, clock: FakeClock) -> None:
    async with log_at(path, clock) as log:
        with pytest.raises(NotFound):
            await log.submit(AddStats("none", (minute("none", START, opened=1),)), app="none")


async def test_half_a_minute_may_be_trimmed(path: Path, clock: FakeClock) -> None:
    """The records of one minute need not go together."""
    async with log_at(path, clock) as log:
        await create(log, "one")
        for amount in (1, 2, 4):
            await log.submit(AddStats("one", (minute("one", START, opened=amount),)), app="one")
        await log.trim([Cut(day_stream("one", START), sequence=2)])
        with log.view() as rows:
            assert found(rows, "one", Unit.MINUTE) == [(START, {"channels.opened": 4})]
            assert found(rows, "one", Unit.HOUR) == [(START, {"channels.opened": 7})]


async def test_the_cursor_outlives_its_records(path: Path, clock: FakeClock) -> None:
    async with log_at(path, clock) as log:
        for number in (1, 2, 3):
            await log.submit(RecordStats(number, number * 10, ()), app="")
        await log.trim([Cut(CURSOR_STREAM, sequence=3)])
        await log.rebuild()
        with log.view() as rows:
            assert cursor(rows) == Cursor(30, 3)


async def test_a_deleted_app_leaves_nothing(path: Path, clock: FakeClock) -> None:
    async with log_at(path, clock) as log:
        await create(log, *APPS)
        minutes = [minute(app, START + n * DAY_MS, opened=1) for app in APPS for n in range(3)]
        await log.submit(RecordStats(1, 1, tuple(minutes)), app="")
        await log.trim([Cut(day_stream("one", START), sequence=1)])
        await log.submit(DeleteApp("one"), app="one")
        with log.view() as rows:
            (request,) = purges(rows)
        for _ in range(2):  # it may be repeated
            await carry_out(log, *request)
        late = RecordStats(2, 2, (minute("one", START, opened=1),))
        await log.submit(late, app="")
        with log.view() as rows:
            for unit in (Unit.MINUTE, Unit.HOUR, Unit.DAY):
                assert found(rows, "one", unit) == []
                assert found(rows, "two", unit)
        for n in range(3):
            stream = day_stream("one", START + n * DAY_MS)
            assert (await log.read(stream, limit=10)).records == []
        await log.rebuild()
        with log.view() as rows:
            assert days(rows, "one") == []
            assert len(days(rows, "two")) == 3


@dataclass
class Model:
    """Every recording, in the order of the log; those of a day that were trimmed have `gone`."""

    recorded: list[MinuteCounts] = field(default_factory=list)
    gone: dict[tuple[str, int], int] = field(default_factory=dict)

    def of_day(self, app: str, day: int) -> list[MinuteCounts]:
        return [
            item
            for item in self.recorded
            if (item.app, floor(item.minute_ms, Unit.DAY)) == (app, day)
        ]

    def expected(self, app: str, unit: Unit) -> dict[int, Counters]:
        found: dict[int, list[Counters]] = {}
        for day in range(START, START + 3 * DAY_MS, DAY_MS):
            trimmed = self.gone.get((app, day), 0) if unit is Unit.MINUTE else 0
            for item in self.of_day(app, day)[trimmed:]:
                found.setdefault(floor(item.minute_ms, unit), []).append(item.counters)
        return {start: merged(parts) for start, parts in found.items()}


@dataclass
class History:
    random: random.Random
    log: Log
    model: Model = field(default_factory=Model)
    number: int = 0

    def some(self) -> MinuteCounts:
        minute_ms = START + self.random.randrange(3 * 24) * HOUR_MS
        minute_ms += self.random.randrange(3) * MINUTE_MS
        names = self.random.sample(NAMES, self.random.randint(0, len(NAMES)))
        counters = {name: self.random.randrange(4) for name in names}
        return MinuteCounts(self.random.choice(APPS), minute_ms, counters)

    async def record(self) -> None:
        self.number += 1
        minutes = tuple(self.some() for _ in range(self.random.randint(0, 4)))
        await self.log.submit(RecordStats(self.number, self.number, minutes), app="")
        self.model.recorded += minutes

    async def add(self) -> None:
        one = self.some()
        await self.log.submit(AddStats(one.app, (one,)), app=one.app)
        self.model.recorded.append(one)

    async def trim(self) -> None:
        app, day = self.random.choice(APPS), START + self.random.randrange(3) * DAY_MS
        count = self.random.randint(0, len(self.model.of_day(app, day)))
        await self.log.trim([Cut(day_stream(app, day), sequence=count)])
        self.model.gone[app, day] = max(count, self.model.gone.get((app, day), 0))

    async def trim_cursor(self) -> None:
        await self.log.trim([Cut(CURSOR_STREAM, sequence=self.random.randint(0, self.number))])

    async def rebuild(self) -> None:
        await self.log.rebuild()

    async def compare(self) -> None:
        with self.log.view() as rows:
            for app in APPS:
                for unit in (Unit.MINUTE, Unit.HOUR, Unit.DAY):
                    assert summed(rows, app, unit) == self.model.expected(app, unit)
            known = cursor(rows)
            assert (known.number if known else 0) == self.number
            assert len(list(rows.scan(MINUTES))) == len(self.model.recorded) - sum(
                self.model.gone.values()
            )
            assert len(list(rows.scan(TOTALS))) <= 2 * 3 * 25 + 1

    async def run(self) -> None:
        steps = {
            self.record: 8, self.add: 4, self.trim: 3, self.trim_cursor: 1, self.rebuild: 1,
            self.compare: 3,
        }  # fmt: skip
        for step in self.random.choices(list(steps), list(steps.values()), k=STEPS):
            await step()
        await self.compare()


@pytest.mark.parametrize("nth", range(SEEDS))
async def test_a_random_history(nth: int, path: Path, clock: FakeClock) -> None:
    seed = SEED + nth
    print(f"TIDELOG_SEED={seed} TIDELOG_SEEDS=1 pytest tests/broker/stats/test_projections.py")
    choices = random.Random(seed)
    async with log_at(path, clock) as log:
        await create(log, *APPS)
        history = History(choices, log)
        await history.run()
    async with log_at(path, clock) as log:
        history.log = log
        await history.compare()
        await history.run()
