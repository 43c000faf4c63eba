"""The side file: what the last commit was, noted beside LMDB, to catch a log that forgot it.

LMDB keeps two meta pages and silently falls back to the older one when the newer is damaged: the
last commits are gone without an error. So after each commit the writer notes, in one of two slots
of a small file, the transaction id, the last serial with its record's hash, and a checksum of the
meta page. It is written after the commit and not synced: it may be older than the log after a
power loss, never newer. A log that is behind it has lost acknowledged records.
"""

import os
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

from storage.engine import sync_path
from storage.record import HASH_BYTES

NAME = "head"
_SLOT = struct.Struct(">8sQQ16sII")
_MAGIC = b"tidehead"
_SLOT_BYTES = 64
_META_BYTES = 152
_PAGE_SIZE = struct.Struct("=40xI")  # LMDB keeps its page size in its meta page


class Note(NamedTuple):
    txn: int
    serial: int
    hash: bytes
    meta_crc: int


class SideFile:
    """Opened by the writer; `note` is called on the writer thread only."""

    def __init__(self, directory: Path) -> None:
        known = read_note(directory)
        self._link = (known.serial, known.hash) if known else (0, bytes(HASH_BYTES))
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._file = os.open(directory / NAME, flags, 0o600)
        os.posix_fallocate(self._file, 0, 2 * _SLOT_BYTES)  # so that a full disk cannot stop a note
        self._data = os.open(directory / "data.mdb", os.O_RDONLY | os.O_CLOEXEC)

    def note(self, txn: int, link: tuple[int, bytes] | None = None) -> None:
        """`link` is (serial, hash) of the last record, when the commit appended one."""
        self._link = link or self._link
        slot = _SLOT.pack(_MAGIC, txn, *self._link, meta_crc(self._data, txn), 0)
        checked = slot[:-4] + struct.pack(">I", zlib.crc32(slot[:-4]))
        os.pwrite(self._file, checked, txn % 2 * _SLOT_BYTES)

    def close(self) -> None:
        os.close(self._file)
        os.close(self._data)


def meta_crc(data: int, txn: int) -> int:
    """Checksum of the meta page that transaction `txn` wrote (LMDB alternates between two)."""
    (page_bytes,) = _PAGE_SIZE.unpack(os.pread(data, _PAGE_SIZE.size, 0))
    return zlib.crc32(os.pread(data, _META_BYTES, txn % 2 * page_bytes))


def forget_notes(directory: Path) -> None:
    """Start over: a loss was accepted, or another data file was put in place."""
    (directory / NAME).unlink(missing_ok=True)
    sync_path(directory)  # or a power loss brings it back, and a whole log is called behind


def read_note(directory: Path) -> Note | None:
    """The newest whole note, None without one (no file, or torn by a power loss)."""
    try:
        raw = (directory / NAME).read_bytes()
    except FileNotFoundError:
        return None
    notes = [_parse(raw[at : at + _SLOT.size]) for at in (0, _SLOT_BYTES)]
    return max((note for note in notes if note), default=None)


def _parse(slot: bytes) -> Note | None:
    if len(slot) < _SLOT.size or slot[:8] != _MAGIC:
        return None
    _, txn, serial, digest, crc, check = _SLOT.unpack(slot)
    if check != zlib.crc32(slot[:-4]):
        return None
    return Note(txn, serial, digest, crc)
