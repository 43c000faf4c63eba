"""Projection rows: sealed bytes in LMDB below, uncommitted changes on top.

An overlay collects what a command's folds write, and joins the batch's overlay only when the
command is through: so one command that fails leaves no trace, and a whole batch reaches LMDB as
one sorted write. A value of None in an overlay is a deletion.
"""

from collections.abc import Callable, Iterator
from itertools import chain

from storage.engine import Reader, Writer
from storage.projection import Projection
from storage.record import open_row, seal_row

Pending = dict[bytes, bytes | None]


def _after_prefix(prefix: bytes) -> bytes:
    """The first key behind every key that starts with `prefix` (table prefixes are not 0xff)."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes((stripped[-1] + 1,))


class StoredRows:
    """The committed rows, as one transaction sees them."""

    def __init__(self, reader: Reader, table: str) -> None:
        self._reader = reader
        self._table = table

    def get(self, key: bytes) -> bytes | None:
        sealed = self._reader.get(self._table, key)
        return None if sealed is None else open_row(key, sealed)

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        for key, sealed in self._reader.walk(self._table, prefix, _after_prefix(prefix)):
            yield key, open_row(key, sealed)


class Overlay:
    """Rows with uncommitted changes: the batch's, and on top the running command's."""

    def __init__(self, stored: StoredRows | None) -> None:
        self._stored = stored
        self._batch: Pending = {}
        self._command: Pending = {}

    def get(self, key: bytes) -> bytes | None:
        for pending in (self._command, self._batch):
            if key in pending:
                return pending[key]
        return self._stored.get(key) if self._stored else None

    def put(self, key: bytes, value: bytes | None) -> None:
        self._command[key] = value

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        rows: Pending = dict(self._stored.scan(prefix)) if self._stored else {}
        changes = chain(self._batch.items(), self._command.items())
        rows.update((key, value) for key, value in changes if key.startswith(prefix))
        for key in sorted(rows):
            value = rows[key]
            if value is not None:
                yield key, value

    def accept(self) -> None:
        """The running command is through: keep its changes for the commit."""
        self._batch.update(self._command)
        self._command.clear()

    def discard(self) -> None:
        self._command.clear()

    def write(self, writer: Writer, table: str) -> None:
        """Everything accepted, into the transaction."""
        puts = []
        for key in sorted(self._batch):
            value = self._batch[key]
            if value is None:
                writer.delete(table, key)
            else:
                puts.append((key, seal_row(key, value)))
        if puts:
            writer.put_many(table, puts)


class ProjectionTable:
    """One projection's rows: what its fold may read and write."""

    def __init__(self, overlay: Overlay, prefix: bytes) -> None:
        self._overlay = overlay
        self._prefix = prefix

    def get(self, key: bytes) -> bytes | None:
        return self._overlay.get(self._prefix + key)

    def put(self, key: bytes, value: bytes) -> None:
        self._overlay.put(self._prefix + key, value)

    def delete(self, key: bytes) -> None:
        self._overlay.put(self._prefix + key, None)

    def scan(self, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        for key, value in self._overlay.scan(self._prefix + prefix):
            yield key[1:], value


class AllRows:
    """Read access to every projection by name: what `decide` and queries are given."""

    def __init__(self, rows: "StoredRows | Overlay", projections: tuple[Projection, ...]) -> None:
        self._rows = rows
        self._prefixes = {projection.name: projection.prefix for projection in projections}

    def get(self, table: str, key: bytes) -> bytes | None:
        return self._rows.get(self._prefixes[table] + key)

    def scan(self, table: str, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        for key, value in self._rows.scan(self._prefixes[table] + prefix):
            yield key[1:], value


TableOf = Callable[[Projection], ProjectionTable]
