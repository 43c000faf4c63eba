"""`stalled`: some subscribers stop reading; what the others notice, and what they miss."""

import socket
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from bench.measuring import percentile, ratio
from bench.realtime import sizes
from bench.realtime.peers import tidelog_wire
from bench.realtime.process import anonymous_kib, resident_kib
from bench.realtime.receivers import Receivers
from bench.realtime.sizes import RealtimeScale
from bench.realtime.tidelog import TidelogWire
from bench.scale import Scale
from bench.tables import Cell, Table

TITLE = "some subscribers stop reading"
CAVEATS = """\
- Messages are published at a steady rate, one by one, to all subscribers; those that will stall are
  in no latency. Phases of one round: all read; some stop; they wake and catch up while messages
  go on; then nothing more is published until everyone has everything. All that the stalled ones
  received is checked, in order; of the others the count, and of sixteen all.
- Before a stall reaches the broker, the kernel buffers megabytes for each socket; so messages are
  large here, and the receive buffers of those that stall are small. Kernel buffers are not in RSS.
- RSS is the peak of samples every 50 ms; it includes pages of LMDB's map, which the kernel may take
  back any time; the anonymous part does not.
"""
PHASES = ("all read", "stalled", "catching up")
_SAMPLE_S = 0.05
_RECEIVE_BUFFER_BYTES = 1 << 16
_COLUMNS = (
    "phase",
    "messages/s",
    "p50 ms",
    "p99 ms",
    "x all read",
    "RSS MiB",
    "anonymous MiB",
    "missed MiB each",
)


@dataclass
class _Phase:
    """What the rounds came to. `missed_bytes`: by each stalled subscriber, at most."""

    latencies: list[float] = field(default_factory=list)
    p99s: list[float] = field(default_factory=list)
    published: int = 0
    seconds: float = 0.0
    resident_kib: int = 0
    anonymous_kib: int = 0
    missed_bytes: int = 0

    def row(self, name: str, first: "_Phase") -> list[Cell]:
        return [
            name,
            self.published / self.seconds,
            percentile(self.latencies, 0.5) * 1e3,
            percentile(self.latencies, 0.99) * 1e3,
            ratio(self.p99s, first.p99s),
            self.resident_kib / 1024,
            self.anonymous_kib / 1024,
            self.missed_bytes / 2**20,
        ]


async def run(work: Path, scale: Scale) -> list[Table]:
    size = sizes.of(scale)
    with tidelog_wire(work / "tidelog") as wire:
        flow = _Flow(wire, size)
        flow.warm_up()
        caught_up_s = [flow.round() for _ in range(scale.rounds)]
        await flow.finish()
    subscribers, stalling, rate, bytes_each = size.stalled
    title = f"{stalling} of {subscribers} stall; {rate} messages/s of {bytes_each:,} bytes"
    caught = ", ".join(f"{seconds:.2f}" for seconds in caught_up_s)
    note = f"After the last message of a round everyone had everything in {caught} s."
    return [Table(title, _COLUMNS, flow.rows(), [note])]


class _Flow:
    """Messages at a steady rate, on one channel."""

    def __init__(self, wire: TidelogWire, size: RealtimeScale) -> None:
        subscribers, stalling, rate, self._bytes = size.stalled
        sockets = wire.subscribers("stalled", subscribers)
        for one in sockets[-stalling:]:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        self._receivers = Receivers(wire.publisher("stalled"), sockets, sockets[-stalling:])
        self._pid = wire.pid
        self._every_s = 1 / rate
        self._phase_s = size.stall_s
        self._phases = {name: _Phase() for name in PHASES}

    def warm_up(self) -> None:
        self._flow(_Phase(), self._phase_s / 5)
        self._receivers.receive_all()
        self._receivers.take_latencies()

    def round(self) -> float:
        """How long it took after the last message until everyone had everything."""
        reading, stalled, catching_up = (self._phases[name] for name in PHASES)
        self._flow(reading, self._phase_s)
        self._receivers.stall()
        self._flow(stalled, self._phase_s)
        stalled.missed_bytes = max(stalled.missed_bytes, self._missed() * self._bytes)
        self._receivers.wake()
        self._flow(catching_up, self._phase_s)
        began = perf_counter()
        self._receivers.receive_all()
        caught_up_s = perf_counter() - began
        self._receivers.check()
        self._receivers.take_latencies()
        return caught_up_s

    async def finish(self) -> None:
        await self._receivers.finish()

    def rows(self) -> list[list[Cell]]:
        first = self._phases[PHASES[0]]
        return [phase.row(name, first) for name, phase in self._phases.items()]

    def _missed(self) -> int:
        return self._receivers.published - self._receivers.received_at_least()

    def _flow(self, phase: _Phase, seconds: float) -> None:
        """One message whenever one is due; late ones at once."""
        began = due = sample_at = perf_counter()
        before = self._receivers.published
        while (now := perf_counter()) < began + seconds:
            if now >= due:
                self._receivers.publish(1, self._bytes)
                due += self._every_s
            if now >= sample_at:
                self._sample(phase)
                sample_at = now + _SAMPLE_S
            self._receivers.receive(max(0.0, due - perf_counter()))
        latencies = self._receivers.take_latencies()
        phase.p99s.append(percentile(latencies, 0.99))
        phase.latencies += latencies
        phase.published += self._receivers.published - before
        phase.seconds += perf_counter() - began

    def _sample(self, phase: _Phase) -> None:
        phase.resident_kib = max(phase.resident_kib, resident_kib(self._pid))
        phase.anonymous_kib = max(phase.anonymous_kib, anonymous_kib(self._pid))
