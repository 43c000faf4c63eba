"""WebSocket frames and the protocol's messages, as far as a load needs them: made from parts that
are prepared once, and read after the clock has stopped."""

from collections.abc import Iterator
from functools import cache

import msgspec

_MASK = b"\x37\xfa\x21\x3d"
_TEXT, _BINARY, _CLOSE = 1, 2, 8
_LENGTH_16, _LENGTH_64 = 126, 127

HEARTBEAT, ACK, NACK, CONNECTED, ATTACH, ATTACHED, MESSAGE = 0, 1, 2, 4, 10, 11, 15
RESUMED = 4


class _Details(msgspec.Struct):
    connectionKey: str = ""  # noqa: N815


class _Published(msgspec.Struct):
    serials: list[str] = []


class Received(msgspec.Struct):
    """What the server says, but for the messages of channels."""

    action: int
    flags: int = 0
    count: int = 1
    msgSerial: int = 0  # noqa: N815
    channelSerial: str = ""  # noqa: N815
    connectionId: str = ""  # noqa: N815
    connectionDetails: _Details | None = None  # noqa: N815
    res: list[_Published] = []
    error: dict[str, object] | None = None


class _Counted(msgspec.Struct):
    action: int
    count: int = 1


class Format:
    """JSON in text frames, or MessagePack in binary ones."""

    def __init__(self, *, binary: bool) -> None:
        coding = msgspec.msgpack if binary else msgspec.json
        self.name = "msgpack" if binary else "json"
        self.read = coding.Decoder(Received).decode
        self._read_count = coding.Decoder(_Counted).decode
        self._encode = coding.Encoder().encode
        self._first = 0x80 | (_BINARY if binary else _TEXT)

    def count(self, payload: bytes) -> int:
        """How many messages a protocol message acknowledges or refuses."""
        found = self._read_count(payload)
        return found.count if found.action in (ACK, NACK) else 0

    def encode(self, message: dict[str, object]) -> bytes:
        return bytes(self._encode(message))

    def masked(self, payload: bytes) -> bytes:
        """A client's frame."""
        return masked(payload, self._first)

    def messages(self, received: bytes) -> Iterator[Received]:
        return map(self.read, payloads(received)[0])


JSON = Format(binary=False)
MSGPACK = Format(binary=True)


def masked(payload: bytes, first: int = 0x80 | _TEXT) -> bytes:
    """A client's frame that begins with that byte."""
    size = len(payload)
    head = bytes((first,)) + _length(size) + _MASK
    hidden = int.from_bytes(payload, "little") ^ _mask(size)
    return head + hidden.to_bytes(size, "little")


def payloads(received: bytes) -> tuple[list[bytes], bytes]:
    """Of the whole data frames of a server, and what is left behind them."""
    found: list[bytes] = []
    at = 0
    while (frame := _frame(received, at)) is not None:
        kind, start, at = frame
        if kind in (_TEXT, _BINARY):
            found.append(received[start:at])
        elif kind == _CLOSE:
            break
    return found, received[at:]


def _frame(received: bytes, at: int) -> tuple[int, int, int] | None:
    """(kind, start, end) of the frame there; None while it is not whole."""
    head = received[at : at + 10]
    if len(head) < 2:
        return None
    size, start = head[1] & 0x7F, at + 2
    if size >= _LENGTH_16:
        wide = 2 if size == _LENGTH_16 else 8
        if len(head) < 2 + wide:
            return None
        size, start = int.from_bytes(head[2 : 2 + wide]), start + wide
    end = start + size
    return (head[0] & 0x0F, start, end) if end <= len(received) else None


def _length(size: int) -> bytes:
    if size < _LENGTH_16:
        return bytes((0x80 | size,))
    if size < 1 << 16:
        return bytes((0x80 | _LENGTH_16,)) + size.to_bytes(2)
    return bytes((0x80 | _LENGTH_64,)) + size.to_bytes(8)


@cache
def _mask(size: int) -> int:
    return int.from_bytes((_MASK * (size // len(_MASK) + 1))[:size], "little")
