"""Keys that can be destroyed: a file of its own beside the log, the one exception to the log as the
only truth.

LMDB leaves what was deleted in free pages, and a log is never rewritten; so what must be possible
to erase is encrypted before it gets there, and its key is here. Destroying a key rewrites the file
without it and replaces the old one, synced; then nothing can be read any more that the key was for.

    magic 8 | records: length of the id 2 | id | key 32 | crc32 of them 4

A key is on disk before `create` returns, and so before anything that it protects. What a crash cuts
off at the end was never promised and is dropped.

Fault model: a record that does not match its checksum, before others that do, is Damaged: its key
is lost and said to be. The file is replaced as a whole, so a crash leaves the old one or the new.
"""

import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from storage.engine import sync_path
from storage.errors import Damaged

NAME = "keys"
KEY_BYTES = 32
_MAGIC = b"tidekeys"
_LENGTH = struct.Struct(">H")
_CRC = struct.Struct(">I")


class KeyFile:
    """Of one data directory. Blocks: called from a thread, by one caller at a time."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / NAME
        self._keys, whole = _read(self._path)
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if whole != os.fstat(self._file).st_size or not whole:
            self._rewrite()

    def get(self, id_: str) -> bytes | None:
        return self._keys.get(id_)

    def ids(self) -> set[str]:
        return set(self._keys)

    def create(self, keys: dict[str, bytes]) -> None:
        """Keep new keys; they are on disk when this returns."""
        assert all(len(key) == KEY_BYTES for key in keys.values())
        os.lseek(self._file, 0, os.SEEK_END)
        _write_all(self._file, b"".join(_record(*item) for item in keys.items()))
        os.fdatasync(self._file)
        self._keys.update(keys)

    def destroy(self, ids: Iterable[str]) -> None:
        """Forget keys for good; those that are not there are gone already."""
        gone = [id_ for id_ in ids if self._keys.pop(id_, None) is not None]
        if gone:
            self._rewrite()

    def close(self) -> None:
        os.close(self._file)

    def _rewrite(self) -> None:
        """The old file's blocks are given back to the file system when its last name is gone."""
        staging = self._path.with_name(NAME + ".new")
        file = os.open(staging, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        records = b"".join(_record(*item) for item in self._keys.items())
        _write_all(file, _MAGIC + records)
        os.fsync(file)
        staging.replace(self._path)
        sync_path(self._path.parent)
        os.close(self._file)
        self._file = file


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
    at = len(_MAGIC)
    while at + _LENGTH.size <= len(raw):
        (length,) = _LENGTH.unpack_from(raw, at)
        end = at + _LENGTH.size + length + KEY_BYTES + _CRC.size
        if end > len(raw):
            return
        body = raw[at : end - _CRC.size]
        if zlib.crc32(body) != _CRC.unpack_from(raw, end - _CRC.size)[0]:
            if end == len(raw):
                return
            raise Damaged(f"the key file is damaged at byte {at}")
        yield end, body[_LENGTH.size : -KEY_BYTES].decode(), body[-KEY_BYTES:]
        at = end


def _record(id_: str, key: bytes) -> bytes:
    name = id_.encode()
    body = _LENGTH.pack(len(name)) + name + key
    return body + _CRC.pack(zlib.crc32(body))


def _write_all(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]
