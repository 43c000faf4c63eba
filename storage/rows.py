"""Projection rows: sealed bytes in LMDB below, uncommitted changes on top.

An overlay collects what a command's folds write, and joins the batch's overlay only when the
command is through: so one command that fails leaves no trace, and a whole batch reaches LMDB as
one sorted write. A value of None in an overlay is a deletion.
"""

import heapq
from collections.abc import Iterator
from itertools import chain
from operator import itemgetter

from storage.engine import Reader, Writer
from storage.projection import Projection
from storage.record import open_row, seal_row

KEY_BYTES_MAX = 511  # LMDB's own limit
_PAST_KEYS = b"\xff" * (KEY_BYTES_MAX + 1)
Pending = dict[bytes, bytes | None]


def _bounds(prefix: bytes, after: bytes) -> tuple[bytes, bytes]:
    """The keys that start with `prefix` and lie behind `after`: from the first up to, not
    including, the second (table prefixes are not 0xff)."""
    stripped = prefix.rstrip(b"\xff")
    stop = stripped[:-1] + bytes((stripped[-1] + 1,)) if stripped else _PAST_KEYS
    return max(prefix, after + b"\0"), stop


class StoredRows:
    """The committed rows, as one transaction sees them."""

    def __init__(self, reader: Reader, table: str) -> None:
        self._reader = reader
        self._table = table

    def get(self, key: bytes) -> bytes | None:
        sealed = self._reader.get(self._table, key)
        return None if sealed is None else open_row(key, sealed)

    def scan(self, prefix: bytes, after: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        return self.between(*_bounds(prefix, after))

    def between(
        self, first: bytes, stop: bytes, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        for key, sealed in self._reader.walk(self._table, first, stop, reverse):
            yield key, open_row(key, sealed)


class RowCache:
    """Rows the writer has seen, current because nobody else writes: at most `limit`, the oldest
    half forgotten when full. Saves the hot path its look-ups of the same few rows."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rows: Pending = {}
        self.get = self._rows.get
        self.clear = self._rows.clear

    def update(self, rows: Pending) -> None:
        """Take over what a commit wrote."""
        self._rows.update(rows)
        if len(self._rows) > self._limit:
            for key in list(self._rows)[: len(self._rows) - self._limit // 2]:
                del self._rows[key]


class Overlay:
    """Rows with uncommitted changes: the batch's (`accepted`), and on top the running command's."""

    def __init__(self, stored: StoredRows | None, cache: RowCache | None = None) -> None:
        self._stored = stored
        self._cache = cache
        self._command: Pending = {}
        self.accepted: Pending = {}

    def get(self, key: bytes) -> bytes | None:
        if key in self._command:
            return self._command[key]
        if key in self.accepted:
            return self.accepted[key]
        cached = self._cache.get(key) if self._cache else None
        if cached is not None:
            return cached
        if self._stored is None or len(key) > KEY_BYTES_MAX:
            return None
        return self._read(key, self._stored)

    def _read(self, key: bytes, stored: StoredRows) -> bytes | None:
        value = stored.get(key)
        if self._cache and value is not None:
            self._cache.update({key: value})
        return value

    def put(self, key: bytes, value: bytes | None) -> None:
        if len(key) > KEY_BYTES_MAX:
            raise ValueError(f"a row key of {len(key)} bytes: {KEY_BYTES_MAX} are possible")
        self._command[key] = value

    def scan(self, prefix: bytes, after: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        return self.between(*_bounds(prefix, after))

    def between(
        self, first: bytes, stop: bytes, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Walks the stored rows only as far as it is asked to."""
        changes = chain(self.accepted.items(), self._command.items())
        changed = {key: value for key, value in changes if first <= key < stop}
        stored = self._stored.between(first, stop, reverse) if self._stored else iter(())
        untouched = (row for row in stored if row[0] not in changed)
        written = ((key, changed[key]) for key in sorted(changed, reverse=reverse))
        for key, value in heapq.merge(untouched, written, key=itemgetter(0), reverse=reverse):
            if value is not None:
                yield key, value

    def accept(self) -> None:
        """The running command is through: keep its changes for the commit."""
        if self._command:
            self.accepted.update(self._command)
            self._command.clear()

    def discard(self) -> None:
        self._command.clear()

    def write(self, writer: Writer, table: str) -> None:
        """Everything accepted, into the transaction."""
        puts = []
        for key in sorted(self.accepted):
            value = self.accepted[key]
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

    def scan(
        self, table: str, prefix: bytes = b"", after: bytes = b""
    ) -> Iterator[tuple[bytes, bytes]]:
        space = self._prefixes[table]
        for key, value in self._rows.scan(space + prefix, space + after):
            yield key[1:], value

    def between(
        self, table: str, first: bytes, stop: bytes, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        space = self._prefixes[table]
        for key, value in self._rows.between(space + first, space + stop, reverse):
            yield key[1:], value
