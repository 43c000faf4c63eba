"""`appends`: one message that grows by many small appends a second, while many watch."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import trio

from bench.acknowledged import Wrong
from bench.measuring import Sample, in_turn, percentile, ratio
from bench.realtime import sizes
from bench.realtime.process import cpu_seconds, raise_open_files
from bench.realtime.receivers import Receivers
from bench.realtime.server import serving
from bench.realtime.tidelog import TidelogPublisher, TidelogWire
from bench.realtime.wires import NUMBERS
from bench.scale import Scale
from bench.tables import Cell, Table

TITLE = "appends to one message, beside plain publishes"
CAVEATS = """\
- An open loop: a message is sent when it is due, whatever became of those before, by one
  connection, one in a frame. Latency is from the moment it was due to the read by a subscriber:
  what the client or the broker is late by is in it. One Python process sends and reads for all
  subscribers, one after the other, and shares the cores with the broker.
- Appends: every turn publishes a message and appends to it for the rest of the turn, so it grows by
  24,000 bytes a second; subscribers get the fragments. Plain: as many publishes of the same size,
  where messages can change and where they cannot.
- CPU is the broker's process, all threads, in ticks of 10 ms; its ratio is that of the sums over
  all turns.
- Every acknowledgement is read and checked, what the history holds afterwards is compared with what
  was sent, and of sixteen subscribers all that they received, in order.
"""
APPEND = 5
FRAGMENT_BYTES = 24
_MUTABLE = "mutable"
_PLAIN = "publishes"
_COLUMNS = (
    "contender",
    "messages/s",
    "p50 ms",
    "p99 ms",
    "CPU us/delivery",
    "bytes/delivery",
    "p50 x plain",
    "p99 x plain",
    "CPU x plain",
)


class AppendPublisher(TidelogPublisher):
    """`of`: the serial of the message that is appended to; None: it publishes."""

    of: str | None = None

    def message(self, number: int, size: int) -> dict[str, object]:
        made = super().message(number, size)
        return made if self.of is None else {**made, "serial": self.of, "action": APPEND}

    async def check(self, received: bytes, numbers: range) -> None:
        """All was acknowledged once, in order, and is in the messages, once and in order."""
        given = self.serials(received)
        if given != sorted(set(given)) or len(given) != len(numbers):
            raise Wrong(f"{len(given)} serials for {len(numbers)} messages, or not ascending")
        found: list[int] = []
        async for _, data in self.history():
            found += (int(number) for number in NUMBERS.findall(data.encode()))
        if found != list(numbers):
            raise Wrong(f"the messages hold {len(found)} fragments, not the {len(numbers)} sent")


class Flow:
    """A contender: messages at a steady rate to a channel of its own."""

    def __init__(self, name: str, wire: TidelogWire, channel: str, size: tuple[int, int]) -> None:
        self.name = name
        self.p50s: list[float] = []
        self.p99s: list[float] = []
        subscribers, self._rate = size
        self._pid = wire.pid
        self._publisher = self._made(wire, channel)
        self._receivers = Receivers(self._publisher, wire.subscribers(channel, subscribers))

    def _made(self, wire: TidelogWire, channel: str) -> TidelogPublisher:
        return TidelogPublisher(wire, channel)

    async def turn(self, publishers: int, seconds: float) -> Sample:
        """The messages of a sample are deliveries, its bytes those that subscribers received."""
        del publishers  # one
        await trio.lowlevel.checkpoint()
        self._begin()
        receivers = self._receivers
        received, deliveries = receivers.received_bytes, receivers.deliveries
        cpu, began = cpu_seconds(self._pid), perf_counter()
        self._flow(round(self._rate * seconds))
        elapsed, cpu = perf_counter() - began, cpu_seconds(self._pid) - cpu
        receivers.check()
        latencies = receivers.take_latencies()
        self.p50s.append(percentile(latencies, 0.5))
        self.p99s.append(percentile(latencies, 0.99))
        deliveries = receivers.deliveries - deliveries
        received = receivers.received_bytes - received
        return Sample(deliveries, elapsed, cpu, received, latencies=latencies)

    async def finish(self) -> None:
        await self._receivers.finish()

    def _begin(self) -> None:
        """What is not measured."""

    def _flow(self, count: int) -> None:
        """Late ones at once; until everyone has all."""
        began, sent = perf_counter(), 0
        while sent < count:
            while sent < count and (due := began + sent / self._rate) <= perf_counter():
                self._receivers.publish(1, FRAGMENT_BYTES, due)
                sent += 1
            self._receivers.receive(max(0.0, due - perf_counter()))
        self._receivers.receive_all()


class Appends(Flow):
    """Every turn has a message of its own."""

    _publisher: AppendPublisher

    def _made(self, wire: TidelogWire, channel: str) -> TidelogPublisher:
        return AppendPublisher(wire, channel)

    def _begin(self) -> None:
        publisher, receivers = self._publisher, self._receivers
        publisher.of = None
        receivers.publish(1, FRAGMENT_BYTES)
        receivers.receive_all()
        receivers.take_latencies()
        publisher.of = publisher.serials(receivers.acknowledgements())[-1]


async def run(work: Path, scale: Scale) -> list[Table]:
    size = sizes.of(scale).appends
    with _wire(work / "tidelog") as wire:
        contenders = [
            Flow(_PLAIN, wire, "plain", size),
            Flow("publishes, mutable", wire, f"{_MUTABLE}:plain", size),
            Appends("appends", wire, f"{_MUTABLE}:appends", size),
        ]
        samples = await in_turn(contenders, 1, scale)
        for contender in contenders:
            await contender.finish()
    rows = [_row(one, samples, contenders[0], size[0]) for one in contenders]
    subscribers, rate = size
    title = f"{rate:,} messages/s of {FRAGMENT_BYTES} bytes to {subscribers:,} subscribers"
    return [Table(title, _COLUMNS, rows)]


@contextmanager
def _wire(directory: Path) -> Iterator[TidelogWire]:
    raise_open_files()
    with serving(directory) as server:
        server.set_namespace(_MUTABLE, "--mutable-messages")
        yield TidelogWire(server.port, server.pid)


def _row(one: Flow, samples: dict[str, Sample], plain: Flow, subscribers: int) -> list[Cell]:
    sample, beside = samples[one.name], samples[plain.name]
    return [
        one.name,
        sample.per_second / subscribers,
        sample.latency_ms(0.5),
        sample.latency_ms(0.99),
        sample.cpu_us or None,
        sample.bytes_per_message,
        ratio(one.p50s[1:], plain.p50s[1:]),  # without the warm-up
        ratio(one.p99s[1:], plain.p99s[1:]),
        sample.cpu_us / beside.cpu_us if beside.cpu_us else None,
    ]
