"""`rest`: publishing over HTTP, through the real listener and routes; a 201 acknowledges."""

from collections.abc import AsyncIterator
from pathlib import Path
from time import perf_counter

import msgspec
import trio

from bench.acknowledged import Acknowledged, Stored, number_of, payload
from bench.http_client import Client
from bench.measuring import Sample, in_turn, ratio
from bench.scale import Scale
from bench.server_process import KEY, tidelog_server
from bench.tables import Cell, Table
from broker.messages import serials

TITLE = "publishing over HTTP/1.1, one message or an array"
CAVEATS = """\
- The server is a process of its own (`tidelog serve`); the client here has the other core, and
  uses a good part of it. JSON, Basic auth, kept connections, plain HTTP on the loopback.
- Latency is a request's, whatever it holds.
- No peer: there is no other broker with this API to run beside it. The ratio is to the first row.
"""


class _Answer(msgspec.Struct):
    serials: list[str]


class _Stored(msgspec.Struct):
    serial: str
    data: str


_read_answer = msgspec.json.Decoder(_Answer).decode
_read_page = msgspec.json.Decoder(list[_Stored]).decode


class Rest:
    """`connections` clients that send `batch` messages in a request. Every turn has a channel of
    its own, which is read back whole."""

    def __init__(self, port: int, connections: int, batch: int) -> None:
        self.name = f"{connections} x {batch}"
        self.connections = connections
        self.batch = batch
        self._port = port
        self._turns = 0
        self._next = 0

    async def turn(self, publishers: int, seconds: float) -> Sample:
        del publishers  # it has its own number of connections
        self._turns += 1
        path = f"/channels/bench-{self.connections}-{self.batch}-{self._turns}/messages"
        latencies: list[float] = []
        acknowledged = Acknowledged()
        began = perf_counter()
        async with trio.open_nursery() as nursery:
            for _ in range(self.connections):
                until = began + seconds
                nursery.start_soon(self._publisher, path, until, latencies, acknowledged)
        elapsed = perf_counter() - began
        acknowledged.check([found async for found in self._history(path)])
        return Sample(len(latencies) * self.batch, elapsed, latencies=latencies)

    async def _publisher(
        self, path: str, until: float, latencies: list[float], acknowledged: Acknowledged
    ) -> None:
        mine: list[Stored] = []
        async with Client(self._port, KEY) as client:
            while (began := perf_counter()) < until or not mine:
                numbers = range(self._next, self._next + self.batch)
                self._next += self.batch
                body = msgspec.json.encode([{"data": payload(number)} for number in numbers])
                answer = _read_answer(await client.post(path, body))
                latencies.append(perf_counter() - began)
                mine.extend(map(Stored, numbers, map(_serial, answer.serials)))
        acknowledged.publisher(mine)

    async def _history(self, path: str) -> AsyncIterator[Stored]:
        query: str | None = "?direction=forwards&limit=1000"
        async with Client(self._port, KEY) as client:
            while query:
                body, query = await client.get(path + query)
                for message in _read_page(body):
                    yield Stored(number_of(message.data), _serial(message.serial))


def _serial(text: str) -> int:
    series = text.partition("@")[2].partition(":")[0]
    return serials.parse(text, series)


async def run(work: Path, scale: Scale) -> list[Table]:
    with tidelog_server(work / "rest") as port:
        contenders = [Rest(port, connections, batch) for connections, batch in scale.rest]
        samples = await in_turn(contenders, 0, scale)
    first = samples[contenders[0].name]
    rows = [_row(contender, samples[contender.name], first) for contender in contenders]
    columns = ("connections", "messages in a request", "requests/s", "msg/s", "p50 ms", "p99 ms")
    return [Table("POST /channels/{channel}/messages", (*columns, "x first row"), rows)]


def _row(contender: Rest, sample: Sample, first: Sample) -> list[Cell]:
    return [
        contender.connections,
        contender.batch,
        sample.per_second / contender.batch,
        sample.per_second,
        sample.latency_ms(0.5),
        sample.latency_ms(0.99),
        ratio(sample.turns, first.turns),
    ]
