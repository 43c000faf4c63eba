"""How often each caller may ask: a token bucket for each of those that asked lately.

A bucket is full at first, and holds what may be asked in one period, so that a burst of that size
passes after a quiet period. It fills evenly. Time is the caller's, and monotonic: wall clocks are
set back. CALLERS_MAX buckets are kept; who has not asked for longest is forgotten, and begins with
a full bucket again.
"""

from collections import OrderedDict
from collections.abc import Hashable

CALLERS_MAX = 10_000


class RateLimit:
    """`requests`: of one caller in `period_s`; 0 is no limit."""

    def __init__(self, requests: int, period_s: float) -> None:
        self._requests = requests
        self._per_s = requests / period_s
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, caller: Hashable, now_s: float) -> float:
        """0 if there was a token left, which is gone then; else in how many seconds there is."""
        if not self._requests:
            return 0.0
        tokens, at_s = self._buckets.pop(caller, (float(self._requests), now_s))
        tokens = min(float(self._requests), tokens + (now_s - at_s) * self._per_s)
        is_left = tokens >= 1
        self._buckets[caller] = (tokens - is_left, now_s)
        if len(self._buckets) > CALLERS_MAX:
            self._buckets.popitem(last=False)
        return 0.0 if is_left else (1 - tokens) / self._per_s
