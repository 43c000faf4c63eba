"""When operations are due, decided before any is begun: an open loop.

A broker that stalls does not make its load wait: what was due meanwhile is begun late and counts
from when it was due. A loop that waits for each answer before it asks again leaves exactly the bad
moments out (coordinated omission).
"""

from collections.abc import Callable, Iterator
from random import Random
from typing import Literal

Arrival = Literal["poisson", "constant"]
_NS = 1_000_000_000


def moments(arrival: Arrival, rate: float, duration_s: float, random: Random) -> Iterator[int]:
    """Nanoseconds from the start, ascending, all within the duration."""
    gap = _GAPS[arrival](rate, random)
    at, end = gap(), duration_s * _NS
    while at < end:
        yield int(at)
        at += gap()


def _poisson(rate: float, random: Random) -> Callable[[], float]:
    """As from many clients that know nothing of each other."""
    per_ns = rate / _NS
    return lambda: random.expovariate(per_ns)


def _constant(rate: float, random: Random) -> Callable[[], float]:
    return lambda: _NS / rate


_GAPS: dict[Arrival, Callable[[float, Random], Callable[[], float]]] = {
    "poisson": _poisson,
    "constant": _constant,
}
