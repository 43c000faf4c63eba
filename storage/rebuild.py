"""Rebuilding projections: fold the log again, into the row table that is not in use, then swap.

There are two row tables, and a meta row says which one is current; the swap is one row of one
commit. Steps run as maintenance on the writer thread, so a rebuild may run beside live traffic: it
has caught up when a step finds no record behind its position. A kill in the middle leaves the
current rows as they were; the next rebuild starts over.
"""

from dataclasses import dataclass

from storage.engine import ROWS, Reader, Writer
from storage.projection import Domain
from storage.record import serial_key, unpack
from storage.serial import SERIAL_MAX
from storage.snapshot import decode_snapshot
from storage.stage import Stage
from storage.writer import Step

ROWS_VERSION = b"version"
"""The meta row that says which version of the domain wrote the projections."""


@dataclass(slots=True)
class Refold:
    """A fold of a whole log from `source` into a stage's rows, in bounded pieces."""

    domain: Domain
    snapshots_after: bytes | None = b""
    position: int = 0
    folded: int = 0

    def piece(self, source: Reader, stage: Stage, limit: int) -> bool:
        """Fold up to `limit` more snapshots or records. False when there was nothing left."""
        if self.snapshots_after is not None:
            return self._snapshots(source, stage, limit, self.snapshots_after)
        return self._records(source, stage, limit)

    def _snapshots(self, source: Reader, stage: Stage, limit: int, after: bytes) -> bool:
        for number, (key, sealed) in enumerate(source.walk("snapshots", after)):
            if number == limit:
                return True
            for row, value in decode_snapshot(key, sealed).rows.items():
                stage.overlay.put(row, value)
            self.snapshots_after = key + b"\0"
        self.snapshots_after = None
        return True

    def _records(self, source: Reader, stage: Stage, limit: int) -> bool:
        start, stop = serial_key(self.position + 1), serial_key(SERIAL_MAX)
        found = 0
        for key, value in source.walk("log", start, stop):
            if found == limit:
                break
            found += 1
            self.position = int.from_bytes(key, "big")
            record = unpack(self.position, value, self.domain.decode)
            if not record.redacted:
                for projection in self.domain.by_kind.get(record.stream.kind, ()):
                    projection.fold(stage.table(projection), record)
        self.folded += found
        return found > 0


def rebuild(domain: Domain, limit: int) -> Step:
    """Maintenance that rebuilds every projection, `limit` records in a commit."""
    refold = Refold(domain)
    started = False

    def step(writer: Writer) -> bool:
        nonlocal started
        spare = ROWS[1 - ROWS.index(writer.rows_table)]
        if not started:
            writer.clear(spare)
            started = True
        stage = Stage(writer, domain, spare)
        if refold.piece(writer, stage, limit):
            stage.write()
            return True
        old = writer.rows_table
        writer.use_rows(spare)
        writer.clear(old)
        writer.set_number(ROWS_VERSION, domain.version)
        return False

    return step


def adopt(domain: Domain) -> Step:
    """Maintenance for a log without records: what this version folds is all there is."""

    def step(writer: Writer) -> bool:
        writer.set_number(ROWS_VERSION, domain.version)
        return False

    return step
