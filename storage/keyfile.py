"""Keys that can be destroyed: a file of its own beside the log, the one exception to the log as the
only truth.

LMDB leaves what was deleted in free pages, and a log is never rewritten; so what must be possible
to erase is encrypted before it gets there, and its key is here. Destroying a key rewrites the file
without it and replaces the old one, synced; then nothing can be read any more that the key was for.

    magic 8 | records: length of the id 2 | id | key 32 | crc32 of them 4

A key is on disk before `create` returns, and so before anything that it protects. What a crash cuts
off at the end was never promised and is dropped; the next write takes its place. The file is
replaced as a whole, so a crash leaves the old one or the new.

Fault model: something that is no record, with a record anywhere behind it, is Damaged: a key is
lost and said to be. A write that fails (a full disk) is an error that changes nothing: what was to
be created is not there, what was to be destroyed still is.
"""

import errno
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.engine import sync_path
from storage.errors import Damaged, LogFull, StorageError

NAME = "keys"
KEY_BYTES = 32
_MAGIC = b"tidekeys"
_LENGTH = struct.Struct(">H")
_CRC = struct.Struct(">I")
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class KeyFile:
    """Of one data directory. Blocks: called from a thread, by one caller at a time."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / NAME
        self._keys, self._end = _read(self._path)
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if self._end != os.fstat(self._file).st_size or not self._end:
            self._replace(self._keys)

    def get(self, id_: str) -> bytes | None:
        return self._keys.get(id_)

    def ids(self) -> set[str]:
        return set(self._keys)

    def create(self, keys: dict[str, bytes]) -> None:
        """Keep new keys; they are on disk when this returns. Raises LogFull, StorageError."""
        assert all(len(key) == KEY_BYTES for key in keys.values())
        records = _records_of(keys)
        with _said():
            os.ftruncate(self._file, self._end)  # what a write that failed left behind
            os.lseek(self._file, self._end, os.SEEK_SET)
            _write_all(self._file, records)
            os.fdatasync(self._file)
        self._end += len(records)
        self._keys.update(keys)

    def destroy(self, ids: Iterable[str]) -> None:
        """Forget keys for good; those that are not there are gone already. Raises LogFull,
        StorageError."""
        gone = self._keys.keys() & set(ids)
        if gone:
            self.change({}, gone)

    def change(self, put: dict[str, bytes], drop: Iterable[str]) -> None:
        """Keep some keys and forget others for good, in one step: a crash leaves those of before,
        or these. Raises LogFull, StorageError."""
        assert all(len(key) == KEY_BYTES for key in put.values())
        gone = set(drop)
        left = {id_: key for id_, key in self._keys.items() if id_ not in gone}
        self._replace({**left, **put})

    def close(self) -> None:
        os.close(self._file)

    def _replace(self, keys: dict[str, bytes]) -> None:
        """The old file's blocks are given back to the file system when its last name is gone."""
        records = _MAGIC + _records_of(keys)
        staging = self._path.with_name(NAME + ".new")
        with _said():
            file = os.open(staging, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                _write_all(file, records)
                os.fsync(file)
                staging.replace(self._path)
            except OSError:
                os.close(file)
                raise
            os.close(self._file)
            self._file, self._end, self._keys = file, len(records), keys
            sync_path(self._path.parent)


@contextmanager
def _said() -> Iterator[None]:
    """What the file system refuses, in the terms of the storage."""
    try:
        yield
    except OSError as error:
        kind = LogFull if error.errno in _NO_ROOM else StorageError
        raise kind(f"the key file cannot be written: {error}") from error


class NoKeyFile(KeyFile):
    """Of a process that shares a directory and leaves its keys to another one."""

    def __init__(self) -> None:
        self._keys = {}

    def create(self, keys: dict[str, bytes]) -> None:
        raise StorageError("keys are for the process that writes the log")

    def destroy(self, ids: Iterable[str]) -> None:
        raise StorageError("keys are for the process that writes the log")

    def change(self, put: dict[str, bytes], drop: Iterable[str]) -> None:
        raise StorageError("keys are for the process that writes the log")

    def close(self) -> None:
        """There is nothing to close."""


def _read(path: Path) -> tuple[dict[str, bytes], int]:
    """The keys, and how much of the file is whole. Raises Damaged."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return {}, 0
    if not raw.startswith(_MAGIC):
        if len(raw) < len(_MAGIC):
            return {}, 0  # the very first write was cut off
        raise Damaged(f"{path} is no key file")
    keys: dict[str, bytes] = {}
    whole = len(_MAGIC)
    for end, id_, key in _records(raw):
        keys[id_] = key
        whole = end
    return keys, whole


def _records(raw: bytes) -> Iterator[tuple[int, str, bytes]]:
    """(its end, id, key) of each record, up to what was cut off."""
    at = len(_MAGIC)
    while (end := _end_of_record(raw, at)) is not None:
        body = raw[at : end - _CRC.size]
        yield end, body[_LENGTH.size : -KEY_BYTES].decode(), body[-KEY_BYTES:]
        at = end
    if any(_end_of_record(raw, behind) for behind in range(at + 1, len(raw))):
        raise Damaged(f"the key file is damaged at byte {at}")


def _end_of_record(raw: bytes, at: int) -> int | None:
    """None where there is none, or not a whole one."""
    if at + _LENGTH.size > len(raw):
        return None
    (length,) = _LENGTH.unpack_from(raw, at)
    end = at + _LENGTH.size + length + KEY_BYTES + _CRC.size
    if end > len(raw):
        return None
    crc = zlib.crc32(memoryview(raw)[at : end - _CRC.size])
    return end if crc == _CRC.unpack_from(raw, end - _CRC.size)[0] else None


def _records_of(keys: dict[str, bytes]) -> bytes:
    return b"".join(_record(id_, key) for id_, key in keys.items())


def _record(id_: str, key: bytes) -> bytes:
    name = id_.encode()
    body = _LENGTH.pack(len(name)) + name + key
    return body + _CRC.pack(zlib.crc32(body))


def _write_all(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]
