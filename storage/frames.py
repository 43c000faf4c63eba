"""Frames on a stream between two processes of ours: a length, then MessagePack.

A frame that is larger than FRAME_BYTES_MAX, or that is not what it should be, is a ValueError.
Never stored: both ends are of one version.
"""

import struct
from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec

FRAME_BYTES_MAX = 256 * 1024 * 1024
READ_BYTES = 256 * 1024
_LENGTH = struct.Struct(">I")
_encode = msgspec.msgpack.Encoder().encode
T = TypeVar("T")


def frame(message: msgspec.Struct) -> bytes:
    body = _encode(message)
    return _LENGTH.pack(len(body)) + body


class Frames(Generic[T]):
    """Cuts a stream of bytes into frames of one kind."""

    def __init__(self, kind: type[T]) -> None:
        self._decode = msgspec.msgpack.Decoder(kind).decode
        self._buffer = bytearray()

    def feed(self, data: bytes | bytearray) -> Iterator[T]:
        """The frames that are whole now. Raises ValueError for what is none."""
        self._buffer += data
        start = 0
        while len(self._buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, start)
            if length > FRAME_BYTES_MAX:
                raise ValueError(f"a frame of {length} bytes: {FRAME_BYTES_MAX} are possible")
            end = start + _LENGTH.size + length
            if end > len(self._buffer):
                break
            body = bytes(self._buffer[start + _LENGTH.size : end])
            start = end
            yield self._decode(body)
        del self._buffer[:start]
