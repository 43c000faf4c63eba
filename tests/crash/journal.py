"""What a process said before it died, and what the log must then hold.

The journal lies outside the process that writes the log, so it survives what kills that process.
`violations` compares the two by every way there is to read a log; an empty list means: what was
acknowledged is there, once, under the serial that was acknowledged (or behind the cut of a trim);
nothing is there that nobody sent; every chain is whole and in order; the projections say what a
fold of the records says.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgpack

from storage.engine import Engine, Reader
from storage.opening import open_engine
from storage.record import NO_LINK, Link, Record, Stream, stream_key, unpack
from storage.rows import AllRows, StoredRows
from storage.settings import LogSettings
from storage.snapshot import decode_snapshot
from tests.crash.workload import channel_of
from tests.storage.ledger import POSTS, id_key, ledger


@dataclass
class Journal:
    """The lines of a workload (see workload.py), sorted."""

    sent: set[str] = field(default_factory=set)
    acked: dict[str, int] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    read: dict[str, int] = field(default_factory=dict)
    contradictions: list[str] = field(default_factory=list)

    def add(self, lines: Iterable[str]) -> "Journal":
        for line in lines:
            self.note(*line.split())
        return self

    def note(self, word: str, id_: str = "", *rest: str) -> None:
        if word == "S":
            self.sent.add(id_)
        elif word == "E":
            self.refused[id_] = rest[0]
        elif word == "A":
            self._same(self.acked, id_, int(rest[0]))
        elif word == "R":
            self._same(self.read, id_, int(rest[0]))

    def _same(self, known: dict[str, int], id_: str, serial: int) -> None:
        if known.setdefault(id_, serial) != serial:
            self.contradictions.append(f"{id_} was said to be {known[id_]}, then {serial}")


@contextmanager
def reopened(path: Path) -> Iterator[Engine]:
    """The log as the next process would open it, checks included. Raises what opening raises."""
    engine = open_engine(path, LogSettings(), accept_loss=False).engine
    try:
        yield engine
    finally:
        engine.close()


def everything(reader: Reader, after: int = 0) -> Iterator[Record]:
    """Every record of the log table, checked against its checksum."""
    start, stop = (after + 1).to_bytes(8, "big"), b"\xff" * 9
    for key, value in reader.walk("log", start, stop):
        yield unpack(int.from_bytes(key, "big"), value, msgpack.unpackb)


def violations(engine: Engine, acked: dict[str, int], sent: set[str]) -> list[str]:
    """acknowledged <= recovered <= sent; order, chains, index and projections whole."""
    with engine.read() as reader:
        records = list(everything(reader))
        cuts = dict(_cuts(reader))
        found = [*_exactly_once(records, sent), *_kept(records, acked, cuts)]
        found += _chains(records, cuts)
        return [*found, *_index(reader, records), *_projections(reader, records)]


def _cuts(reader: Reader) -> Iterator[tuple[Stream, Link]]:
    """Where each trimmed stream begins."""
    for key, sealed in reader.walk("snapshots", b"", b"\xff" * 20):
        snapshot = decode_snapshot(key, sealed)
        yield snapshot.stream, snapshot.link


def _exactly_once(records: list[Record], sent: set[str]) -> Iterator[str]:
    places: dict[str, int] = {}
    for record in records:
        id_ = record.event["id"]
        if places.setdefault(id_, record.serial) != record.serial:
            yield f"{id_} is in the log twice, at {places[id_]} and {record.serial}"
        if id_ not in sent:
            yield f"{id_} is in the log and was never sent"


def _kept(records: list[Record], acked: dict[str, int], cuts: dict[Stream, Link]) -> Iterator[str]:
    there = {record.serial: record.event["id"] for record in records}
    for id_, serial in acked.items():
        cut = cuts.get(Stream("app", channel_of(id_), POSTS), NO_LINK)
        if there.get(serial) != id_ and serial > cut.serial:
            yield f"{id_} was acknowledged as {serial}, where {there.get(serial)} is"


def _chains(records: list[Record], cuts: dict[Stream, Link]) -> Iterator[str]:
    """Each record names its stream's previous one, from the cut (or nothing) to the end."""
    ends = dict(cuts)
    for record in records:
        end = ends.get(record.stream, NO_LINK)
        if record.link.sequence != end.sequence + 1:
            yield f"{record.stream}: sequence {end.sequence}, then {record.link.sequence}"
        if record.previous != end.hash:
            yield f"{record.stream}: the chain breaks at {record.serial}"
        ends[record.stream] = record.link


def _index(reader: Reader, records: list[Record]) -> Iterator[str]:
    expected = {stream_key(r.stream) + r.serial.to_bytes(8, "big") for r in records}
    found = {key for key, _ in reader.walk("index", b"", b"\xff" * 30)}
    if found != expected:
        yield f"the index has {len(found - expected)} keys too many, lacks {len(expected - found)}"


def _projections(reader: Reader, records: list[Record]) -> Iterator[str]:
    rows = AllRows(StoredRows(reader, reader.rows_table), ledger().projections)
    ids = {id_key(r.stream, r.event["id"]): r.serial.to_bytes(8, "big") for r in records}
    if dict(rows.scan("ids")) != ids:
        yield "the ids projection is not what the records fold to"
    last = {f"{r.stream.app}/{r.stream.channel}".encode(): r for r in records}
    tallies = {key: msgpack.packb((r.link.sequence, r.event["text"])) for key, r in last.items()}
    kept = dict(rows.scan("tallies"))
    if any(kept.get(key) != value for key, value in tallies.items()):
        yield "the tallies projection is not what the records fold to"
