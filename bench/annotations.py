"""`annotations`: what one more costs, however many a message has already."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from time import perf_counter, process_time

from bench.acknowledged import Wrong
from bench.measuring import Sample, ratio
from bench.mutable import CHANNEL, everything, mutable, publish
from bench.scale import Scale
from bench.tables import Cell, Table
from broker import Broker
from broker.interactions.summaries import CLIENTS_SHOWN_MAX

TITLE = "one more annotation, however many there are"
CAVEATS = f"""\
- In process, through `Annotator.annotate`, which returns once it is on disk: one request after the
  other, of one annotation or of many. With one, most of the time is a commit's; with many, it is
  the summing up. CPU is this process's, per annotation.
- Every annotation is of a client of its own, so each counts. Of the clients a summary shows
  {CLIENTS_SHOWN_MAX}: up to there it grows with each, then it stays as it is. The ratios are to the
  first row that is past that ("clipped").
- At 0, every request is of a message of its own. Elsewhere, what a turn adds stays: it is little
  beside what was there.
- Beside the summary lies a row for each client, by digest. The more there are, the more pages of
  4 KiB a commit of many writes: at 100,000 nearly one for each annotation, at 1,000 they share. So
  with many in a request the ratio levels off above 1; with one, a commit hides it.
- After the turns the summary of every message was compared with what was added to it.
"""
TYPES = ("bench:distinct.v1", "bench:multiple.v1")
_MANY = 100  # in a request
_COLUMNS = (
    "in a request",
    "type",
    "already there",
    "annotations/s",
    "p50 ms",
    "p99 ms",
    "CPU us/annotation",
    "CPU x clipped",
    "annotations/s x clipped",
)


@dataclass
class _Annotated:
    """A message, and how many annotations it has."""

    serial: str
    annotations: int = 0


class _Channel:
    def __init__(self, opened: Broker) -> None:
        self._broker = opened
        self._principal = everything(opened)
        self._clients = count(1)

    async def publish(self) -> _Annotated:
        return _Annotated(await publish(self._broker))

    async def annotate(self, message: _Annotated, type_: str, number: int) -> None:
        items = [
            {
                "action": 0,
                "type": type_,
                "name": "like",
                "clientId": f"client-{next(self._clients)}",
            }
            for _ in range(number)
        ]
        done = await self._broker.annotator.annotate(
            self._principal, CHANNEL, message.serial, items
        )
        message.annotations += len(done)

    async def check(self, message: _Annotated, type_: str) -> None:
        """Raises Wrong."""
        found = await self._broker.editor.message(self._principal, CHANNEL, message.serial)
        total = (found.summary or {}).get(type_, {}).get("like", {}).get("total", 0)
        if total != message.annotations:
            raise Wrong(f"{message.annotations} annotations were made, the summary has {total}")


class _Contender:
    """Annotates one message that has so many, or with `there` at 0 a new one every time."""

    def __init__(self, channel: _Channel, batch: int, type_: str, there: int) -> None:
        self.key: tuple[int, str, int] = (batch, type_, there)
        self.sample = Sample()
        self.cpu_us: list[float] = []  # of each turn, for one annotation
        self._channel = channel
        self._messages: list[_Annotated] = []

    async def fill(self) -> None:
        _, type_, there = self.key
        if there:
            self._messages = [await self._channel.publish()]
            for at in range(0, there, _MANY):
                await self._channel.annotate(self._messages[0], type_, min(_MANY, there - at))

    async def turn(self, requests: int) -> None:
        batch, type_, there = self.key
        if there:
            targets = self._messages * requests
        else:
            targets = self._messages = [await self._channel.publish() for _ in range(requests)]
        latencies: list[float] = []
        cpu, began = process_time(), perf_counter()
        for message in targets:
            start = perf_counter()
            await self._channel.annotate(message, type_, batch)
            latencies.append(perf_counter() - start)
        elapsed, cpu = perf_counter() - began, process_time() - cpu
        turn = Sample(requests * batch, elapsed, cpu, latencies=latencies)
        self.sample.add(turn)
        self.cpu_us.append(turn.cpu_us)
        for message in self._messages:
            await self._channel.check(message, type_)


async def run(work: Path, scale: Scale) -> list[Table]:
    rows: list[list[Cell]] = []
    async with mutable(work / "annotations") as opened:
        channel = _Channel(opened)
        for type_ in TYPES:
            for batch, requests in ((1, scale.pages), (_MANY, max(2, scale.pages // 10))):
                contenders = [
                    _Contender(channel, batch, type_, there) for there in scale.annotations
                ]
                await _take_turns(contenders, requests, scale.rounds)
                rows += _rows(contenders)
    return [Table("One more annotation", _COLUMNS, rows)]


async def _take_turns(contenders: Sequence[_Contender], requests: int, rounds: int) -> None:
    for contender in contenders:
        await contender.fill()
    for _ in range(rounds):
        for contender in contenders:
            await contender.turn(requests)


def _rows(contenders: Sequence[_Contender]) -> list[list[Cell]]:
    clipped = next((one for one in contenders if one.key[2] > CLIENTS_SHOWN_MAX), contenders[-1])
    return [_row(contender, clipped) for contender in contenders]


def _row(contender: _Contender, clipped: _Contender) -> list[Cell]:
    sample = contender.sample
    return [
        *contender.key,
        sample.per_second,
        sample.latency_ms(0.5),
        sample.latency_ms(0.99),
        sample.cpu_us,
        ratio(contender.cpu_us, clipped.cpu_us),
        ratio(sample.turns, clipped.sample.turns),
    ]
