"""Results, sorted for reading: of each workload the contenders, of each contender its turns as one.

Histograms of turns are added up, so a percentile is one of all operations. Rates and processor time
are medians. A ratio is the median of the turns' ratios, each to Tidelog's of the same round;
without as many turns of Tidelog there is none.
"""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec
from hdrh.histogram import HdrHistogram

from bench.load.latency import decoded
from bench.load.result import DROPPED, Result
from bench.load.workloads import WORKLOADS
from bench.measuring import ratio

OURS = "tidelog"
_PERCENT = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99.9": 99.9, "max": 100.0}
_KEPT_UP = 0.9
_NOT_OF_A_SECTION = ("rate", "seed")

Measure = Callable[[Result], float | None]


@dataclass(frozen=True)
class Turns:
    """Of one contender, at one rate. rate: None where each operation waited for the one before."""

    driver: str
    rate: float | None
    results: Sequence[Result]

    @property
    def first(self) -> Result:
        return self.results[0]

    @property
    def timed(self) -> list[str]:
        """What latencies there are of."""
        return _once(what for one in self.results for what in one.latencies)

    def histogram(self, what: str) -> HdrHistogram:
        encoded = [one.latencies[what].encoded for one in self.results if what in one.latencies]
        first, *others = map(decoded, encoded)
        for other in others:
            first.add(other)
        return first

    @cached_property
    def percentiles_ms(self) -> dict[str, dict[str, float]]:
        """By what was timed, then by "p50", "p90", …"""
        return {what: _percentiles_ms(self.histogram(what)) for what in self.timed}

    def median(self, measure: Measure) -> float | None:
        values = [value for one in self.results if (value := measure(one)) is not None]
        return statistics.median(values) if values else None

    def ratio(self, measure: Measure, to: "Turns | None") -> float | None:
        if to is None or to is self or len(to.results) != len(self.results):
            return None
        mine, theirs = (list(map(measure, turns.results)) for turns in (self, to))
        pairs = [(a, b) for a, b in zip(mine, theirs, strict=True) if a and b]
        return ratio(*zip(*pairs, strict=True)) if pairs else None


@dataclass(frozen=True)
class Section:
    """Of one workload with one set of options. has_rates: contenders ran at several."""

    workload: str
    options: dict[str, Any]
    contenders: Sequence[Turns]

    @property
    def title(self) -> str:
        known = WORKLOADS.get(self.workload)
        return known.title if known else ""

    @property
    def has_rates(self) -> bool:
        return len({turns.rate for turns in self.contenders}) > 1

    @property
    def is_kept_up(self) -> bool:
        """Every contender did what was offered."""
        results = [one for turns in self.contenders for one in turns.results]
        return all(
            one.offered_per_s and one.achieved_per_s > one.offered_per_s * _KEPT_UP
            for one in results
        )

    @property
    def has_deliveries(self) -> bool:
        return any(one.delivered_per_s for turns in self.contenders for one in turns.results)

    @property
    def timed(self) -> list[str]:
        """What is drawn: of what was given up it is the number that counts."""
        every = _once(what for turns in self.contenders for what in turns.timed)
        return [what for what in every if what != DROPPED]

    def name(self, turns: Turns) -> str:
        rate = f" at {turns.rate:,.0f}/s" if self.has_rates and turns.rate else ""
        return turns.driver + rate

    def ours(self, turns: Turns) -> Turns | None:
        """Tidelog's turns at the same rate: what ratios are to."""
        same = (one for one in self.contenders if (one.driver, one.rate) == (OURS, turns.rate))
        return next(same, None)


def sections(results: Iterable[Result]) -> list[Section]:
    """In the order in which they were measured."""
    grouped: dict[tuple[str, bytes], list[Result]] = {}
    for result in results:
        grouped.setdefault((result.workload, _options_key(result)), []).append(result)
    return [
        Section(workload, msgspec.json.decode(options), _turns(some))
        for (workload, options), some in grouped.items()
    ]


def _options_key(result: Result) -> bytes:
    kept = {name: value for name, value in result.options.items() if name not in _NOT_OF_A_SECTION}
    return msgspec.json.encode(kept, order="sorted")


def _turns(results: Sequence[Result]) -> list[Turns]:
    grouped: dict[tuple[str, float | None], list[Result]] = {}
    for result in results:
        grouped.setdefault((result.driver, result.offered_per_s), []).append(result)
    return [Turns(driver, rate, some) for (driver, rate), some in grouped.items()]


def _percentiles_ms(histogram: HdrHistogram) -> dict[str, float]:
    return {
        name: histogram.get_value_at_percentile(percent) / 1e3 for name, percent in _PERCENT.items()
    }


def _once(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def achieved(result: Result) -> float:
    return result.achieved_per_s


def delivered(result: Result) -> float:
    return result.delivered_per_s


def cpu(result: Result) -> float | None:
    return result.server_cpu_us


def rss_mib(result: Result) -> float | None:
    return result.server_rss_kib / 1024 if result.server_rss_kib else None


def latency(what: str, tail: str) -> Measure:
    def of(result: Result) -> float | None:
        found = result.latencies.get(what)
        return float(getattr(found, f"{tail}_us")) / 1e3 if found else None

    return of
