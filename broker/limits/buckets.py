"""Token buckets: how much of something each of many may have in a second, with bursts.

A bucket is full at first and holds what `burst_s` seconds bring. It fills evenly. What is bigger
than a whole bucket passes when the bucket is full, and leaves it in debt: it waits longer than
others, but nothing is refused for ever, and the rate holds over time.

Of each bucket only the moment is kept at which it will be full. So its rate may change at any time,
and one that is full is worth nothing: those are forgotten first. Never more than `buckets_max` are
kept; where none of them is full, the one that was used longest ago is forgotten, and begins anew
with a full one. Time is the caller's, and monotonic: wall clocks are set back.
"""

from collections import OrderedDict
from collections.abc import Hashable

ROUNDING_S = 1e-6
SWEPT_MAX = 8  # looked at for each that is used: more than come, so that the full ones go


class Buckets:
    def __init__(self, burst_s: float, buckets_max: int) -> None:
        self._burst_s = burst_s
        self._buckets_max = buckets_max
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def wait_s(self, whose: Hashable, amount: float, per_s: float, now_s: float) -> float:
        """In how many seconds so much can be taken; 0 is now."""
        full_at_s = self._full_at.get(whose)
        if full_at_s is None:
            return 0.0
        burst_s, taken_s = self._burst_s, amount / per_s
        wait_s = full_at_s - now_s
        if taken_s < burst_s:
            wait_s -= burst_s - taken_s
        return wait_s if wait_s > ROUNDING_S else 0.0

    def take(self, whose: Hashable, amount: float, per_s: float, now_s: float) -> None:
        """Take it, whether or not it is there."""
        full_at_s = self._full_at.get(whose)
        if full_at_s is None or full_at_s < now_s:
            full_at_s = now_s
        self._full_at[whose] = full_at_s + amount / per_s
        self._full_at.move_to_end(whose)
        if len(self._full_at) > 1:
            self._sweep(now_s)

    def try_take(self, whose: Hashable, amount: float, per_s: float, now_s: float) -> float:
        """0 if it was there, and is taken; else in how many seconds it can be."""
        wait_s = self.wait_s(whose, amount, per_s, now_s)
        if not wait_s:
            self.take(whose, amount, per_s, now_s)
        return wait_s

    def _sweep(self, now_s: float) -> None:
        """The oldest are those that were used longest ago, and most likely full. What was taken
        just now is never swept, for its bucket is not full."""
        for _ in range(SWEPT_MAX):
            whose, full_at_s = next(iter(self._full_at.items()))
            if full_at_s > now_s and len(self._full_at) <= self._buckets_max:
                return
            del self._full_at[whose]
