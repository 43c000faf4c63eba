"""What only a worker knows gets into the log when a minute is over, and when the worker ends."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

import broker
from broker import Broker
from broker.events import StatsRecorded
from broker.stats.activity import Activity
from broker.stats.intervals import MINUTE_MS
from broker.stats.projections import day_stream
from broker.stats.worker_recorder import WorkerRecorder
from storage import Span
from tests.broker.acting import Acting, Time
from tests.broker.conftest import FakeClock

COUNTED = "apiRequests.other.succeeded"


@pytest.fixture
def time(clock: FakeClock) -> Time:
    return Time(clock)


@pytest.fixture
async def opened(path: Path, time: Time) -> AsyncIterator[Broker]:
    """It writes the log; what it counts itself has another app."""
    async with broker.open(path, clock=time.wall) as b:
        yield b


async def recorded(b: Broker, app: str) -> list[dict[str, int]]:
    page = await b.log.read(day_stream(app, b.log.clock.now()), Span(), limit=100)
    events = [record.event for record in page.records]
    return [
        one.counters for one in events if isinstance(one, StatsRecorded) and COUNTED in one.counters
    ]


async def test_a_minute_is_recorded_when_it_is_over_and_the_rest_at_the_end(
    opened: Broker, time: Time
) -> None:
    app, activity = opened.default_app(), Activity()
    recorder = WorkerRecorder(opened.log, opened.epoch.timers, activity)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(recorder.run)
        recorder.start()
        for _ in range(3):
            activity.api_request(app, "other", 200)
        activity.api_request("deleted", "other", 200)
        assert await recorded(opened, app) == []
        await time.passes(MINUTE_MS, Acting(opened))
        assert await recorded(opened, app) == [{COUNTED: 3}]
        await time.passes(MINUTE_MS, Acting(opened))
        assert len(await recorded(opened, app)) == 1
        activity.api_request(app, "other", 200)
        await recorder.finish()
        assert await recorded(opened, app) == [{COUNTED: 3}, {COUNTED: 1}]
        nursery.cancel_scope.cancel()
