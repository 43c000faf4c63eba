"""Time that passes when a test says so: trio's clock and the broker's wall clock, moved together.

    time = VirtualTime()
    trio.run(main, clock=time)                broker.open(path, clock=time.wall)

Timers and serials then agree, and hours pass at once. It stands still in between, so nothing of a
test depends on how long it takes. What threads and disks do takes real time as ever.
"""

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from broker.live.timers import TICKS_PER_SECOND

START_MS = 1_700_000_000_000


class VirtualTime(trio.abc.Clock):
    """The clock of one trio run."""

    def __init__(self, start_ms: int = START_MS) -> None:
        self._ms = start_ms
        self._trio = MockClock()

    def wall(self) -> int:
        """What `broker.open` takes as its clock: milliseconds since the epoch."""
        return self._ms

    async def passes(self, seconds: float) -> None:
        """Returns when all that was due has begun, and waits for something again. What it asked of
        the disk may not be done."""
        if seconds < 0:
            raise ValueError("time does not go back")
        await wait_all_tasks_blocked()  # who has just been started waits from now on
        self._ms += round(seconds * 1000)
        self._trio.jump(seconds + 1 / TICKS_PER_SECOND)  # a timer may be a tick late
        await wait_all_tasks_blocked()

    def start_clock(self) -> None:
        self._trio.start_clock()

    def current_time(self) -> float:
        return self._trio.current_time()

    def deadline_to_sleep_time(self, deadline: float) -> float:
        return self._trio.deadline_to_sleep_time(deadline)
