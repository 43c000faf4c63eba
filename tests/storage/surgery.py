"""Changing a closed log behind its back: direct LMDB edits, as a bug or a bad disk would make."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb
import msgpack

from storage.record import Link, Record, Stream, pack, serial_key, stream_key, unpack

MAP_BYTES = 1 << 30


class Patient:
    """The tables of a log, open for anything."""

    def __init__(self, env: lmdb.Environment, txn: lmdb.Transaction) -> None:
        self._env = env
        self._txn = txn

    def _table(self, name: str) -> object:
        return self._env.open_db(name.encode(), txn=self._txn, create=False)

    def get(self, table: str, key: bytes) -> bytes:
        value = self._txn.get(key, db=self._table(table))
        assert value is not None
        return bytes(value)

    def put(self, table: str, key: bytes, value: bytes) -> None:
        self._txn.put(key, value, db=self._table(table))

    def delete(self, table: str, key: bytes) -> None:
        assert self._txn.delete(key, db=self._table(table))

    def items(self, table: str) -> list[tuple[bytes, bytes]]:
        with self._txn.cursor(self._table(table)) as cursor:
            return list(cursor)

    def records(self, stream: Stream) -> list[Record]:
        found = [
            unpack(int.from_bytes(key, "big"), value, msgpack.unpackb)
            for key, value in self.items("log")
        ]
        return [record for record in found if record.stream == stream]

    def rewrite(self, record: Record, previous: Link, event: object) -> Link:
        """Another record in the place of `record`, whole in itself."""
        value, link = pack(record.stream, record.serial, previous, msgpack.packb(event))
        self.put("log", serial_key(record.serial), value)
        return link

    def forget(self, record: Record) -> None:
        """Take a record and its index entry out."""
        self.delete("log", serial_key(record.serial))
        self.delete("index", index_key(record))


def index_key(record: Record) -> bytes:
    return stream_key(record.stream) + serial_key(record.serial)


@contextmanager
def operate(path: Path) -> Iterator[Patient]:
    """Everything done within is one commit."""
    env = lmdb.open(str(path), max_dbs=8, map_size=MAP_BYTES)
    try:
        with env.begin(write=True) as txn:
            yield Patient(env, txn)
    finally:
        env.close()


def flip(value: bytes, at: int, mask: int = 1) -> bytes:
    changed = bytearray(value)
    changed[at] ^= mask
    return bytes(changed)
