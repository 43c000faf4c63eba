"""Subscribers of documents that hold different ones: what the next messages cost, and when all hold
the same again.

    behind           everyone attaches behind another message, and is told what it missed
    one filter each  everyone is told of one document, and nobody else of that one

Then documents for everybody, one by one.
"""

import base64
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, count

from bench.measuring import ratio
from bench.realtime.documents import SAVING, DocumentOrder, DocumentPublisher
from bench.realtime.frames import JSON
from bench.realtime.process import exact_cpu_seconds
from bench.realtime.receivers import Receivers
from bench.realtime.sessions import Session, attach
from bench.realtime.sizes import RealtimeScale
from bench.realtime.tidelog import TidelogWire
from bench.tables import Cell, Table

_DOCUMENT_BYTES = 4_096
_FOR_ALL = ("1st for all", "2nd for all", "3rd for all")
_EVERYBODY = "all"
_COLUMNS = (
    "subscribers",
    "case",
    "what is delivered",
    "deliveries",
    "whole: CPU us/delivery",
    "deltas: CPU us/delivery",
    "CPU x whole",
    "bytes x whole",
)
_channels = count(1)


@dataclass(frozen=True)
class _Place:
    """Where a subscriber attaches: `sees` are the documents that it is told of."""

    channel: str
    serial: str
    sees: Sequence[int]


@dataclass
class _Phase:
    """In each round, the processor time and the bytes of one delivery."""

    deliveries: int
    cpu_us: list[float]
    bytes_each: list[float]


_Phases = dict[str, _Phase]
_Case = Callable[["_Round"], list[_Place]]


def behind(one: "_Round") -> list[_Place]:
    serials = one.publish([_EVERYBODY] * (one.documents + 1))
    places = []
    for number in range(one.subscribers):
        last = number % one.documents
        sees = range(last + 1, one.documents + 1)
        places.append(_Place(one.channel, serials[last], sees))
    return places


def filtered(one: "_Round") -> list[_Place]:
    names = [str(number) for number in range(one.documents)]
    serials = one.publish([_EVERYBODY, *names])
    return [
        _Place(_filter(name, one.channel), serials[0], [number])
        for number, name in enumerate(names, 1)
    ]


def _filter(name: str, channel: str) -> str:
    expression = f'headers.to == `"{name}"` || headers.to == `"{_EVERYBODY}"`'
    return f"[filter={base64.b64encode(expression.encode()).decode()}]{channel}"


class _Round:
    """A channel of its own, and who is attached to it for one round."""

    def __init__(self, wire: TidelogWire, subscribers: int, documents: int) -> None:
        self.channel = f"apart-{next(_channels)}"
        self.subscribers = subscribers
        self.documents = documents
        self._wire = wire
        self._publisher = DocumentPublisher(wire, self.channel, _DOCUMENT_BYTES)
        self._receivers = Receivers(self._publisher, [])

    def publish(self, to: Sequence[str]) -> list[str]:
        """A document to each, before anyone is attached; their serials."""
        for name in to:
            self._publisher.headers = {"to": name}
            self._receivers.publish(1)
        return self._publisher.serials(self._receivers.acknowledgements())

    async def run(self, case: _Case, params: dict[str, str] | None, phases: _Phases) -> None:
        places = case(self)
        begin = self._prepare(places, params)
        self._measure(begin, phases, "what each missed")
        self._publisher.headers = {"to": _EVERYBODY}
        for name in _FOR_ALL:
            self._measure(lambda: self._receivers.publish(1), phases, name)
        await self._receivers.finish()

    def _prepare(
        self, places: Sequence[_Place], params: dict[str, str] | None
    ) -> Callable[[], None]:
        """Connect all; what it returns attaches them."""
        published = self._receivers.published
        sockets = self._wire.open([Session("") for _ in places])
        frames = [
            JSON.masked(JSON.encode(attach(place.channel, place.serial, params)))
            for place in places
        ]
        orders = [
            DocumentOrder(self._publisher, chain(place.sees, count(published))) for place in places
        ]
        self._receivers.add(sockets, orders, [published - len(place.sees) for place in places])

        def begin() -> None:
            for socket, frame in zip(sockets, frames, strict=True):
                socket.sendall(frame)

        return begin

    def _measure(self, act: Callable[[], None], phases: _Phases, name: str) -> None:
        receivers, pid = self._receivers, self._wire.pid
        received, deliveries = receivers.received_bytes, receivers.deliveries
        cpu = exact_cpu_seconds(pid)
        act()
        receivers.receive_all()
        cpu = exact_cpu_seconds(pid) - cpu
        deliveries = receivers.deliveries - deliveries
        phase = phases.setdefault(name, _Phase(deliveries, [], []))
        phase.cpu_us.append(cpu / deliveries * 1e6)
        phase.bytes_each.append((receivers.received_bytes - received) / deliveries)


async def table(wire: TidelogWire, size: RealtimeScale) -> Table:
    subscribers, documents, filters, rounds = size.apart
    rows = await _rows(wire, behind, (subscribers, documents), rounds)
    rows += await _rows(wire, filtered, (filters, filters), rounds)
    title = f"When bases differ: documents of {_DOCUMENT_BYTES:,} bytes"
    return Table(title, _COLUMNS, rows)


async def _rows(
    wire: TidelogWire, case: _Case, counts: tuple[int, int], rounds: int
) -> list[list[Cell]]:
    whole: _Phases = {}
    deltas: _Phases = {}
    for _ in range(rounds):
        await _Round(wire, *counts).run(case, None, whole)
        await _Round(wire, *counts).run(case, SAVING, deltas)
    return [
        [
            counts[0],
            "behind" if case is behind else "one filter each",
            name,
            phase.deliveries,
            statistics.median(phase.cpu_us),
            statistics.median(deltas[name].cpu_us),
            ratio(deltas[name].cpu_us, phase.cpu_us),
            ratio(deltas[name].bytes_each, phase.bytes_each),
        ]
        for name, phase in whole.items()
    ]
