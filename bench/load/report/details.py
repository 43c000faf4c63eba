"""What few look at first, and nobody may be kept from: all percentiles, what was checked and what
was not, how busy the load generator was, and what only one workload measures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.load.report.turns import Section, Turns
from bench.load.result import DROPPED, Checked, Result
from bench.tables import Cell, shown

_COUNTED = ("acknowledged", "refused", "unknown", "deliveries", "in_history")


@dataclass(frozen=True)
class Finding:
    """state: "wrong", or "limit" for what only has to be known."""

    state: str
    text: str


@dataclass(frozen=True)
class Detail:
    """A table: the first column is text."""

    title: str
    columns: Sequence[str]
    rows: list[list[str]]


def findings(section: Section) -> Iterator[Finding]:
    """What is not as it should be, in words."""
    for turns in section.contenders:
        for number, result in enumerate(turns.results, 1):
            who = section.name(turns)
            yield from _of(result, f"{who}, turn {number}" if len(turns.results) > 1 else who)


def _of(result: Result, who: str) -> Iterator[Finding]:
    checked = result.checked
    for kind, count in checked.violations.items():
        yield Finding("wrong", f"{who}: {count:,} x {kind}")
    for example in checked.examples:
        yield Finding("wrong", f"{who}: {example}")
    for why, count in checked.reasons.items():
        yield Finding("limit", f"{who}: {count:,} x {why}")
    if late := result.latencies.get(DROPPED):
        yield Finding("limit", f"{who} did not keep up: {late.count:,} operations were given up")


def details(section: Section) -> Iterator[Detail]:
    yield _percentiles(section)
    yield _checked(section)
    yield _generator(section)
    yield Detail("All options", ["option", "value"], _options(section))
    if any(one.more for turns in section.contenders for one in turns.results):
        yield _more(section)


def _options(section: Section) -> list[list[str]]:
    seeds = {str(one.options.get("seed")) for turns in section.contenders for one in turns.results}
    every = {**section.options, "seed": ", ".join(sorted(seeds))}
    return [[name, shown(value)] for name, value in every.items()]


def _percentiles(section: Section) -> Detail:
    columns = ["contender", "what", "count", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms"]
    rows = [
        [section.name(turns), what, shown(_count(turns, what)), *map(shown, found.values())]
        for turns in section.contenders
        for what, found in turns.percentiles_ms.items()
    ]
    return Detail("All percentiles", columns, rows)


def _count(turns: Turns, what: str) -> int:
    return sum(one.latencies[what].count for one in turns.results if what in one.latencies)


def _checked(section: Section) -> Detail:
    columns = ["contender", *(name.replace("_", " ") for name in _COUNTED), "not checked"]
    rows = []
    for turns in section.contenders:
        every = [one.checked for one in turns.results]
        counts = [shown(sum(getattr(one, name) for one in every)) for name in _COUNTED]
        rows.append([section.name(turns), *counts, _unchecked(every)])
    return Detail("What was checked", columns, rows)


def _unchecked(every: Sequence[Checked]) -> str:
    return "; ".join(dict.fromkeys(what for one in every for what in one.unchecked)) or "-"


def _generator(section: Section) -> Detail:
    columns = ["contender", "offered/s", "its own limit/s", "µs/op", "busy", "late p99 ms", "limit"]
    rows = [
        [section.name(turns), *map(shown, _of_generator(one))]
        for turns in section.contenders
        for one in turns.results
    ]
    return Detail("The load generator, turn by turn", columns, rows)


def _of_generator(result: Result) -> list[Cell]:
    generator = result.generator
    return [
        result.offered_per_s or "as many as go",
        generator.limit_per_s,
        generator.cpu_us,
        generator.busy,
        generator.late_p99_us / 1e3,
        "yes" if generator.is_limit else "no",
    ]


def _more(section: Section) -> Detail:
    names = dict.fromkeys(
        name for turns in section.contenders for one in turns.results for name in one.more
    )
    rows = [
        [section.name(turns), *(shown(one.more.get(name)) for name in names)]
        for turns in section.contenders
        for one in turns.results
    ]
    return Detail("More, turn by turn", ["contender", *names], rows)
