"""The outbox: delivers what was accepted, again and again until it is delivered or nobody wants it.

A task for each notification that has its turn (broker.push.backlog) goes through the pages of whom
it is for, and one task tries again what has to be. Nothing is delivered twice but after a crash, or
where a provider did not answer in time; then it has the same id.

A page is over when all its attempts are, or after PAGE_PATIENCE_S: who has not answered by then is
written down to be tried again, and what comes of the attempt that goes on is settled there. So one
slow provider holds up a page for a moment, and never another's.

Devices that are told in order wait for their turn (broker.push.order).

Everything but what is at work right now is in the log, so a crash at any moment loses no
notification: the page that was at work is done again.
"""

import logging
from collections import Counter
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
from broker.push import expansion, order, outbox_log, registry, waiting
from broker.push.attempts import FAILED, Attempts, Tried, standing
from broker.push.backlog import Backlog
from broker.push.events import BEAMS, MATRIX, Attempt, Device, PublishAccepted, Tally
from broker.push.order import Turns, is_ordered
from broker.push.outbox_log import ProgressPublish, PublishRow, SettleDelivery
from broker.push.registration import ReportDevice
from broker.push.reports import Reports
from broker.push.service import Push
from broker.push.tallies import First, tally
from broker.push.told import Told
from broker.push.transport import Verdict
from broker.push.waiting import Waiting
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
    """The attempts of a page. `held`: who waits for their turn, and what tells them; `is_closed`:
    it waits no more, and those who are held are not tried; `written`: what it left is in the log.
    """

    def __init__(self, targets: Sequence[Target], held: dict[str, trio.Event]) -> None:
        self.targets = targets
        self.held = held
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
        self.by_transport: Counter[tuple[str, Verdict]] = Counter()
        self._log = log
        self._push = push
        self._reports = reports
        self._series = series
        self._at_work: set[Place] = set()
        self._overdue: set[Place] = set()  # first attempts that their page did not wait for
        self._backlog = Backlog(log, self._begin)
        self._turns = Turns()
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
        in_order = [one for one in targets if one is not None and is_ordered(one)]
        work = _PageWork(targets, await self._held(row, in_order))
        await self._work_off(row, work)
        left = self._left(row, work)
        tally = _tally(row, work) if row.following else None
        progress = ProgressPublish(row.app, row.serial, cursor, following, left, tally)
        await self._write(row.app, progress)
        work.written.set()
        for device in in_order:
            self._turns.happened(row.app, device.id)
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
        for device in work.held:
            self._turns.leave(row, device)
        late = {_id(target) for target in work.targets} - work.tried.keys() - work.held.keys()
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
        if (
            target is not None
            and target.id in work.held
            and not await self._turn(row, target, work)
        ):
            return
        tried = await self._try(row, target, 0)
        if not work.is_closed:
            work.note(target, tried)
            return
        await work.written.wait()
        await self._settle(row, _id(target), self._next(_id(target), tried))
        self._overdue.discard((row.serial, _id(target)))
        self._news.set()

    async def _held(self, row: PublishRow, in_order: Sequence[Device]) -> dict[str, trio.Event]:
        """Those who have no turn, and what tells them when it may have come."""
        joined = {device.id: self._turns.join(row, device.id) for device in in_order}
        without_turn = await self._without_turn(row, in_order)
        for id_ in joined.keys() - without_turn:
            self._turns.leave(row, id_)
        return {id_: joined[id_] for id_ in without_turn}

    async def _turn(self, row: PublishRow, device: Device, work: _PageWork) -> bool:
        """Wait for a device's turn. Returns False where its page did not."""
        news = work.held[device.id]
        while True:
            await news.wait()
            if work.is_closed:
                return False
            news = self._turns.join(row, device.id)  # before looking: what happens then is told
            if not await self._without_turn(row, (device,)) and not work.is_closed:
                del work.held[device.id]
                self._turns.leave(row, device.id)
                return True

    async def _without_turn(self, row: PublishRow, in_order: Sequence[Device]) -> frozenset[str]:
        if not in_order:
            return frozenset()
        under_way = tuple(self._backlog.begun.values())
        return await self._log.query(
            lambda view: order.without_turn(view, row, in_order, under_way)
        )

    async def _try(self, row: PublishRow, target: Target, made: int) -> Tried:
        now_ms = self._log.clock.now()
        if target is None:
            tried = await self.attempts.to_address(row, made, now_ms)
        else:
            tried = await self.attempts.to_device(row, target, made, now_ms)
        await self._report(row, target, tried)
        return tried

    def _left(self, row: PublishRow, work: _PageWork) -> tuple[Attempt, ...]:
        """Who is to be tried again, who is not heard of yet, and who had no turn."""
        now_ms = self._log.clock.now()
        left = []
        for target in work.targets:
            id_, in_order = _id(target), is_ordered(target)
            tried = work.tried.get(id_)
            if id_ in work.held:
                left.append(Attempt(id_, order.look_again_ms(row, now_ms), 0, in_order))
            elif tried is None:
                left.append(Attempt(id_, now_ms + LEASE_MS, 0, in_order))
            elif tried.again_ms is not None:
                left.append(Attempt(id_, now_ms + tried.again_ms, tried.made, in_order))
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
            for at_ms, one in waiting.due(view):
                if at_ms > now_ms:
                    return found, at_ms
                if len(found) >= room:
                    break
                if (one.publish, one.attempt.device) not in busy:
                    found.append(one)
            return found, None

        found, next_ms = await self._log.query(ask)
        assert self._nursery is not None
        for one in found:
            self._at_work.add((one.publish, one.attempt.device))
            self._nursery.start_soon(self._again, one)
        return 60.0 if next_ms is None else max(0.001, (next_ms - now_ms) / 1_000)

    async def _again(self, one: Waiting) -> None:
        app, device_id = one.app, one.attempt.device

        def ask(view: View) -> tuple[PublishRow | None, Device | None]:
            row = outbox_log.publish(view, app, one.publish)
            return row, registry.device(view, app, device_id) if device_id else None

        row, device = await self._log.query(ask)
        if row is not None:
            await self._settle(row, device_id, await self._tried_again(row, device, one.attempt))
        self._at_work.discard((one.publish, device_id))
        self._news.set()

    async def _tried_again(
        self, row: PublishRow, device: Device | None, attempt: Attempt
    ) -> Attempt | None:
        """Returns the attempt that is to be made next."""
        if device is None and attempt.device:
            return None  # it is gone
        if device is not None and is_ordered(device) and await self._is_early(row, device):
            again_ms = order.look_again_ms(row, self._log.clock.now())
            return msgspec.structs.replace(attempt, at_ms=again_ms)
        return self._next(attempt.device, await self._try(row, device, attempt.made))

    async def _is_early(self, row: PublishRow, device: Device) -> bool:
        """Until all that was left is known, anything may come before it."""
        if not self._backlog.has_looked:
            return True
        return bool(await self._without_turn(row, (device,)))

    def _next(self, device: str, tried: Tried) -> Attempt | None:
        if tried.again_ms is None:
            return None
        return Attempt(device, self._log.clock.now() + tried.again_ms, tried.made)

    async def _settle(self, row: PublishRow, device: str, again: Attempt | None) -> None:
        await self._write(row.app, SettleDelivery(row.app, row.serial, device, again))
        self._turns.happened(row.app, device)

    async def _report(self, row: PublishRow, device: Device | None, tried: Tried) -> None:
        """What an attempt says of its device, and then to those who look: who was told reads it."""
        self._count(row, device, tried.result.verdict)
        if device is not None:
            device = await self._reported(row.app, device, tried)
        if tried.result.verdict not in (Verdict.SENT, Verdict.TRANSIENT):
            of = render(row.serial, self._series)
            self._reports.failed(row.app, of, device, tried.result)

    def _count(self, row: PublishRow, device: Device | None, verdict: Verdict) -> None:
        """By transport, as far as there is one: what else an address names is its sender's."""
        named = device.transport if device else (row.selector.recipient or {}).get("transportType")
        self.counts[verdict] += 1
        self.by_transport[named if named in self.attempts.transports else "none", verdict] += 1

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
