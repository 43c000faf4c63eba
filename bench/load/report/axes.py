"""Where values lie on an axis of a plot, and which of them are written beside it."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

_STEPS = (1, 2, 5)
_FINEST_DECADES = 2.2  # up to here 2 and 5 are marked too


@dataclass(frozen=True)
class Axis:
    """place: of a value, from 0 to 1. ticks: (place, text)."""

    place: Callable[[float], float]
    ticks: list[tuple[float, str]]


def logarithmic(values: Iterable[float], text: Callable[[float], str]) -> Axis:
    """Of positive values; from the mark below the least to the mark above the greatest."""
    present = [value for value in values if value > 0] or [1.0]
    low, high = _mark_below(min(present)), _mark_above(max(present))
    if low == high:
        high *= 10
    span = math.log10(high / low)

    def place(value: float) -> float:
        return math.log10(max(value, low) / low) / span

    marks = _marks(low, high, _STEPS if span <= _FINEST_DECADES else (1,))
    return Axis(place, [(place(mark), text(mark)) for mark in marks])


def nines(operations: int) -> Axis:
    """Percentiles, as HdrHistogram plots them: each nine more takes the same room. As far as so
    many operations can tell them apart."""
    end = max(1.0, math.log10(max(operations, 1)))

    def place(percent: float) -> float:
        rest = max(1 - percent / 100, 10**-end)
        return -math.log10(rest) / end

    shown = [0.0, *(100 * (1 - 10.0**-nine) for nine in range(1, int(end) + 1))]
    return Axis(place, [(place(percent), f"{percent:.6g}%") for percent in shown])


def _marks(low: float, high: float, steps: Iterable[int]) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = [step * 10.0**decade for decade in decades for step in steps]
    return [mark for mark in every if low * 0.999 <= mark <= high * 1.001]


def _mark_below(value: float) -> float:
    decade = 10.0 ** math.floor(math.log10(value))
    return max(step * decade for step in _STEPS if step * decade <= value * 1.001)


def _mark_above(value: float) -> float:
    decade = 10.0 ** math.floor(math.log10(value))
    return min(step * decade for step in (*_STEPS, 10) if step * decade >= value * 0.999)
