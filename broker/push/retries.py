"""Deliveries that are tried again, when they are due (broker.push.waiting).

One task looks for what is due, and a task for each makes the attempt, TRIED_AGAIN_AT_ONCE at most.
What a page still has at work is not tried again here, though its lease may be over.
"""

from collections.abc import Iterable

import msgspec
import trio

from broker.push import order, outbox_log, registry, waiting
from broker.push.attempts import Tried
from broker.push.deliveries import Deliveries
from broker.push.events import Attempt, Device
from broker.push.order import Turns, is_ordered
from broker.push.outbox_log import PublishRow
from broker.push.waiting import Waiting
from storage import Log, View

TRIED_AGAIN_AT_ONCE = 1_000
LOOK_S_MAX = 60.0

Place = tuple[int, str]
"""A delivery: its publish, and its device's id."""


class Retries:
    def __init__(self, log: Log, deliveries: Deliveries, turns: Turns) -> None:
        self._log = log
        self._deliveries = deliveries
        self._turns = turns
        self._at_work: set[Place] = set()
        self._of_pages: set[Place] = set()
        self._news = trio.Event()

    def happened(self) -> None:
        """Something is to be tried again, or is over."""
        self._news.set()

    def leave(self, places: Iterable[Place]) -> None:
        """First attempts at these go on, though their page does not wait for them."""
        self._of_pages.update(places)

    def settled(self, place: Place) -> None:
        """One that was left is over."""
        self._of_pages.discard(place)
        self.happened()

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                self._news = trio.Event()
                began = trio.current_time()
                wait_s = await self._start_due(nursery)
                with trio.move_on_at(began + wait_s):
                    await self._news.wait()

    async def _start_due(self, nursery: trio.Nursery) -> float:
        """Returns for how long nothing more can be due."""
        now_ms = self._log.clock.now()
        found, next_ms = await self._due(now_ms)
        for one in found:
            self._at_work.add((one.publish, one.attempt.device))
            nursery.start_soon(self._again, one)
        return LOOK_S_MAX if next_ms is None else max(0.001, (next_ms - now_ms) / 1_000)

    async def _due(self, now_ms: int) -> tuple[list[Waiting], int | None]:
        """What is due and not at work, and when the next will be, where that was looked for."""
        room = TRIED_AGAIN_AT_ONCE - len(self._at_work)
        busy = self._at_work | self._of_pages  # as they are before the rows are looked at

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

        return await self._log.query(ask)

    async def _again(self, one: Waiting) -> None:
        app, device_id = one.app, one.attempt.device

        def ask(view: View) -> tuple[PublishRow | None, Device | None]:
            row = outbox_log.publish(view, app, one.publish)
            return row, registry.device(view, app, device_id) if device_id else None

        row, device = await self._log.query(ask)
        if row is not None:
            again = await self._tried_again(row, device, one.attempt)
            await self._deliveries.settle(row, device_id, again)
        self._at_work.discard((one.publish, device_id))
        self.happened()

    async def _tried_again(
        self, row: PublishRow, device: Device | None, attempt: Attempt
    ) -> Attempt | None:
        """Returns the attempt that is to be made next."""
        if device is None and attempt.device:
            return None  # it is gone
        if device is not None and is_ordered(device) and await self._turns.is_early(row, device):
            again_ms = order.look_again_ms(row, self._log.clock.now())
            return msgspec.structs.replace(attempt, at_ms=again_ms)
        tried: Tried = await self._deliveries.attempt(row, device, attempt.made)
        return self._deliveries.next(attempt.device, tried)
