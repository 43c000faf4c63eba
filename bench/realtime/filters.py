"""`filters`: what a delivery costs when subscribers attach by filters, few or many different."""

import base64
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from bench.measuring import Sample, in_turn, ratio
from bench.realtime import sizes
from bench.realtime.fanout import FanOut
from bench.realtime.peers import tidelog_wire
from bench.realtime.receivers import Receivers
from bench.realtime.sessions import Session
from bench.realtime.tidelog import TidelogPublisher, TidelogWire
from bench.scale import Scale
from bench.tables import Cell, Table

TITLE = "subscribers that attach by filters"
CAVEATS = """\
- One channel for each row, with as many subscribers, who are divided evenly over so many different
  filters; "none" attaches to the channel itself. Every filter is a comparison of a number, one of a
  text and an `&&`, and every message passes all of them: what is measured is the price of asking,
  and of an encoding for each filter, for the frames carry the name that was attached to.
- As `fanout`: one at a time, the next message is published when every subscriber has the last; in a
  window, so many have not reached everyone yet, and messages of one commit share a frame. CPU is
  the broker's process, all threads, in ticks of 10 ms, publishing included; its ratio is that of
  the sums over all turns.
"""
NONE = "none"
_COLUMNS = (
    "filters",
    "deliveries/s",
    "p50 ms",
    "p99 ms",
    "CPU us/delivery",
    "CPU x none",
    "deliveries/s x none",
)
_channels = count(1)


async def run(work: Path, scale: Scale) -> list[Table]:
    size = sizes.of(scale)
    with tidelog_wire(work / "tidelog") as wire:
        contenders = [
            _contender(wire, distinct, size.subscribers) for distinct in (0, *size.filters)
        ]
        tables = [
            await _table("One message at a time", 1, contenders, scale),
            await _table(f"In a window of {size.window} messages", size.window, contenders, scale),
        ]
        for contender in contenders:
            await contender.finish()
    return tables


def _contender(wire: TidelogWire, distinct: int, subscribers: int) -> FanOut:
    channel = f"filters-{next(_channels)}"
    names = [filtered(channel, number) for number in range(distinct)] or [channel]
    sessions = [Session(names[number % len(names)]) for number in range(subscribers)]
    headers: dict[str, object] = {"price": 1_000, "kind": "trade"}
    publisher = TidelogPublisher(wire, channel, {"extras": {"headers": headers}})
    name = str(distinct) if distinct else NONE
    return FanOut(name, wire.pid, Receivers(publisher, wire.open(sessions)))


def filtered(channel: str, number: int) -> str:
    """The channel by a filter that no other number has."""
    expression = f'headers.price > `{number}` && headers.kind == `"trade"`'
    return f"[filter={base64.b64encode(expression.encode()).decode()}]{channel}"


async def _table(title: str, window: int, contenders: Sequence[FanOut], scale: Scale) -> Table:
    samples = await in_turn(contenders, window, scale)
    none = samples[NONE]
    rows = [_row(name, sample, none) for name, sample in samples.items()]
    return Table(title, _COLUMNS, rows)


def _row(name: str, sample: Sample, none: Sample) -> list[Cell]:
    return [
        name,
        sample.per_second,
        sample.latency_ms(0.5),
        sample.latency_ms(0.99),
        sample.cpu_us or None,
        sample.cpu_us / none.cpu_us if none.cpu_us else None,
        ratio(sample.turns, none.turns),
    ]
