"""Operations, begun when they are due as far as a bound on how many are under way allows.

A lane is a first-in, first-out queue with so many workers: those of a publisher's connection, say.
An operation that finds all workers busy waits there, and its latency counts from when it was due.
In a closed loop (no rate) each worker is due again as soon as it is free: that finds how much there
can be, and its latencies say nothing of a load that does not wait.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Iterator

import anyio
from anyio.abc import TaskGroup

from bench.load.body import now_ns
from bench.load.latency import Latencies
from bench.load.pacing import pacer

Act = Callable[[int], Awaitable[None]]
WAITING_MAX = 200_000
_AT_ONCE = 64  # operations that are begun late before others get their turn


class Overrun(Exception):
    """More operations wait than are worth their memory."""


class Lane:
    """act: does one operation that was due then. late: how much later than due operations were
    begun that found a worker free, which is the generator's doing and not the broker's."""

    def __init__(self, act: Act, window: int, late: Latencies) -> None:
        self._act = act
        self._window = window
        self._late = late
        self._due: deque[int] = deque()
        self._idle: list[anyio.Event] = []
        self._closed_loop_until = 0
        self._is_ended = False

    def start(self, tasks: TaskGroup) -> None:
        for _ in range(self._window):
            tasks.start_soon(self._worker)

    def offer(self, due_ns: int) -> None:
        """Raises Overrun."""
        if len(self._due) >= WAITING_MAX:
            raise Overrun(
                f"{WAITING_MAX:,} operations wait on one connection: a lower rate would do"
            )
        self._due.append(due_ns)
        if self._idle:
            self._idle.pop().set()

    def end(self) -> None:
        """What was offered is still done; then the workers leave."""
        self._is_ended = True
        for event in self._idle:
            event.set()
        self._idle.clear()

    def drop(self) -> list[int]:
        """What was not begun is not done any more; when each of it was due."""
        dropped = list(self._due)
        self._due.clear()
        return dropped

    def saturate(self, until_ns: int) -> None:
        """A closed loop until then, and the end."""
        self._closed_loop_until = until_ns
        self.end()

    async def _worker(self) -> None:
        while True:
            if self._due:
                await self._act(self._due.popleft())
            elif (now := now_ns()) < self._closed_loop_until:
                await anyio.lowlevel.checkpoint()
                await self._act(now)
            elif self._is_ended:
                return
            else:
                await self._wait()

    async def _wait(self) -> None:
        event = anyio.Event()
        self._idle.append(event)
        await event.wait()
        if self._due:
            self._late.record(now_ns() - self._due[0])


async def offer_all(schedule: Iterator[tuple[int, Lane]], start_ns: int) -> None:
    """Offers each operation to its lane at its moment after the start."""
    behind = 0
    with pacer() as pace:
        for after_ns, lane in schedule:
            due_ns = start_ns + after_ns
            behind += 1
            if due_ns > now_ns() or behind >= _AT_ONCE:
                await pace.until(due_ns)
                behind = 0
            lane.offer(due_ns)


def flood(lanes: Iterator[Lane], duration_s: float) -> Iterator[tuple[int, Lane]]:
    """A schedule of which everything is due at once: as much as the generator can do."""
    start_ns = now_ns()
    end_ns = start_ns + int(duration_s * 1e9)
    while (now := now_ns()) < end_ns:
        yield now - start_ns, next(lanes)
