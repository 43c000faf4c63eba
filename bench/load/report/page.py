"""A report as HTML: what `page.html` is filled with."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import jinja2
import msgspec

from bench.load.options import Options
from bench.load.report import plots
from bench.load.report.details import Detail, Finding, details, findings
from bench.load.report.plots import Bars, Plot
from bench.load.report.turns import (
    OURS,
    Measure,
    Section,
    Turns,
    achieved,
    cpu,
    delivered,
    latency,
    rss_mib,
    sections,
)
from bench.load.result import Report, Result
from bench.tables import shown

_COLOURS = 8  # with more contenders, some share one
_TAILS = ("p50", "p99")
_ALWAYS = ("duration_s", "size", "publishers", "channels", "subscribers", "window")
_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("bench.load.report", "."),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)
Series = Callable[[Turns], int]


@dataclass(frozen=True)
class Cell:
    """label: of its column; beside: how many times Tidelog's, where that can be said."""

    label: str
    text: str
    beside: str


@dataclass(frozen=True)
class Row:
    """state: "right", "wrong", or "limit" when the generator was the limit."""

    name: str
    series: int
    promise: str
    cells: list[Cell]
    state: str
    verdict: str


@dataclass(frozen=True)
class Part:
    """A section, ready to be drawn."""

    name: str
    title: str
    options: list[tuple[str, str]]
    rows: list[Row]
    bars: list[Bars]
    plots: list[Plot]
    findings: list[Finding]
    details: list[Detail]


def page(report: Report) -> str:
    """One file of HTML, whole."""
    found = sections(report.results)
    drivers = list(dict.fromkeys(turns.driver for one in found for turns in one.contenders))

    def series(section: Section) -> Series:
        """The same for a contender everywhere; of one alone, by its rates."""
        if len(drivers) > 1:
            return lambda turns: drivers.index(turns.driver) % _COLOURS
        return lambda turns: section.contenders.index(turns) % _COLOURS

    return _ENVIRONMENT.get_template("page.html").render(
        report=report,
        title=_title(found, drivers),
        parts=[_part(section, series(section)) for section in found],
        promises=_promises(report.results),
        has_ratios=OURS in drivers and len(drivers) > 1,
        wrong=sum(not one.checked.is_right for one in report.results),
        limited=sum(one.generator.is_limit for one in report.results),
        size=plots,
    )


def _title(found: Sequence[Section], drivers: Sequence[str]) -> str:
    workloads = ", ".join(dict.fromkeys(section.workload for section in found))
    if not workloads:
        return "Nothing was measured"
    return f"{workloads} on {drivers[0] if len(drivers) == 1 else f'{len(drivers)} contenders'}"


def _promises(results: Sequence[Result]) -> list[tuple[str, str, str]]:
    """(driver, what an acknowledgement of it means, version), once each."""
    return list(dict.fromkeys((one.driver, one.promise, one.version) for one in results))


def _part(section: Section, series: Series) -> Part:
    return Part(
        name=section.workload,
        title=section.title,
        options=list(_options(section)),
        rows=[_row(section, turns, series(turns)) for turns in section.contenders],
        bars=list(_bars(section, series)),
        plots=list(_plots(section, series)),
        findings=list(findings(section)),
        details=list(details(section)),
    )


def _options(section: Section) -> Iterator[tuple[str, str]]:
    """Those that say how much it was, and those that are not as usual."""
    if not section.has_rates:
        rate = section.contenders[0].rate
        yield "rate", f"{shown(rate)}/s" if rate else "as many as go"
    usual = msgspec.to_builtins(Options())
    for name, value in section.options.items():
        if name in _ALWAYS or value != usual.get(name):
            yield name, shown(value)


def _bars(section: Section, series: Series) -> Iterator[Bars]:
    """Of several rates a curve says more, and if all kept up with the rate, there is no more to
    say."""
    drawn: list[tuple[str, str, Measure]] = [
        ("Done", "operations acknowledged per second; more is better", achieved),
        ("Delivered", "messages per second to all subscribers; more is better", delivered),
        ("Processor time of the server", "microseconds an operation; less is better", cpu),
    ]
    for title, note, measure in drawn:
        made = plots.bars(section, title, note, measure, series)
        if made.bars and not section.has_rates and not (section.is_kept_up and measure is not cpu):
            yield made


def _plots(section: Section, series: Series) -> Iterator[Plot]:
    if section.has_rates:
        yield plots.rates(section, series)
    for what in section.timed:
        yield plots.percentiles(section, what, series)


def _row(section: Section, turns: Turns, series: int) -> Row:
    state, verdict = _verdict(turns)
    cells = list(_cells(section, turns))
    return Row(section.name(turns), series, turns.first.promise, cells, state, verdict)


def _cells(section: Section, turns: Turns) -> Iterator[Cell]:
    ours = section.ours(turns)

    def cell(label: str, measure: Measure, value: float | None) -> Cell:
        ratio = turns.ratio(measure, ours)
        return Cell(label, shown(value), shown(ratio) if ratio else "")

    yield cell("done/s", achieved, turns.median(achieved))
    if section.has_deliveries:
        yield cell("delivered/s", delivered, turns.median(delivered))
    for what in section.timed:
        found = turns.percentiles_ms.get(what, {})
        for tail in _TAILS:
            yield cell(f"{what} {tail} ms", latency(what, tail), found.get(tail))
    yield cell("server µs/op", cpu, turns.median(cpu))
    yield cell("server MiB", rss_mib, turns.median(rss_mib))


def _verdict(turns: Turns) -> tuple[str, str]:
    if not all(one.checked.is_right for one in turns.results):
        return "wrong", "wrong"
    if any(one.generator.is_limit for one in turns.results):
        return "limit", "right, but the generator was the limit"
    return "right", "right"
