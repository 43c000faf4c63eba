"""One commit in the making: decide commands, append their events, fold them, then write it all.

Outcomes are independent. A command that is refused, or that a bug breaks half-way, leaves nothing
behind; its neighbours in the batch commit. Everything waits in memory until `write`, which puts
records, index and rows in three sorted runs: the order that costs LMDB the fewest page touches.
"""

from collections.abc import Sequence
from typing import Any

from storage.chain import Heads
from storage.engine import Writer
from storage.projection import Domain, Outcome, Projection
from storage.record import Link, Record, Stream, pack, stream_key
from storage.rows import AllRows, Overlay, ProjectionTable, RowCache, StoredRows
from storage.serial import INDEX_MAX, HybridClock, ms_of

Event = tuple[Stream, Any]


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
        self._tables = {
            p.prefix: ProjectionTable(self.overlay, p.prefix) for p in domain.projections
        }

    def table(self, projection: Projection) -> ProjectionTable:
        return self._tables[projection.prefix]

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

    def run(self, command: Any) -> Outcome:
        """Decide and apply one command. Raises what `decide` raised; then nothing of it stays."""
        base = self._clock.next()
        decision = self.domain.decide[type(command)](self.rows, command, ms_of(base))
        if decision.duplicate is not None:
            return Outcome(decision.duplicate, duplicate=True, reply=decision.reply)
        mark = len(self.records)
        links: dict[Stream, Link] = {}
        try:
            self._append(decision.events, base, links)
        except BaseException:
            self._rewind(mark)
            raise
        self.links.update(links)
        self.overlay.accept()
        serials = tuple([record.serial for record in self.records[mark:]])
        return Outcome(serials, reply=decision.reply)

    def _append(self, events: Sequence[Event], base: int, links: dict[Stream, Link]) -> None:
        for number, (stream, event) in enumerate(events):
            index = number % (INDEX_MAX + 1)
            if number and not index:
                base = self._clock.next()
            serial = base | index
            previous = links.get(stream) or self._head(stream)
            value, link = pack(stream, serial, previous, self.domain.encode(event))
            links[stream] = link
            key = serial.to_bytes(8, "big")
            self._log.append((key, value))
            self._index.append((stream_key(stream) + key, b""))
            record = Record(serial, stream, event, link, previous.hash)
            self.records.append(record)
            for projection in self.domain.by_kind.get(stream.kind, ()):
                projection.fold(self.table(projection), record)

    def _head(self, stream: Stream) -> Link:
        return self.links.get(stream) or self._heads.get(self.writer, stream)

    def _rewind(self, mark: int) -> None:
        self.overlay.discard()
        for pending in (self.records, self._log, self._index):
            del pending[mark:]

    def write(self) -> None:
        if self._log:
            self.writer.put_many("log", self._log, append=True)
            self._index.sort()
            self.writer.put_many("index", self._index)
        super().write()
