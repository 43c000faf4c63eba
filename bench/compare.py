"""`compare`: Tidelog, Redis, NATS and Mosquitto under the load generator of `tidelog bench`.

The same workload on each in turn, twice: as much as goes, to see how much that is, and at a rate
that all of them can keep up with, to see how long a message takes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.acknowledged import Wrong
from bench.load import comparing
from bench.load.options import Options
from bench.load.report.turns import (
    OURS,
    Measure,
    Section,
    Turns,
    achieved,
    cpu,
    delivered,
    latency,
    sections,
)
from bench.load.result import ACKNOWLEDGED, DELIVERED, Result
from bench.load.session import Session
from bench.load.workloads import WORKLOADS, Workload
from bench.scale import Scale
from bench.tables import Cell, Table

TITLE = "publish and fan-out beside Redis, NATS and Mosquitto"
CAVEATS = """\
- By `tidelog bench compare`, which anyone can run: broker and load generator are processes of their
  own over TCP on the loopback, and share its processors. The generator is one Python process that
  plays all clients, with the client library that costs it least for each broker; where it was the
  limit the row says so, and the broker could do more. CPU is the broker's, all threads, and does
  not depend on that.
- An acknowledgement means what the second column says, and only rows that say the same did the same
  work. Redis syncs its file once for all that it read at a time, as Tidelog commits in groups;
  JetStream syncs each message by itself, where the nats-server can (2.10 and later; that of Debian
  12 cannot, so a later one was put first on PATH; versions are below the last table). NATS core
  acknowledges nothing: what is timed is that the server has read the message. Mosquitto's file is
  written every second, and a PUBACK waits for no disk.
- Tidelog also stores a record that can be resumed and searched for, checks permissions, and encodes
  JSON; its clients and its server are Python. Redis pub/sub, NATS core and Mosquitto keep nothing
  for those who are not there.
- As much as goes: each publisher's connection (8 of them, one for fan-out) has 64 messages under
  way, and latency is what that makes of it. At a rate messages are due at random moments, and
  latency counts from when they were due.
- Percentiles are of HdrHistograms with three digits, over all turns.
- Every run was checked: all that was acknowledged came to every subscriber once and in order, and
  is in the history of those that have one.
"""
_LEFT_OUT = "tidelog-rest"  # `rest` measures that
_WARM_UP = 0.25
_RATES = {"publish": 500.0, "fanout": 10.0}
_COLUMNS = (
    "contender",
    "an ack means",
    "{what}/s",
    "x tidelog",
    "p50 ms",
    "x tidelog",
    "p99 ms",
    "x tidelog",
    "p99.9 ms",
    "CPU us/{what}",
    "x tidelog",
    "checked",
)


@dataclass(frozen=True)
class Plan:
    """A table: of one workload, at a rate or as fast as it goes."""

    workload: Workload
    options: Options
    title: str
    what: str
    timed: str

    def table(self, section: Section, notes: Sequence[str]) -> Table:
        columns = tuple(column.format(what=self.what) for column in _COLUMNS)
        rows = [self._row(section, turns) for turns in section.contenders]
        return Table(self.title, columns, rows, list(notes))

    def _row(self, section: Section, turns: Turns) -> list[Cell]:
        ours = section.ours(turns)
        found = turns.percentiles_ms.get(self.timed, {})
        row: list[Cell] = [turns.driver, turns.first.promise]
        row += [turns.median(self._per_second), turns.ratio(self._per_second, ours)]
        for tail in ("p50", "p99"):
            row += [found.get(tail), turns.ratio(latency(self.timed, tail), ours)]
        row += [found.get("p99.9"), turns.median(self._cpu), turns.ratio(self._cpu, ours)]
        return [*row, _verdict(turns.results)]

    @property
    def _per_second(self) -> Measure:
        return delivered if self.timed == DELIVERED else achieved

    def _cpu(self, result: Result) -> float | None:
        """A delivery is a share of the operation that it is of."""
        whole, done = cpu(result), self._per_second(result)
        return whole * result.achieved_per_s / done if whole and done else None


def run(work: Path, scale: Scale) -> list[Table]:
    """Each run of the load generator has an event loop of its own."""
    session = Session("", work)
    tables = []
    with comparing.contenders(work / "peers") as taking_part:
        taking_part.contenders = [
            one for one in taking_part.contenders if one.driver.name != _LEFT_OUT
        ]
        for plan in _plans(scale):
            before = len(session.results)
            planned = [(plan.workload, plan.options)]
            failed = comparing.compare(session, taking_part, planned, scale.rounds, _right)
            (section,) = sections(session.results[before:])
            tables.append(plan.table(section, failed))
        notes = [f"{name}: {settings}." for name, settings in taking_part.settings.items()]
        tables[-1].notes.extend([*notes, *taking_part.notes])
    return tables


def _verdict(results: Sequence[Result]) -> str:
    wrong = sum(not one.checked.is_right for one in results)
    limited = sum(one.generator.is_limit for one in results)
    if wrong:
        return f"WRONG in {wrong} of {len(results)} turns"
    return f"right; generator the limit in {limited} of {len(results)}" if limited else "right"


def _right(number: int, result: Result) -> None:
    """Of ours nothing may be wrong; of another the row says it."""
    if result.driver == OURS and not result.checked.is_right:
        raise Wrong("; ".join(result.checked.examples) or str(result.checked.violations))


def _plans(scale: Scale) -> Iterator[Plan]:
    for name, timed, what in (
        ("publish", ACKNOWLEDGED, "msg"),
        ("fanout", DELIVERED, "delivery"),
    ):
        workload = WORKLOADS[name]
        for rate in (0.0, _RATES[name]):
            options = workload.defaults.but(
                rate=rate, duration_s=scale.turn_s, warm_up_s=scale.turn_s * _WARM_UP
            )
            yield Plan(workload, options, _title(workload, options), what, timed)


def _title(workload: Workload, options: Options) -> str:
    speed = f"{options.rate:,.0f} a second" if options.rate else "as much as goes"
    subscribers = f", to {options.subscribers} subscribers" if options.subscribers else ""
    return f"{workload.name}: {options.size}-byte messages{subscribers}, {speed}"
