"""Pages: a notification's first attempts, a page of devices at a time.

A page is over when all its attempts are, or after PAGE_PATIENCE_S: who has not answered by then is
written down to be tried again, and what comes of the attempt that goes on is settled then. So one
slow provider holds up a page for a moment, and never another's.

Devices that are told in order wait for their turn (broker.push.order) as long as their page does.
Then they are written down too, without an attempt.

Invariant: a page is written down in one event, with the cursor behind it. A crash before that
repeats the whole page.
"""

from collections.abc import Callable, Sequence

import trio

from broker.push import expansion, order
from broker.push.attempts import Tried
from broker.push.deliveries import Deliveries, Target, id_of
from broker.push.events import Attempt, Device, Tally
from broker.push.order import Turns, is_ordered
from broker.push.outbox_log import ProgressPublish, PublishRow
from broker.push.retries import Retries
from broker.push.tallies import First, tally
from broker.push.told import Told
from broker.push.transport import Verdict
from storage import Log

PAGE_DEVICES = 100
PAGE_PATIENCE_S = 2.0
CROWDED_PATIENCE_S = 0.1  # while other notifications wait for their turn
LEASE_MS = 60_000  # when what a page did not wait for is tried again, if nothing is heard of it


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
        self.tried[id_of(target)] = tried
        if len(self.tried) == len(self.targets):
            self.over.set()


class Pages:
    """`is_crowded`: whether other notifications wait until one is gone through."""

    def __init__(
        self,
        log: Log,
        deliveries: Deliveries,
        retries: Retries,
        turns: Turns,
        is_crowded: Callable[[], bool],
    ) -> None:
        self._log = log
        self._deliveries = deliveries
        self._retries = retries
        self._turns = turns
        self._told = Told()
        self._is_crowded = is_crowded

    async def work_off(self, nursery: trio.Nursery, row: PublishRow, cursor: bytes) -> bytes | None:
        """Try a page, and write down what came of it. Returns where the next one begins. Attempts
        that take longer go on in `nursery`."""
        targets, following = await self._targets(row, cursor)
        in_order = [one for one in targets if one is not None and is_ordered(one)]
        work = _PageWork(targets, await self._turns.held(row, in_order))
        await self._try_all(nursery, row, work)
        left = self._left(row, work)
        tally = _tally(row, work) if row.following else None
        progress = ProgressPublish(row.app, row.serial, cursor, following, left, tally)
        await self._deliveries.write(row.app, progress)
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

    async def _try_all(self, nursery: trio.Nursery, row: PublishRow, work: _PageWork) -> None:
        for target in work.targets:
            nursery.start_soon(self._first, row, target, work)
        if work.targets:
            await self._wait(work)
        work.is_closed = True
        for device in work.held:
            self._turns.leave(row, device)
        late = {id_of(target) for target in work.targets} - work.tried.keys() - work.held.keys()
        self._retries.leave((row.serial, device) for device in late)

    async def _wait(self, work: _PageWork) -> None:
        """Until a page is over, or for as long as there is patience: little while others queue."""
        until = trio.current_time() + PAGE_PATIENCE_S
        while not work.over.is_set() and trio.current_time() < until:
            with trio.move_on_after(CROWDED_PATIENCE_S):
                await work.over.wait()
            if self._is_crowded():
                return

    async def _first(self, row: PublishRow, target: Target, work: _PageWork) -> None:
        """The first attempt for a device; one that its page did not wait for is settled here."""
        id_ = id_of(target)
        if target is not None and id_ in work.held and not await self._turn(row, target, work):
            return
        tried = await self._deliveries.attempt(row, target, 0)
        if not work.is_closed:
            work.note(target, tried)
            return
        await work.written.wait()
        await self._deliveries.settle(row, id_, self._deliveries.next(id_, tried))
        self._retries.settled((row.serial, id_))

    async def _turn(self, row: PublishRow, device: Device, work: _PageWork) -> bool:
        """Wait for a device's turn. Returns False where its page did not."""
        news = work.held[device.id]
        while True:
            await news.wait()
            if work.is_closed:
                return False
            news = self._turns.join(row, device.id)  # before looking: what happens then is told
            if not await self._turns.without_turn(row, (device,)) and not work.is_closed:
                del work.held[device.id]
                self._turns.leave(row, device.id)
                return True

    def _left(self, row: PublishRow, work: _PageWork) -> tuple[Attempt, ...]:
        """Who is to be tried again, who is not heard of yet, and who had no turn."""
        now_ms = self._log.clock.now()
        left = []
        for target in work.targets:
            id_, in_order = id_of(target), is_ordered(target)
            tried = work.tried.get(id_)
            if id_ in work.held:
                left.append(Attempt(id_, order.look_again_ms(row, now_ms), 0, in_order))
            elif tried is None:
                left.append(Attempt(id_, now_ms + LEASE_MS, 0, in_order))
            elif tried.again_ms is not None:
                left.append(Attempt(id_, now_ms + tried.again_ms, tried.made, in_order))
        return tuple(left)


def _tally(row: PublishRow, work: _PageWork) -> Tally:
    """Who was not heard of yet was not reached."""
    firsts = []
    for target in work.targets:
        tried = work.tried.get(id_of(target))
        is_sent = tried is not None and tried.result.verdict is Verdict.SENT
        client = target.client_id if target is not None and row.selector.clients else None
        firsts.append(First(target.transport if target is not None else "", is_sent, client))
    return tally(firsts)
