"""`workers`: the same server as one process, and as two workers on one log."""

import selectors
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from time import perf_counter

from bench.measuring import Sample, in_turn, ratio
from bench.realtime import sizes
from bench.realtime.fanout import FanOut
from bench.realtime.pipeline import Pipeline
from bench.realtime.process import cpu_seconds, raise_open_files
from bench.realtime.publish import measures
from bench.realtime.receivers import Receivers
from bench.realtime.server import serving
from bench.realtime.tidelog import TidelogPublisher, TidelogWire
from bench.scale import Scale
from bench.tables import Cell, Table

TITLE = "one process, and two workers on one log"
CAVEATS = """\
- Clients and servers share the machine's processors. With two of them, a second worker can use only
  what the client, itself one process, and the first worker leave: the speed-up here is a lower
  bound, and CPU per message is what it costs. The head of this page names the machine.
- Publishing: so many connections, each to a channel of its own, with so many messages in flight
  each; acknowledged once on disk, checked against the log. Fan-out: as in `fanout`.
- CPU is of all of the server's processes, in ticks of 10 ms; "busiest" is what the one with the
  most had of it. Which worker has a connection is the system's choice.
"""
CONNECTIONS = 8
WORKERS = (1, 2)
_channels = count(1)


def processes(pid: int) -> list[int]:
    """A server's process, and those that it has started."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    children = "".join((thread / "children").read_text() for thread in threads)
    return [pid, *map(int, children.split())]


class Together:
    """A contender: every turn is CONNECTIONS new connections that publish at once. `publishers` of
    a turn: messages in flight, of each."""

    def __init__(self, wire: TidelogWire) -> None:
        self.name = wire.name
        self.busiest: list[float] = []
        self._wire = wire

    async def turn(self, publishers: int, seconds: float) -> Sample:
        made = [TidelogPublisher(self._wire, f"w{next(_channels)}") for _ in range(CONNECTIONS)]
        pipelines = [Pipeline(one, publishers) for one in made]
        before, began = _cpu(self._wire.pid), perf_counter()
        _run(made, pipelines, began + seconds)
        elapsed, spent = perf_counter() - began, _spent(self._wire.pid, before)
        self.busiest.append(max(spent) / sum(spent) if sum(spent) else 1.0)
        for one, pipeline in zip(made, pipelines, strict=True):
            await one.check(b"".join(pipeline.received), range(len(pipeline.latencies)))
            one.socket.close()
        latencies = [moment for pipeline in pipelines for moment in pipeline.latencies]
        return Sample(len(latencies), elapsed, sum(spent), latencies=latencies)


def _run(made: Sequence[TidelogPublisher], pipelines: Sequence[Pipeline], until: float) -> None:
    with selectors.DefaultSelector() as selector:
        for one, pipeline in zip(made, pipelines, strict=True):
            pipeline.begin()
            selector.register(one.socket, selectors.EVENT_READ, pipeline)
        while selector.get_map():
            for key, _ in selector.select():
                if not key.data.step(until):
                    selector.unregister(key.fileobj)


def _cpu(pid: int) -> dict[int, float]:
    return {one: cpu_seconds(one) for one in processes(pid)}


def _spent(pid: int, before: dict[int, float]) -> list[float]:
    return [now - before.get(one, 0.0) for one, now in _cpu(pid).items()]


class SharedFanOut(FanOut):
    """A fan-out from all of a server's processes."""

    def cpu(self) -> float:
        return sum(map(cpu_seconds, processes(self.pid)))


async def run(work: Path, scale: Scale) -> list[Table]:
    size = sizes.of(scale)
    with _wires(work) as wires:
        publishing = await _publishing(wires, size.beside_in_flight, scale)
        fanout = await _fan_out(wires, size.subscribers, size.window, scale)
    return [publishing, fanout]


@contextmanager
def _wires(work: Path) -> Iterator[list[TidelogWire]]:
    raise_open_files()
    with ExitStack() as stack:
        wires: list[TidelogWire] = []
        for number in WORKERS:
            settings = (f"server.workers={number}",)
            server = stack.enter_context(serving(work / str(number), settings=settings))
            wires.append(TidelogWire(server.port, server.pid, name=f"workers: {number}"))
        yield wires


async def _publishing(
    wires: Sequence[TidelogWire], in_flight: Sequence[int], scale: Scale
) -> Table:
    rows: list[list[Cell]] = []
    for number in in_flight:
        contenders = [Together(wire) for wire in wires]
        samples = await in_turn(contenders, number, scale)
        alone = samples[contenders[0].name]
        for contender in contenders:
            sample = samples[contender.name]
            shares = sorted(contender.busiest)
            rows.append(
                [
                    number,
                    contender.name,
                    *measures(sample),
                    100 * shares[len(shares) // 2],
                    None if sample is alone else ratio(sample.turns, alone.turns),
                ]
            )
    columns = ("in flight", "contender", "msg/s", "p50 ms", "p99 ms", "CPU us/msg")
    title = f"Publishing, {CONNECTIONS} connections, 256-byte messages"
    return Table(title, (*columns, "busiest %", "x one process"), rows, [])


async def _fan_out(
    wires: Sequence[TidelogWire], subscribers: int, window: int, scale: Scale
) -> Table:
    contenders = []
    for wire in wires:
        sockets = wire.subscribers("fanout", subscribers)
        receivers = Receivers(wire.publisher("fanout"), sockets)
        contenders.append(SharedFanOut(wire.name, wire.pid, receivers))
    rows: list[list[Cell]] = []
    for number in (1, window):
        samples = await in_turn(contenders, number, scale)
        alone = samples[contenders[0].name]
        for contender in contenders:
            sample = samples[contender.name]
            beside = None if sample is alone else ratio(sample.turns, alone.turns)
            rows.append([number, contender.name, *measures(sample), beside])
    for contender in contenders:
        await contender.finish()
    columns = ("window", "contender", "deliveries/s", "p50 ms", "p99 ms", "CPU us/delivery")
    title = f"One publisher, {subscribers:,} subscribers"
    return Table(title, (*columns, "x one process"), rows, [])
