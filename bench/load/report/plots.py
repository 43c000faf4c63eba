"""Plots, as coordinates: the template draws them.

`percentiles`: how long so many percent of the operations took at most, both axes logarithmic, for
contenders differ by a hundred times and tails are what matters. `rates`: p99 by the rate that was
offered. `bars`: one number of each contender.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from hdrh.histogram import HdrHistogram

from bench.load.report.axes import Axis, logarithmic, nines
from bench.load.report.turns import Measure, Section, Turns
from bench.tables import shown

WIDTH, HEIGHT = 440, 300
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 10, 26
_TICKS_PER_HALF = 7
_QUICKEST = 10  # percent may be below the axis: one of them could take half of the plot

Point = tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """series: of the colours. points: as SVG has them; marks: those that were measured."""

    name: str
    series: int
    points: str
    marks: list[tuple[float, float, str]]


@dataclass(frozen=True)
class Plot:
    """x and y: (coordinate, text) of the ticks."""

    title: str
    note: str
    x: list[tuple[float, str]]
    y: list[tuple[float, str]]
    curves: list[Curve]


@dataclass(frozen=True)
class Bar:
    name: str
    series: int
    percent: float
    text: str


@dataclass(frozen=True)
class Bars:
    title: str
    note: str
    bars: list[Bar]


def percentiles(section: Section, what: str, series: Callable[[Turns], int]) -> Plot:
    with_it = [turns for turns in section.contenders if what in turns.timed]
    histograms = [turns.histogram(what) for turns in with_it]
    points = [_levels(histogram) for histogram in histograms]
    x = nines(max(int(histogram.get_total_count()) for histogram in histograms))
    y = logarithmic((ms for some in points for percent, ms in some if percent > _QUICKEST), _ms)
    curves = [
        Curve(section.name(turns), series(turns), _path(some, x, y), [])
        for turns, some in zip(with_it, points, strict=True)
    ]
    return _plot(f"Latency: {what}", "milliseconds, by percentile", x, y, curves)


def rates(section: Section, series: Callable[[Turns], int]) -> Plot:
    """Of a section that has several."""
    measured: dict[str, list[tuple[float, float, Turns]]] = {}
    for turns in section.contenders:
        worst = max((found["p99"] for found in turns.percentiles_ms.values()), default=0.0)
        if turns.rate and worst:
            measured.setdefault(turns.driver, []).append((turns.rate, worst, turns))
    every = [point for some in measured.values() for point in some]
    x = logarithmic((rate for rate, _, _ in every), shown)
    y = logarithmic((worst for _, worst, _ in every), _ms)
    curves = []
    for driver, some in measured.items():
        ordered = sorted(some, key=lambda point: point[0])
        path = _path([(rate, worst) for rate, worst, _ in ordered], x, y)
        marks = [
            (*_at(rate, worst, x, y), f"{shown(rate)}/s: {_ms(worst)} ms")
            for rate, worst, _ in ordered
        ]
        curves.append(Curve(driver, series(ordered[0][2]), path, marks))
    return _plot("p99 by rate", "milliseconds, by operations offered per second", x, y, curves)


def bars(
    section: Section, title: str, note: str, measure: Measure, series: Callable[[Turns], int]
) -> Bars:
    """Without those of which it is not known."""
    values = [(turns, turns.median(measure)) for turns in section.contenders]
    known = [(turns, value) for turns, value in values if value]
    most = max((value for _, value in known), default=1.0)
    return Bars(
        title,
        note,
        [
            Bar(section.name(turns), series(turns), 100 * value / most, shown(value))
            for turns, value in known
        ],
    )


def _levels(histogram: HdrHistogram) -> list[Point]:
    """(percentile, milliseconds)."""
    return [
        (at.percentile_level_iterated_to, at.value_iterated_to / 1e3)
        for at in histogram.get_percentile_iterator(_TICKS_PER_HALF)
    ]


def _ms(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:g}"


def _plot(title: str, note: str, x: Axis, y: Axis, curves: list[Curve]) -> Plot:
    across = [(_x(place), text) for place, text in x.ticks]
    return Plot(title, note, across, [(_y(place), text) for place, text in y.ticks], curves)


def _path(points: Iterable[Point], x: Axis, y: Axis) -> str:
    return " ".join(f"{across},{up}" for across, up in (_at(*point, x, y) for point in points))


def _at(across: float, up: float, x: Axis, y: Axis) -> Point:
    return _x(x.place(across)), _y(y.place(up))


def _x(place: float) -> float:
    return round(LEFT + place * (WIDTH - LEFT - RIGHT), 1)


def _y(place: float) -> float:
    return round(HEIGHT - BOTTOM - place * (HEIGHT - TOP - BOTTOM), 1)
