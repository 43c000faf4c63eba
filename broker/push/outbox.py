"""The outbox: delivers what was accepted, again and again until it is delivered or nobody wants it.

A task for each notification that has its turn (broker.push.backlog) goes through the pages of whom
it is for, and one task tries again what has to be. Nothing is delivered twice but after a crash, or
where a provider did not answer in time; then it has the same id.

A page is over when all its attempts are, or after PAGE_PATIENCE_S: who has not answered by then is
written down to be tried again, and what comes of the attempt that goes on is settled there. So one
slow provider holds up a page for a moment, and never another's.

Everything but what is at work right now is in the log, so a crash at any moment loses no
notification: the page that was at work is done again.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import islice
from typing import Any

import msgspec
import trio

from broker.errors import BrokerError
from broker.event import Kind
from broker.live.hub import Hub
from broker.messages.serials import render
from broker.push import expansion, outbox_log, registry
from broker.push.attempts import FAILED, Attempts, Tried, standing
from broker.push.backlog import Backlog
from broker.push.events import BEAMS, MATRIX, Attempt, Device, PublishAccepted, Tally
from broker.push.outbox_log import ProgressPublish, PublishRow, SettleDelivery, Waiting
from broker.push.registration import ReportDevice
from broker.push.reports import Reports
from broker.push.service import Push
from broker.push.tallies import First, tally
from broker.push.told import Told
from broker.push.transport import Verdict
from broker.storage_errors import mapped
from storage import Log, Record, View

PAGE_DEVICES = 100
PAGE_PATIENCE_S = 2.0
CROWDED_PATIENCE_S = 0.1  # while other notifications wait for their turn
PUBLISHES_AT_ONCE = 64
TRIED_AGAIN_AT_ONCE = 1_000
LEASE_MS = 60_000  # when what a page did not wait for is tried again, if nothing is heard of it
LOG_RETRY_S = 1.0
logger = logging.getLogger("tidelog.push")

# Their APIs have no device that failed: it registers again, or is forgotten (push.md 5.3).
_REMOVED_WHEN_DEAD = (BEAMS, MATRIX)

Place = tuple[int, str]
"""A delivery: its publish, and its device's id."""


Target = Device | None
"""None: the address that a notification names itself."""


