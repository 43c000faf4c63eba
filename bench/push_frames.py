"""HTTP/2 as a gateway needs it that takes notifications and says 200: sans-I/O, and cheap.

A whole HTTP/2 library on this side costs as much as the client that is measured. So frames are read
here, hpack reads the headers, and the answer is always the same ten bytes. It is for a client that
is known to keep to RFC 9113, and refuses what that one does not do: header blocks in several
frames, padding and priorities.
"""

import struct
from collections.abc import Callable

from hpack import Decoder

Tell = Callable[[str, str, bytes], None]
"""Of one notification: the path, its apns-id, and its body."""

STREAMS_MAX = 1_000
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEAD = struct.Struct(">HBBBI")  # length in 24 bits, type, flags, stream
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _WINDOW = 0, 1, 3, 4, 6, 8
_ACK = _END_STREAM = 0x1
_END_HEADERS = 0x4
_PLAIN = _END_STREAM | _END_HEADERS
_STATUS_200 = b"\x88"  # RFC 7541 appendix A
_WINDOW_BYTES = 1 << 30


class Unexpected(Exception):
    """The client does what this gateway does not understand."""


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    length = len(payload)
    return _HEAD.pack(length >> 8, length & 0xFF, kind, flags, stream) + payload


def _more(size: int) -> bytes:
    """The connection's window, grown by so much."""
    return _frame(_WINDOW, 0, 0, struct.pack(">I", size))


class Frames:
    """One connection. `receive` returns what is to be written."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._received = b""
        self._is_greeted = False
        self._headers = Decoder()
        self._streams: dict[int, tuple[str, str, bytes]] = {}
        self._taken = 0

    def receive(self, data: bytes) -> bytes:
        self._received += data
        out: list[bytes] = []
        at = 0
        if not self._is_greeted:
            if len(self._received) < len(_PREFACE):
                return b""
            at = self._greet(out)
        while (end := self._end(at)) is not None:
            self._one(at, end, out)
            at = end
        self._received = self._received[at:]
        return b"".join(out)

    def _greet(self, out: list[bytes]) -> int:
        if not self._received.startswith(_PREFACE):
            raise Unexpected("no HTTP/2")
        self._is_greeted = True
        out += [_frame(_SETTINGS, 0, 0, struct.pack(">HI", 3, STREAMS_MAX)), _more(_WINDOW_BYTES)]
        return len(_PREFACE)

    def _end(self, at: int) -> int | None:
        """None where a frame is not whole."""
        if len(self._received) < at + 9:
            return None
        end = at + 9 + int.from_bytes(self._received[at : at + 3], "big")
        return end if len(self._received) >= end else None

    def _one(self, at: int, end: int, out: list[bytes]) -> None:
        _, _, kind, flags, stream = _HEAD.unpack_from(self._received, at)
        payload = self._received[at + 9 : end]
        if kind in (_HEADERS, _DATA):
            self._of_request(kind, flags, stream, payload, out)
        elif kind == _RESET:
            self._streams.pop(stream, None)
        elif kind in (_SETTINGS, _PING) and not flags & _ACK:
            out.append(_frame(kind, _ACK, 0, payload if kind == _PING else b""))

    def _of_request(
        self, kind: int, flags: int, stream: int, payload: bytes, out: list[bytes]
    ) -> None:
        if flags & ~_PLAIN or (kind == _HEADERS and not flags & _END_HEADERS):
            raise Unexpected(f"frame {kind} with flags {flags:#x}")
        if kind == _HEADERS:
            headers = dict(self._headers.decode(payload, raw=True))
            path, id_ = headers[b":path"].decode(), headers[b"apns-id"].decode()
            self._streams[stream] = (path, id_, b"")
        else:
            path, id_, body = self._streams[stream]
            self._streams[stream] = (path, id_, body + payload)
            self._take(len(payload), out)
        if flags & _END_STREAM:
            self._tell(*self._streams.pop(stream))
            out.append(_frame(_HEADERS, _PLAIN, stream, _STATUS_200))

    def _take(self, size: int, out: list[bytes]) -> None:
        """Bodies fit into the window of a stream, and it is only the connection's that runs out."""
        self._taken += size
        if self._taken > _WINDOW_BYTES // 2:
            out.append(_more(self._taken))
            self._taken = 0
