"""One timer wheel for every heartbeat and expiry: no task for a timer, and none for an idle wheel.

Timers that are due within the same tick share a bucket. The one task of `run` sleeps until the
next bucket is due; a heap knows which that is. Scheduling and cancelling cost the same however
many timers there are, and a cancelled timer is gone at once: connections postpone theirs with
every message.

Invariants: an action never runs early, and at most a tick late while the loop keeps up; it runs
at most once, and never after `cancel`. Actions of one tick run in the order they were scheduled.
Time is trio's, so that a test's clock moves it.

Fault model: an action that raises is logged; the others run. Refuses to await anything for an
action: what takes time is for a task that the action wakes.
"""

import heapq
import logging
import math
from collections.abc import Callable
from itertools import islice

import trio

TICKS_PER_SECOND = 40  # 25 ms: no protocol timeout needs to be finer
ACTIONS_AT_A_TIME = 200  # then others have their turn

logger = logging.getLogger("tidelog.broker")


class Timer:
    """One scheduled action. Made by `Timers.schedule`."""

    __slots__ = ("_action", "_bucket")

    def __init__(self, action: Callable[[], None], bucket: "dict[Timer, None]") -> None:
        self._action: Callable[[], None] | None = action
        self._bucket = bucket

    def cancel(self) -> None:
        """The action will not run, unless it already did."""
        self._action = None
        self._bucket.pop(self, None)

    def fire(self) -> None:
        action, self._action = self._action, None
        if action is None:
            return
        try:
            action()
        except Exception:
            logger.exception("a timer's action failed")


class Timers:
    def __init__(self) -> None:
        self._buckets: dict[int, dict[Timer, None]] = {}
        self._ticks: list[int] = []  # a heap of the buckets' keys
        self._nap = trio.CancelScope()

    def __len__(self) -> int:
        """How many timers wait."""
        return sum(map(len, self._buckets.values()))

    def schedule(self, delay_ms: float, action: Callable[[], None]) -> Timer:
        """Run `action` in `delay_ms`, from the task of `run`."""
        bucket = self._bucket(_tick_at(trio.current_time() + delay_ms / 1000))
        timer = Timer(action, bucket)
        bucket[timer] = None
        return timer

    async def run(self) -> None:
        """Run what is due, until cancelled."""
        while True:
            with trio.CancelScope(deadline=self._next_due()) as self._nap:
                await trio.sleep_forever()
            for timer in self._take_due():
                timer.fire()
            await trio.lowlevel.checkpoint()

    def _bucket(self, tick: int) -> dict[Timer, None]:
        """An emptied bucket stays until its tick, so a tick is in the heap once."""
        bucket = self._buckets.get(tick)
        if bucket is None:
            bucket = self._buckets[tick] = {}
            heapq.heappush(self._ticks, tick)
            self._nap.deadline = min(self._nap.deadline, _time_of(tick))
        return bucket

    def _next_due(self) -> float:
        while self._ticks and not self._buckets[self._ticks[0]]:
            del self._buckets[heapq.heappop(self._ticks)]
        return _time_of(self._ticks[0]) if self._ticks else math.inf

    def _take_due(self) -> list[Timer]:
        """The timers of the first bucket, if it is due: some of them, where they are many."""
        if not self._ticks or _time_of(self._ticks[0]) > trio.current_time():
            return []
        bucket = self._buckets[self._ticks[0]]
        if len(bucket) <= ACTIONS_AT_A_TIME:
            del self._buckets[heapq.heappop(self._ticks)]
        due = list(islice(bucket, ACTIONS_AT_A_TIME))
        for timer in due:
            del bucket[timer]
        return due


def _time_of(tick: int) -> float:
    return tick / TICKS_PER_SECOND


def _tick_at(due: float) -> int:
    """The first tick that is not before `due`, rounding included."""
    tick = math.ceil(due * TICKS_PER_SECOND)
    return tick if _time_of(tick) >= due else tick + 1
