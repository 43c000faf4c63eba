"""Usage in a process that does not write the log: what clients do here that no event carries.

Everything that is in the log is counted by the process that writes it (broker.stats.recorder); here
is only this process's part of `Activity`, put into the log when a minute is over and when the
broker closes. Until then nobody else knows of it, and a process that is killed takes it along.

Fault model: what the log refuses is tried again with the next minute.
"""

import logging
from collections.abc import Iterable

import trio

from broker.errors import BrokerError, NotFound
from broker.live.timers import Timers
from broker.stats.activity import Activity
from broker.stats.intervals import MINUTE_MS, Unit, floor
from broker.stats.pending import Pending
from broker.stats.recording import AddStats, MinuteCounts
from broker.storage_errors import mapped
from storage import Log, StorageError

FINISH_S = 5
_COST_BYTES = 1_024
logger = logging.getLogger("tidelog.stats")


class WorkerRecorder:
    """Refuses to answer what an app did: that is for the process that counts."""

    def __init__(self, log: Log, timers: Timers, activity: Activity) -> None:
        self._log = log
        self._timers = timers
        self._activity = activity
        self._pending = Pending()
        self._minute_ms = 0
        self._due = trio.Event()

    def start(self) -> None:
        self._minute_ms = self._this_minute()
        self._schedule()

    def _this_minute(self) -> int:
        return floor(self._log.clock.now(), Unit.MINUTE)

    def _schedule(self) -> None:
        self._timers.schedule(MINUTE_MS - self._log.clock.now() % MINUTE_MS, self._minute_over)

    def _minute_over(self) -> None:
        self._schedule()
        self._due.set()

    async def run(self) -> None:
        """Record every minute until the log takes no writes any more."""
        while self._log.failed is None:
            await self._due.wait()
            self._due = trio.Event()
            await self._record()

    async def finish(self) -> None:
        """Record what is left: the broker closes."""
        with trio.move_on_after(FINISH_S):
            await self._record()

    async def _record(self) -> None:
        for app, counters in self._activity.take():
            self._pending.add(app, self._minute_ms, counters)
        self._minute_ms = max(self._minute_ms, self._this_minute())
        minutes = self._pending.take()
        for app in dict.fromkeys(minute.app for minute in minutes):
            await self._add(app, [minute for minute in minutes if minute.app == app])

    async def _add(self, app: str, minutes: Iterable[MinuteCounts]) -> None:
        counts = tuple(minutes)
        try:
            with mapped():
                cost = _COST_BYTES * len(counts)
                await self._log.submit(AddStats(app, counts), app=app, cost=cost)
        except NotFound:
            pass  # it was deleted, and what it did with it
        except (BrokerError, StorageError) as error:
            logger.warning("usage is recorded later: %s", error)
            self._pending.give_back(counts)
