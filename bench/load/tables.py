"""Results as a person reads them in a terminal, and what was wrong with them."""

from collections.abc import Iterator, Sequence

from bench.load.result import ACKNOWLEDGED, DELIVERED, Checked, Latency, Result
from bench.measuring import ratio
from bench.tables import Cell, Table

COLUMNS = (
    "offered/s",
    "achieved/s",
    "delivered/s",
    "server us/op",
    "RSS MiB",
    "generator us/op",
    "busy",
    "late p99 ms",
    "limit/s",
    "checked",
)
_LATENCY_COLUMNS = ("latency", "count", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms")
_RATIO_COLUMNS = (
    "driver",
    "workload",
    "runs",
    "achieved/s",
    "x tidelog",
    "p50 ms",
    "x tidelog",
    "p99 ms",
    "x tidelog",
    "delivered p99 ms",
    "x tidelog",
    "checked",
)


def of_run(result: Result) -> list[Table]:
    title = f"{result.workload} on {result.driver}, {result.version}"
    notes = [f"An acknowledgement means: {result.promise}.", *_notes(result)]
    return [Table(title, COLUMNS, [_row(result)]), _latencies(result, notes)]


def _row(result: Result) -> list[Cell]:
    generator = result.generator
    return [
        result.offered_per_s,
        result.achieved_per_s,
        result.delivered_per_s,
        result.server_cpu_us,
        result.server_rss_kib / 1024 if result.server_rss_kib else None,
        generator.cpu_us,
        generator.busy,
        generator.late_p99_us / 1e3,
        generator.limit_per_s,
        verdict(result),
    ]


def _latencies(result: Result, notes: list[str]) -> Table:
    rows: list[list[Cell]] = [
        [what, one.count, *(us / 1e3 for us in _percentiles(one))]
        for what, one in result.latencies.items()
    ]
    return Table("Latency, from when it was due", _LATENCY_COLUMNS, rows, notes)


def _percentiles(one: Latency) -> tuple[float, ...]:
    return one.p50_us, one.p90_us, one.p99_us, one.p999_us, one.max_us


def verdict(result: Result) -> str:
    """In a word: right, or what is wrong."""
    checked = result.checked
    if not checked.is_right:
        return "WRONG"
    return "right, generator was the limit" if result.generator.is_limit else "right"


def _notes(result: Result) -> Iterator[str]:
    checked = result.checked
    yield f"Checked: {counted(checked)}."
    yield f"With {', '.join(f'{name} {value}' for name, value in result.options.items())}."
    for name, value in result.more.items():
        yield f"{value:,.1f} {name}"
    yield from wrong(checked)
    yield from (f"{count:,} x {why}" for why, count in checked.reasons.items())
    yield from (f"Not checked: {what}." for what in checked.unchecked)
    if result.generator.is_limit:
        yield "The load generator was the limit, not the broker."


def wrong(checked: Checked) -> Iterator[str]:
    for kind, count in checked.violations.items():
        yield f"WRONG: {count:,} x {kind}"
    yield from (f"  {example}" for example in checked.examples)


def counted(checked: Checked) -> str:
    return (
        f"{checked.acknowledged:,} acknowledged, {checked.refused:,} refused, "
        f"{checked.unknown:,} unknown, {checked.deliveries:,} delivered, "
        f"{checked.in_history:,} in history"
    )


def ratios(results: Sequence[Result], ours: str = "tidelog") -> Table:
    """Medians of the ratios of one round, for runs that took turns."""
    rows: list[list[Cell]] = []
    for workload in dict.fromkeys(result.workload for result in results):
        mine = [result for result in results if result.workload == workload]
        base = [result for result in mine if result.driver == ours]
        drivers = dict.fromkeys(result.driver for result in mine)
        rows += [_ratios([one for one in mine if one.driver == name], base) for name in drivers]
    promises = {result.driver: result.promise for result in results}
    notes = [f"{name}: an acknowledgement means: {what}" for name, what in promises.items()]
    return Table("Beside each other", _RATIO_COLUMNS, rows, notes)


def _ratios(theirs: Sequence[Result], base: Sequence[Result]) -> list[Cell]:
    first = theirs[0]
    row: list[Cell] = [first.driver, first.workload, len(theirs)]
    for measure in (_achieved, _p50, _p99, _delivered_p99):
        values, against = list(map(measure, theirs)), list(map(measure, base))
        paired = len(values) == len(against)
        row += [_median(values), ratio(values, against) if paired else None]
    return [*row, ", ".join(dict.fromkeys(map(verdict, theirs)))]


def _achieved(result: Result) -> float:
    return result.achieved_per_s


def _p50(result: Result) -> float:
    return _of(result, ACKNOWLEDGED, "p50_us")


def _p99(result: Result) -> float:
    return _of(result, ACKNOWLEDGED, "p99_us")


def _delivered_p99(result: Result) -> float:
    return _of(result, DELIVERED, "p99_us")


def _of(result: Result, what: str, percentile: str) -> float:
    """In milliseconds; 0 where it was not measured."""
    latency = result.latencies.get(what)
    return float(getattr(latency, percentile)) / 1e3 if latency else 0.0


def _median(values: Sequence[float]) -> float | None:
    ordered = sorted(values)
    return ordered[len(ordered) // 2] or None
