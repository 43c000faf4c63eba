"""One commit in the making: decide commands, append their events, fold them, then write it all.

Outcomes are independent. A command that is refused, or that a bug breaks half-way, leaves nothing
behind; its neighbours in the batch commit. Everything waits in memory until `write`, which puts
records, index and rows in three sorted runs: the order that costs LMDB the fewest page touches.
"""

from collections.abc import Callable, Sequence
from typing import Any

from storage.chain import Heads
from storage.engine import Writer
from storage.projection import Domain, Outcome, Projection, Table
from storage.record import Link, Record, Stream, pack, stream_key
from storage.rows import AllRows, Overlay, ProjectionTable, RowCache, StoredRows
from storage.serial import INDEX_MASK, INDEX_MAX, HybridClock, ms_of

Event = tuple[Stream, Any]
Fold = tuple[Callable[[Table, Record], None], ProjectionTable]


class Stage:
    """Collects one transaction's changes. `rows_table`: where its rows go, if not the current."""

    def __init__(
        self,
        writer: Writer,
        domain: Domain,
        rows_table: str | None = None,
        cache: RowCache | None = None,
    ) -> None:
        self.writer = writer
        self.domain = domain
        self._rows_table = rows_table or writer.rows_table
        self.overlay = Overlay(StoredRows(writer, self._rows_table), cache)
        self.rows = AllRows(self.overlay, domain.projections)

    def table(self, projection: Projection) -> ProjectionTable:
        return ProjectionTable(self.overlay, projection.prefix)

    def write(self) -> None:
        """Put everything into the transaction."""
        self.overlay.accept()
        self.overlay.write(self.writer, self._rows_table)


class AppendStage(Stage):
    """A stage that runs commands. After `write` committed, `records` and `links` are facts."""

    def __init__(
        self, writer: Writer, domain: Domain, clock: HybridClock, heads: Heads, cache: RowCache
    ) -> None:
        super().__init__(writer, domain, cache=cache)
        self._clock = clock
        self._heads = heads
        self.records: list[Record] = []
        self.links: dict[Stream, Link] = {}
        self._log: list[tuple[bytes, bytes]] = []
        self._index: list[tuple[bytes, bytes]] = []
        self._folds: dict[int, Sequence[Fold]] = {}  # of the kinds that were met so far

    def run(self, command: Any) -> Outcome:
        """Decide and apply one command. Raises what `decide` raised; then nothing of it stays."""
        base = self._clock.next()
        decision = self.domain.decide[type(command)](self.rows, command, ms_of(base))
        if decision.duplicate is not None:
            return Outcome(decision.duplicate, True, decision.reply)
        mark = len(self.records)
        try:
            serials = self._append(decision.events, base)
        except BaseException:
            self._rewind(mark)
            raise
        self.overlay.accept()
        return Outcome(tuple(serials), False, decision.reply)

    def _append(self, events: Sequence[Event], serial: int) -> list[int]:
        """One record for each event; their serials. The hottest loop of all: look-ups are made
        once, outside."""
        encode, links, folds = self.domain.encode, self.links, self._folds
        serials: list[int] = []
        for stream, event in events:
            if serial & INDEX_MASK > INDEX_MAX:
                serial = self._clock.next()
            previous = links.get(stream) or self._heads.get(self.writer, stream)
            value, link = pack(stream, serial, previous, encode(event))
            key = serial.to_bytes(8, "big")
            record = Record(serial, stream, event, link, previous.hash)
            links[stream] = link
            self._log.append((key, value))
            self._index.append((stream_key(stream) + key, b""))
            self.records.append(record)
            serials.append(serial)
            for fold, table in folds.get(stream.kind) or self._folds_of(stream.kind):
                fold(table, record)
            serial += 1
        return serials

    def _folds_of(self, kind: int) -> Sequence[Fold]:
        projections = self.domain.by_kind.get(kind, ())
        self._folds[kind] = found = tuple((one.fold, self.table(one)) for one in projections)
        return found

    def _rewind(self, mark: int) -> None:
        self.overlay.discard()
        for pending in (self.records, self._log, self._index):
            del pending[mark:]
        self.links = {record.stream: record.link for record in self.records}

    def write(self) -> None:
        if self._log:
            self.writer.put_many("log", self._log, append=True)
            self._index.sort()
            self.writer.put_many("index", self._index)
        super().write()
