"""So many requests a second: a bucket of tokens for each name.

A bucket holds what a second allows, so that a burst of that size passes after a quiet second. Time
is the caller's, in milliseconds; one that goes back stands still. Names that were not seen for the
longest time are forgotten, which fills their bucket.
"""

from collections import OrderedDict
from collections.abc import Callable

NAMES_MAX = 10_000


class Rate:
    def __init__(self, per_second: int, clock: Callable[[], int]) -> None:
        self._per_second = per_second
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def takes(self, name: str) -> bool:
        """Whether there is a token left for one request more; it is gone then."""
        now_ms = self._clock()
        tokens, at_ms = self._buckets.pop(name, (float(self._per_second), now_ms))
        tokens += max(0, now_ms - at_ms) * self._per_second / 1_000
        tokens = min(tokens, float(self._per_second))
        is_left = tokens >= 1
        self._buckets[name] = (tokens - is_left, max(now_ms, at_ms))
        if len(self._buckets) > NAMES_MAX:
            self._buckets.popitem(last=False)
        return is_left
