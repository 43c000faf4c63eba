"""`deltas`: documents that change a little, whole and as differences; and what it costs when no two
subscribers hold the same."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

from bench.measuring import Sample, in_turn, ratio
from bench.realtime import apart, sizes
from bench.realtime.documents import (
    CHANGED,
    SAVING,
    DocumentOrder,
    DocumentPublisher,
    checks_deltas,
)
from bench.realtime.fanout import FanOut
from bench.realtime.peers import tidelog_wire
from bench.realtime.receivers import Receivers
from bench.realtime.sessions import Session
from bench.realtime.tidelog import TidelogWire
from bench.scale import Scale
from bench.tables import Cell, Table

TITLE = "documents that change a little, whole and as deltas"
CAVEATS = f"""\
- A JSON object of string fields; with each message {CHANGED:.0%} of them get a new random value.
  `params.delta=vcdiff` beside the same without it, on channels of their own of one server; JSON
  over WebSocket, so a delta is base64. CPU and bytes are compared by their sums over all turns.
- One at a time: the next document is published when every subscriber has the last. CPU is the
  broker's process, all threads, in ticks of 10 ms, publishing included: with one subscriber that is
  most of it. Bytes are those that subscribers read, frames and all fields of a message included.
- What the client pays to decode is not measured. Of sixteen subscribers everything was decoded, by
  the decoder that SDKs use, and compared with what was published, off the clock.
- When bases differ: "behind" is everyone attaching at once, each from another message. They read
  pages of their own, so nobody shares an encoding, with deltas or without. "One filter each": every
  subscriber is given another message, then all the same; filters share no encoding either, because
  frames carry the name that was attached to. There the first document for all is a delta of another
  for each subscriber, most of them so old that little of it is left: it is the worst case, and the
  broker's loop serves nobody else meanwhile but between every 200 deliveries.
- CPU when bases differ is to the nanosecond, but of one message or one burst, so it scatters; the
  ratio is the median over rounds.
"""
_COLUMNS = (
    "document bytes",
    "subscribers",
    "contender",
    "deliveries/s",
    "p50 ms",
    "p99 ms",
    "bytes/delivery",
    "CPU us/delivery",
    "bytes x whole",
    "CPU x whole",
    "deliveries/s x whole",
)
_channels = count(1)


async def run(work: Path, scale: Scale) -> list[Table]:
    size = sizes.of(scale)
    rows: list[list[Cell]] = []
    with tidelog_wire(work / "tidelog") as wire:
        for document in size.documents:
            for subscribers in size.audiences:
                samples = await _samples(wire, document, subscribers, scale)
                rows += _rows([document, subscribers], samples)
        told = await apart.table(wire, size)
    return [Table("One document at a time", _COLUMNS, rows, _notes()), told]


async def _samples(
    wire: TidelogWire, document: int, subscribers: int, scale: Scale
) -> dict[str, Sample]:
    contenders = [
        _contender(wire, "whole", None, document, subscribers),
        _contender(wire, "deltas", SAVING, document, subscribers),
    ]
    samples = await in_turn(contenders, 1, scale)
    for contender in contenders:
        await contender.finish()
    return samples


def _contender(
    wire: TidelogWire, name: str, params: dict[str, str] | None, document: int, subscribers: int
) -> FanOut:
    channel = f"documents-{next(_channels)}"
    sockets = wire.open([Session(channel, params=params) for _ in range(subscribers)])
    publisher = DocumentPublisher(wire, channel, document)
    receivers = Receivers(publisher, sockets, order=lambda: DocumentOrder(publisher, count()))
    return FanOut(name, wire.pid, receivers)


def _rows(key: list[Cell], samples: dict[str, Sample]) -> Iterator[list[Cell]]:
    whole = samples["whole"]
    for name, sample in samples.items():
        yield [
            *key,
            name,
            sample.per_second,
            sample.latency_ms(0.5),
            sample.latency_ms(0.99),
            sample.bytes_per_message,
            sample.cpu_us or None,
            sample.bytes_per_message / whole.bytes_per_message,
            sample.cpu_us / whole.cpu_us if whole.cpu_us else None,
            ratio(sample.turns, whole.turns),
        ]


def _notes() -> list[str]:
    return [] if checks_deltas() else ["vcdiff-decoder is not installed: deltas are not checked."]
