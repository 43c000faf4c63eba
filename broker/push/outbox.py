"""The outbox: delivers what was accepted, again and again until it is delivered or nobody wants it.

    backlog     which notifications are gone through, PUBLISHES_AT_ONCE at a time
    pages       the first attempts at all whom a notification is for, page by page
    order       who is told in the order of publishes, and has to wait for a turn
    retries     what has to be tried again, when it is due
    deliveries  one attempt (broker.push.attempts), and what is written down of it

Everything but what is at work right now is in the log (broker.push.outbox_log), so a crash at any
moment loses no notification: the page that was at work is done again. Nothing is delivered twice
but then, or where a provider did not answer in time; then it has the same id.
"""

from collections.abc import Mapping
from itertools import islice

import trio

from broker.event import Kind
from broker.live.hub import Hub
from broker.push import outbox_log
from broker.push.attempts import Attempts
from broker.push.backlog import Backlog
from broker.push.deliveries import Deliveries
from broker.push.events import PublishAccepted
from broker.push.order import Turns
from broker.push.outbox_log import PublishRow
from broker.push.pages import Pages
from broker.push.reports import Reports
from broker.push.retries import Retries
from broker.push.service import Push
from broker.push.transport import Verdict
from broker.storage_errors import mapped
from storage import Log, Record

PUBLISHES_AT_ONCE = 64


class Outbox:
    def __init__(
        self,
        log: Log,
        hub: Hub,
        push: Push,
        attempts: Attempts,
        reports: Reports,
        series: str,
    ) -> None:
        self.attempts = attempts
        self._log = log
        self._backlog = Backlog(log, self._begin)
        turns = Turns(log, self._backlog)
        self._deliveries = Deliveries(log, push, attempts, reports, turns, series)
        self._retries = Retries(log, self._deliveries, turns)
        self._pages = Pages(log, self._deliveries, self._retries, turns, self._is_crowded)
        self._publishes = trio.CapacityLimiter(PUBLISHES_AT_ONCE)
        self._nursery: trio.Nursery | None = None
        hub.watch(Kind.PUBLISHES, self._happened)

    @property
    def counts(self) -> dict[Verdict, int]:
        """How many attempts came to what, since the broker began."""
        counts = dict.fromkeys(Verdict, 0)
        for (_, verdict), count in self.by_transport.items():
            counts[verdict] += count
        return counts

    @property
    def by_transport(self) -> Mapping[tuple[str, Verdict], int]:
        """The same, by transport; "none" where there is none."""
        return self._deliveries.by_transport

    async def run(self) -> None:
        """Deliver until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._retries.run)
                await self._backlog.run()
        finally:  # not before its tasks are over: they use it to the end
            self._nursery = None

    async def unfinished(self, limit: int) -> list[PublishRow]:
        """The first notifications that are not delivered to everybody yet, by app and age."""
        with mapped():
            return await self._log.query(lambda v: list(islice(outbox_log.unfinished(v), limit)))

    def _happened(self, record: Record) -> None:
        """A notification was accepted, or something is to be tried again."""
        if not isinstance(record.event, PublishAccepted):
            self._retries.happened()
        elif self._nursery is not None:
            self._backlog.accepted(record.stream.app, record.serial)

    def _begin(self, row: PublishRow) -> None:
        assert self._nursery is not None
        self._nursery.start_soon(self._publish, self._nursery, row)

    async def _publish(self, nursery: trio.Nursery, row: PublishRow) -> None:
        async with self._publishes:
            cursor = row.cursor
            while cursor is not None:
                cursor = await self._pages.work_off(nursery, row, cursor)
        self._backlog.over(row.serial)

    def _is_crowded(self) -> bool:
        return self._publishes.statistics().tasks_waiting > 0
