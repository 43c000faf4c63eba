"""`publish`: one connection, acknowledged once on disk, alone and beside a fan-out."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

from bench.measuring import Sample, in_turn, ratio
from bench.realtime import sizes
from bench.realtime.peers import notes, peer_wires, tidelog_wire
from bench.realtime.pipeline import Publishing
from bench.realtime.saturation import Load, saturated
from bench.realtime.sizes import RealtimeScale
from bench.realtime.wires import Wire
from bench.scale import Scale
from bench.tables import Cell, Table

TITLE = "publishing over one connection, acknowledged once on disk"
CAVEATS = """\
- Brokers and clients are processes of their own here, over TCP on the loopback; the head of this
  page speaks of the other benchmarks. Tidelog: WebSocket, one message in a frame. Redis: XADD with
  `appendfsync always`, pipelined. NATS: JetStream, file storage, one replica, `sync_interval:
  always`; it syncs each message by itself, the others all that waited.
- Every acknowledgement is read and checked: Tidelog's serials against the log read back over REST,
  the peers by how many messages they hold (Redis: and the last hundred in order).
- CPU is the broker's process, all threads, in ticks of 10 ms.
- Beside a fan-out: one publisher and many subscribers of another channel in a third process (Redis:
  PUBLISH, NATS: core). A window of one: the next message once all have the last; a wider one: so
  many have not reached all yet. Three busy processes share the cores, so waiting for a core is part
  of everyone's latency; deliveries/s says how much fan-out there was.
"""
_MEASURED = ("msg/s", "p50 ms", "p99 ms", "CPU us/msg")


async def run(work: Path, scale: Scale) -> list[Table]:
    size = sizes.of(scale)
    with tidelog_wire(work / "tidelog") as json, peer_wires(work / "peers") as peers:
        msgpack = replace(json, binary=True, name="tidelog, msgpack")
        alone = await _alone([json, msgpack], peers, size.in_flight, scale)
        beside = await _beside([json, *peers], size, scale)
    return [alone, beside]


async def _alone(
    ours: Sequence[Wire], peers: Sequence[Wire], in_flight: Sequence[int], scale: Scale
) -> Table:
    rows: list[list[Cell]] = []
    wires = [*ours, *peers]
    contenders = [Publishing(wire) for wire in wires]
    for count in in_flight:
        samples = await in_turn(contenders, count, scale)
        for wire in wires:
            sample = samples[wire.name]
            beside = [samples[peer.name] if wire in ours else None for peer in peers]
            ratios = [ratio(sample.turns, peer.turns) if peer else None for peer in beside]
            rows.append([count, wire.name, *measures(sample), *ratios])
    columns = ("in flight", "contender", *_MEASURED, *(f"x {peer.name}" for peer in peers))
    return Table("One connection, 256-byte messages", columns, rows, notes())


async def _beside(wires: Sequence[Wire], size: RealtimeScale, scale: Scale) -> Table:
    """Not A B A B: each broker has its own load, which must not run in the others' turns."""
    rows: list[list[Cell]] = []
    for wire in wires:
        rows += await _rows(wire, "none", None, size, scale)
        for window in (1, size.window):
            load = saturated(wire, size.subscribers, window)
            rows += await _rows(wire, f"window of {window}", load, size, scale)
    columns = ("contender", "fan-out beside", "in flight", *_MEASURED, "deliveries/s beside")
    title = f"Beside a fan-out to {size.subscribers:,} subscribers of another channel"
    return Table(title, columns, rows, ["CPU beside a fan-out includes the fan-out's."])


async def _rows(
    wire: Wire,
    beside: str,
    load: AbstractContextManager[Load] | None,
    size: RealtimeScale,
    scale: Scale,
) -> list[list[Cell]]:
    contender = Publishing(wire)
    with load or nullcontext() as running:
        samples = [
            (count, (await in_turn([contender], count, scale))[wire.name])
            for count in size.beside_in_flight
        ]
    deliveries = running.per_second if running is not None else None
    return [[wire.name, beside, count, *measures(sample), deliveries] for count, sample in samples]


def measures(sample: Sample) -> list[Cell]:
    """Per second, p50, p99, processor time."""
    return [
        sample.per_second,
        sample.latency_ms(0.5),
        sample.latency_ms(0.99),
        sample.cpu_us or None,
    ]
