"""The bytes of a record, of a sealed row, and of the keys that find them.

A record lies in the log table under its serial (its position), and an empty entry
(stream key, serial) in the index table finds it. Measured in bench/RESULTS.md: at 10,000 channels
this writes a third less than records under their stream key and references under the position.

    version 1 | flags 1 | crc32 4 | previous hash 16 | sequence 8 | total bytes 8 | body

The CRC covers the serial and everything behind it, so a damaged or misplaced record never decodes.
The hash of a record covers all its bytes; the next record of the same stream carries it, and the
sequence counts the records of the stream, so a missing one shows. `total` sums the record sizes of
the stream: retention by count and by bytes needs no counter row. A redacted record has lost its
body for good and keeps its hash in the body's place, so that the chain stays whole.
"""

import struct
import zlib
from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from storage.errors import Damaged, FormatError

RECORD_VERSION = 1
REDACTED = 1
HASH_BYTES = 16
SERIAL_BYTES = 8
GENESIS = bytes(HASH_BYTES)
_PREFIX = struct.Struct(">BBI")
_REST = struct.Struct(">16sQQ")
_HEADER_BYTES = _PREFIX.size + _REST.size
_CRC = struct.Struct(">I")

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[str, str, int, bytes]).decode

Encode = Callable[[Any], bytes]
Decode = Callable[[bytes], Any]


class Stream(NamedTuple):
    """One append-only sequence: a kind of event of one channel of one app.

    `channel` is "" for an app's own streams, `app` is "" for the system's.
    """

    app: str
    channel: str
    kind: int


class Link(msgspec.Struct, frozen=True, gc=False):
    """Where a stream's chain stands after one of its records."""

    serial: int
    hash: bytes
    sequence: int
    total: int


NO_LINK = Link(0, GENESIS, 0, 0)


class Record(msgspec.Struct, frozen=True, gc=False):
    """A stored event. `event` is None when the record was redacted."""

    serial: int
    stream: Stream
    event: Any
    link: Link
    previous: bytes

    @property
    def redacted(self) -> bool:
        return self.event is None


@lru_cache(maxsize=65_536)
def stream_key(stream: Stream) -> bytes:
    """17 bytes: a digest of the names, then the kind, so that a channel's streams lie together."""
    name = f"{stream.app}\0{stream.channel}".encode()
    return blake2b(name, digest_size=16).digest() + bytes((stream.kind,))


def serial_key(serial: int) -> bytes:
    return serial.to_bytes(SERIAL_BYTES, "big")


def pack(stream: Stream, serial: int, previous: Link, body: bytes) -> tuple[bytes, Link]:
    """The bytes of a record and the link that it ends."""
    payload = _encode((*stream, body))
    total = previous.total + _HEADER_BYTES + len(payload)
    return _seal(0, serial, previous.hash, previous.sequence + 1, total, payload)


def _seal(
    flags: int, serial: int, previous: bytes, sequence: int, total: int, payload: bytes
) -> tuple[bytes, Link]:
    rest = _REST.pack(previous, sequence, total) + payload
    crc = _checksum(serial, RECORD_VERSION, flags, rest)
    value = _PREFIX.pack(RECORD_VERSION, flags, crc) + rest
    return value, Link(serial, _hash(serial, value), sequence, total)


def _checksum(serial: int, version: int, flags: int, rest: bytes) -> int:
    """Over the serial and all of the record, its own place taken as zero."""
    crc = zlib.crc32(_PREFIX.pack(version, flags, 0), serial & 0xFFFFFFFF)
    return zlib.crc32(rest, crc) ^ serial >> 32


def _hash(serial: int, value: bytes) -> bytes:
    return blake2b(value, digest_size=HASH_BYTES, salt=serial.to_bytes(8, "big")).digest()


def unpack(serial: int, value: bytes, decode: Decode) -> Record:
    """Raises Damaged when the bytes are not those that were written, FormatError for a newer
    version."""
    if len(value) < _HEADER_BYTES:
        raise Damaged(f"record {serial} is cut short")
    version, flags, crc = _PREFIX.unpack_from(value)
    if crc != _checksum(serial, version, flags, value[_PREFIX.size :]):
        raise Damaged(f"record {serial} does not match its checksum")
    if version > RECORD_VERSION:
        raise FormatError(f"record {serial} has version {version}, newer than {RECORD_VERSION}")
    previous, sequence, total = _REST.unpack_from(value, _PREFIX.size)
    app, channel, kind, body = _decode(value[_HEADER_BYTES:])
    stream = Stream(app, channel, kind)
    if flags & REDACTED:
        return Record(serial, stream, None, Link(serial, body, sequence, total), previous)
    link = Link(serial, _hash(serial, value), sequence, total)
    return Record(serial, stream, decode(body), link, previous)


def redact(record: Record) -> bytes:
    """The bytes that replace a record: everything of it but what the publisher sent."""
    payload = _encode((*record.stream, record.link.hash))
    link = record.link
    return _seal(REDACTED, record.serial, record.previous, link.sequence, link.total, payload)[0]


def seal_row(key: bytes, value: bytes) -> bytes:
    """A row with a checksum over its key and value: LMDB returns flipped bits without an error."""
    return _CRC.pack(zlib.crc32(value, zlib.crc32(key))) + value


def open_row(key: bytes, sealed: bytes) -> bytes:
    value = sealed[4:]
    if sealed[:4] != _CRC.pack(zlib.crc32(value, zlib.crc32(key))):
        raise Damaged(f"row {key.hex()} does not match its checksum")
    return value