class _PageWork:
    """The attempts of a page. `closed`: it waits no more; `written`: what it left is in the log."""

    def __init__(self, targets: Sequence[Target]) -> None:
        self.targets = targets
        self.tried: dict[str, Tried] = {}
        self.over = trio.Event()
        self.written = trio.Event()
        self.is_closed = False

    def note(self, target: Target, tried: Tried) -> None:
        self.tried[_id(target)] = tried
        if len(self.tried) == len(self.targets):
            self.over.set()


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
        self.counts = dict.fromkeys(Verdict, 0)
        self._log = log
        self._push = push
        self._reports = reports
        self._series = series
        self._at_work: set[Place] = set()
        self._overdue: set[Place] = set()  # first attempts that their page did not wait for
        self._backlog = Backlog(log, self._begin)
        self._told = Told()
        self._publishes = trio.CapacityLimiter(PUBLISHES_AT_ONCE)
        self._news = trio.Event()
        self._nursery: trio.Nursery | None = None
        hub.watch(Kind.PUBLISHES, self._happened)

    async def run(self) -> None:
        """Deliver until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._try_again)
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
            self._news.set()
        elif self._nursery is not None:
            self._backlog.accepted(record.stream.app, record.serial)

    def _begin(self, row: PublishRow) -> None:
        assert self._nursery is not None
        self._nursery.start_soon(self._publish, row)

    async def _publish(self, row: PublishRow) -> None:
        async with self._publishes:
            cursor = row.cursor
            while cursor is not None:
                cursor = await self._page(row, cursor)
        self._backlog.over(row.serial)

    async def _page(self, row: PublishRow, cursor: bytes) -> bytes | None:
        """Try a page, and write down what came of it. Returns where the next one begins."""
        targets, following = await self._targets(row, cursor)
        work = _PageWork(targets)
        await self._work_off(row, work)
        left = self._left(work)
        tally = _tally(row, work) if row.following else None
        progress = ProgressPublish(row.app, row.serial, cursor, following, left, tally)
        await self._write(row.app, progress)
        work.written.set()
        return following

    async def _targets(
        self, row: PublishRow, cursor: bytes
    ) -> tuple[Sequence[Target], bytes | None]:
        if row.selector.recipient is not None:
            return (None,), None
        page = await self._log.query(
            lambda view: expansion.page(view, row.app, row.selector, cursor, PAGE_DEVICES)
        )
        return self._told.others(row, page.devices), page.cursor

    async def _work_off(self, row: PublishRow, work: _PageWork) -> None:
        assert self._nursery is not None
        for target in work.targets:
            self._nursery.start_soon(self._first, row, target, work)
        if work.targets:
            await self._wait(work)
        work.is_closed = True
        late = {_id(target) for target in work.targets} - work.tried.keys()
        self._overdue |= {(row.serial, device) for device in late}

    async def _wait(self, work: _PageWork) -> None:
        """Until a page is over, or for as long as there is patience: little while others queue."""
        until = trio.current_time() + PAGE_PATIENCE_S
        while not work.over.is_set() and trio.current_time() < until:
            with trio.move_on_after(CROWDED_PATIENCE_S):
                await work.over.wait()
            if self._publishes.statistics().tasks_waiting:
                return

    async def _first(self, row: PublishRow, target: Target, work: _PageWork) -> None:
        """The first attempt for a device; one that its page did not wait for is settled here."""
        tried = await self._try(row, target, 0)
        if not work.is_closed:
            work.note(target, tried)
            return
        await work.written.wait()
        await self._settle(row, _id(target), tried)
        self._overdue.discard((row.serial, _id(target)))
        self._news.set()

    async def _try(self, row: PublishRow, target: Target, made: int) -> Tried:
        now_ms = self._log.clock.now()
        if target is None:
            tried = await self.attempts.to_address(row, made, now_ms)
        else:
            tried = await self.attempts.to_device(row, target, made, now_ms)
        await self._report(row, target, tried)
        return tried

    def _left(self, work: _PageWork) -> tuple[Attempt, ...]:
        """Who is to be tried again, and who is not heard of yet."""
        now_ms = self._log.clock.now()
        left = []
        for target in work.targets:
            tried = work.tried.get(_id(target))
            if tried is None:
                left.append(Attempt(_id(target), now_ms + LEASE_MS))
            elif tried.again_ms is not None:
                left.append(Attempt(_id(target), now_ms + tried.again_ms, tried.made))
        return tuple(left)

    async def _try_again(self) -> None:
        """What is due, as it is due."""
        while True:
            self._news = trio.Event()
            began = trio.current_time()
            wait_s = await self._start_due()
            with trio.move_on_at(began + wait_s):
                await self._news.wait()

    async def _start_due(self) -> float:
        """Returns for how long nothing more can be due."""
        now_ms = self._log.clock.now()
        room = TRIED_AGAIN_AT_ONCE - len(self._at_work)
        busy = self._at_work | self._overdue  # as they are before the rows are looked at

        def ask(view: View) -> tuple[list[Waiting], int | None]:
            found: list[Waiting] = []
            for one in outbox_log.due(view):
                if one.at_ms > now_ms:
                    return found, one.at_ms
                if len(found) >= room:
                    break
                if (one.waiting.publish, one.waiting.attempt.device) not in busy:
                    found.append(one.waiting)
            return found, None

        waiting, next_ms = await self._log.query(ask)
        assert self._nursery is not None
        for one in waiting:
            self._at_work.add((one.publish, one.attempt.device))
            self._nursery.start_soon(self._again, one)
        return 60.0 if next_ms is None else max(0.001, (next_ms - now_ms) / 1_000)

    async def _again(self, waiting: Waiting) -> None:
        app, device_id = waiting.app, waiting.attempt.device

        def ask(view: View) -> tuple[PublishRow | None, Device | None]:
            row = outbox_log.publish(view, app, waiting.publish)
            return row, registry.device(view, app, device_id) if device_id else None

        row, device = await self._log.query(ask)
        if row is not None:
            is_gone = device is None and device_id
            tried = None if is_gone else await self._try(row, device, waiting.attempt.made)
            await self._settle(row, device_id, tried)
        self._at_work.discard((waiting.publish, device_id))
        self._news.set()

    async def _settle(self, row: PublishRow, device: str, tried: Tried | None) -> None:
        again = None
        if tried is not None and tried.again_ms is not None:
            again = Attempt(device, self._log.clock.now() + tried.again_ms, tried.made)
        await self._write(row.app, SettleDelivery(row.app, row.serial, device, again))

    async def _report(self, row: PublishRow, device: Device | None, tried: Tried) -> None:
        """What an attempt says of its device, and then to those who look: who was told reads it."""
        self.counts[tried.result.verdict] += 1
        if device is not None:
            device = await self._reported(row.app, device, tried)
        if tried.result.verdict not in (Verdict.SENT, Verdict.TRANSIENT):
            of = render(row.serial, self._series)
            self._reports.failed(row.app, of, device, tried.result)

    async def _reported(self, app: str, device: Device, tried: Tried) -> Device:
        stands = standing(device, tried)
        if stands.state == FAILED and device.api in _REMOVED_WHEN_DEAD:
            await self._until_done(
                partial(self._push.remove, app, device=device.id, api=None, rev=device.rev)
            )
        elif stands != (device.state, device.failures, device.error):
            await self._write(app, ReportDevice(app, device.id, device.rev, *stands))
        return msgspec.structs.replace(device, state=stands.state)

    async def _write(self, app: str, command: Any) -> None:
        await self._until_done(partial(self._submit, app, command))

    async def _submit(self, app: str, command: Any) -> None:
        with mapped():
            await self._log.submit(command, app=app)

    async def _until_done(self, write: Callable[[], Awaitable[None]]) -> None:
        """Again and again: a log that is full, or busy, has room some time."""
        while True:
            try:
                await write()
                return
            except BrokerError as error:
                if self._log.failed:
                    await trio.sleep_forever()
                logger.warning("not written yet, it is tried again: %s", error)
                await trio.sleep(LOG_RETRY_S)


def _tally(row: PublishRow, work: _PageWork) -> Tally:
    """Who was not heard of yet was not reached."""
    firsts = []
    for target in work.targets:
        tried = work.tried.get(_id(target))
        is_sent = tried is not None and tried.result.verdict is Verdict.SENT
        client = target.client_id if target is not None and row.selector.clients else None
        firsts.append(First(target.transport if target is not None else "", is_sent, client))
    return tally(firsts)


def _id(target: Target) -> str:
    return target.id if target is not None else ""
