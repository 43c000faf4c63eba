"""Latencies of a run, whatever their number, in the memory of one histogram.

HdrHistogram keeps three digits from a microsecond to an hour. It is pure Python where it records,
and takes longer than all else that is done with a message, so whole microseconds are counted in a
dictionary first, and moved over when that has grown.
"""

from hdrh.histogram import HdrHistogram

from bench.load.result import Latency

MAX_US = 3_600_000_000
_DIGITS = 3
_COUNTS_MAX = 10_000


class Latencies:
    """Longer than an hour counts as an hour; a clock that went back, as nothing."""

    __slots__ = ("_counts", "_histogram")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._histogram = HdrHistogram(1, MAX_US, _DIGITS)

    def record(self, nanoseconds: int) -> None:
        us = nanoseconds // 1000
        counts = self._counts
        counts[us] = counts.get(us, 0) + 1
        if len(counts) > _COUNTS_MAX:
            self._move()

    @property
    def count(self) -> int:
        self._move()
        return int(self._histogram.get_total_count())

    def percentile_us(self, percent: float) -> float:
        """0 when nothing was recorded."""
        self._move()
        return float(self._histogram.get_value_at_percentile(percent))

    def result(self) -> Latency:
        self._move()
        return Latency(
            count=self.count,
            p50_us=self.percentile_us(50),
            p90_us=self.percentile_us(90),
            p99_us=self.percentile_us(99),
            p999_us=self.percentile_us(99.9),
            max_us=float(self._histogram.get_max_value()),
            encoded=self._histogram.encode().decode(),
        )

    def _move(self) -> None:
        for us, count in self._counts.items():
            self._histogram.record_value(min(max(us, 0), MAX_US), count)
        self._counts.clear()


def decoded(encoded: str) -> HdrHistogram:
    """The histogram of a Latency, for plots."""
    return HdrHistogram.decode(encoded.encode())
