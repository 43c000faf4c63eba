"""`fanout`: one publisher, a thousand subscribers; one by one, and as fast as it goes."""

from collections.abc import Sequence
from pathlib import Path
from time import perf_counter, process_time

import trio

from bench.measuring import Sample, in_turn, ratio
from bench.realtime import sizes
from bench.realtime.peers import notes, peer_wires, tidelog_wire
from bench.realtime.process import cpu_seconds
from bench.realtime.receivers import Receivers
from bench.realtime.wires import Wire
from bench.scale import Scale
from bench.tables import Cell, Table

TITLE = "one publisher, a thousand subscribers"
CAVEATS = """\
- Broker and clients are processes of their own, over TCP on the loopback; the head of this page
  speaks of the other benchmarks. Tidelog: WebSocket and JSON, and what it delivers is on disk
  before. Redis: PUBLISH and SUBSCRIBE, NATS: core; both keep nothing.
- One at a time: the next message is published when every subscriber has the last. In a window: so
  many messages have not reached everyone yet; then latency is what the window makes of it.
- One Python process publishes and reads for all subscribers, one after the other: that is part of
  the latency of all contenders, and it, not the broker, may be what bounds deliveries/s of the
  cheapest of them. The number to compare is CPU per delivery: of the broker's process, all threads,
  in ticks of 10 ms.
- How often every subscriber received is checked, and of sixteen all that they received, in order;
  for Tidelog also every acknowledgement, and without TLS the log.
- The peers run without TLS; the ratio of Tidelog with TLS is to that.
"""
_OURS = 2
_COLUMNS = (
    "contender",
    "deliveries/s",
    "p50 ms",
    "p99 ms",
    "CPU us/delivery",
    "deliveries/CPU s",
    "client CPU us",
)


class FanOut:
    """A contender. Its subscribers stay connected from turn to turn."""

    def __init__(self, name: str, pid: int, receivers: Receivers) -> None:
        self.name = name
        self.pid = pid
        self._mine = Sample()  # this process' time
        self._receivers = receivers

    @property
    def client_cpu_us(self) -> float:
        return self._mine.cpu_us

    async def turn(self, publishers: int, seconds: float) -> Sample:
        """`publishers`: the window. The messages of a sample are deliveries, its bytes those that
        subscribers received."""
        receivers = self._receivers
        received, before, began = receivers.received_bytes, receivers.deliveries, perf_counter()
        cpu, mine = self.cpu(), process_time()
        self._run(publishers, began + seconds)
        elapsed, deliveries = perf_counter() - began, receivers.deliveries - before
        self._mine.add(Sample(deliveries, elapsed, process_time() - mine))
        cpu = self.cpu() - cpu
        receivers.check()
        await trio.lowlevel.checkpoint()
        received = receivers.received_bytes - received
        return Sample(deliveries, elapsed, cpu, received, latencies=receivers.take_latencies())

    def cpu(self) -> float:
        """What the broker has used so far, in seconds."""
        return cpu_seconds(self.pid)

    async def finish(self) -> None:
        await self._receivers.finish()

    def _run(self, window: int, until: float) -> None:
        while perf_counter() < until:
            self._receivers.keep_publishing(window)
            self._receivers.receive_some()
        self._receivers.receive_all()


async def run(work: Path, scale: Scale) -> list[Table]:
    size = sizes.of(scale)
    with (
        tidelog_wire(work / "plain") as plain,
        tidelog_wire(work / "tls", tls=True) as tls,
        peer_wires(work / "peers") as peers,
    ):
        wires: list[Wire] = [plain, tls, *peers]
        contenders = [_contender(wire, size.subscribers) for wire in wires]
        tables = [
            await _table("One message at a time", 1, contenders, scale),
            await _table(f"In a window of {size.window} messages", size.window, contenders, scale),
        ]
        for contender in contenders:
            await contender.finish()
    tables[-1].notes.extend(notes())
    return tables


def _contender(wire: Wire, subscribers: int) -> FanOut:
    sockets = wire.subscribers("fanout", subscribers)
    return FanOut(wire.name, wire.pid, Receivers(wire.publisher("fanout"), sockets))


async def _table(title: str, window: int, contenders: Sequence[FanOut], scale: Scale) -> Table:
    samples = await in_turn(contenders, window, scale)
    ours, peers = contenders[:_OURS], contenders[_OURS:]
    rows: list[list[Cell]] = []
    for contender in contenders:
        sample = samples[contender.name]
        beside = [samples[peer.name] if contender in ours else None for peer in peers]
        rows.append(
            [
                contender.name,
                sample.per_second,
                sample.latency_ms(0.5),
                sample.latency_ms(0.99),
                sample.cpu_us or None,
                1e6 / sample.cpu_us if sample.cpu_us else None,
                contender.client_cpu_us,
                *(ratio(sample.turns, one.turns) if one else None for one in beside),
            ]
        )
    columns = (*_COLUMNS, *(f"x {peer.name}" for peer in peers))
    return Table(title, columns, rows)
