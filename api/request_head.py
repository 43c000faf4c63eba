"""The first request head of a connection: read far enough to know who serves it, and no further.

Sans-I/O: bytes in, an `h11.Request` or a refusal out; every byte received is kept, to be replayed
to whoever serves the connection. h11 is the judge of what is valid, asked once, when the head is
whole; before that only sizes are looked at, so a head that arrives byte by byte is not parsed
again and again.

Invariant: at most `head_bytes_max` bytes plus one read are ever held. A line end is what h11
takes for one (a bare LF too): were we stricter, a head that it takes for complete would wait here
for ever.
"""

import re

import h11

from api import refusals
from api.settings import ServerSettings

REQUEST_LINE_EXTRA_BYTES = 64  # method, version and spaces around the target
HEAD_END = re.compile(rb"\n\r?\n")
HEAD_END_BYTES = 3
FIRST_PRINTABLE = 0x21  # what a request line starts with is above it
TLS_HANDSHAKE_RECORD = 0x16
VERSIONS = frozenset({b"1.0", b"1.1"})


def head_bytes_max(settings: ServerSettings) -> int:
    return settings.url_bytes_max + REQUEST_LINE_EXTRA_BYTES + settings.header_bytes_max


class RequestHead:
    """Collects one request head. `received` holds it and whatever followed it in the same read."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._buffer = bytearray()
        self._searched = 0

    @property
    def received(self) -> bytes:
        return bytes(self._buffer)

    def feed(self, data: bytes) -> h11.Request | None:
        """The request once its head is whole, None before; raises BadRequest on a bad one."""
        self._buffer += data
        self._check_first_byte()
        end = HEAD_END.search(self._buffer, self._searched)
        self._searched = max(0, len(self._buffer) - HEAD_END_BYTES)
        self._check_sizes(end.end() if end else len(self._buffer))
        return self._parse(end.end()) if end else None

    def _check_first_byte(self) -> None:
        if self._buffer and self._buffer[0] < FIRST_PRINTABLE:
            is_tls = self._buffer[0] == TLS_HANDSHAKE_RECORD
            reason = "this port speaks http, not https" if is_tls else "no request line"
            raise refusals.malformed(reason)

    def _check_sizes(self, head_length: int) -> None:
        line_end = self._buffer.find(b"\n")
        line_length = len(self._buffer) if line_end < 0 else line_end
        if line_length > self._settings.url_bytes_max + REQUEST_LINE_EXTRA_BYTES:
            raise refusals.url_too_long(self._settings.url_bytes_max)
        if head_length - line_length > self._settings.header_bytes_max:
            raise refusals.headers_too_large(self._settings.header_bytes_max)

    def _parse(self, end: int) -> h11.Request:
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=end)
        parser.receive_data(bytes(self._buffer[:end]))
        try:
            request = parser.next_event()
        except h11.RemoteProtocolError as error:
            raise refusals.malformed(str(error), error.error_status_hint) from error
        assert isinstance(request, h11.Request)
        if request.http_version not in VERSIONS:
            raise refusals.version_not_supported()
        return request


def is_websocket_upgrade(request: h11.Request) -> bool:
    """RFC 6455 4.1; what else a handshake needs is for the realtime handler to check."""
    tokens = {token.strip().lower() for token in _values(request, b"connection")}
    upgrades = {token.strip().lower() for token in _values(request, b"upgrade")}
    return request.method == b"GET" and b"upgrade" in tokens and b"websocket" in upgrades


def _values(request: h11.Request, name: bytes) -> list[bytes]:
    return [token for key, value in request.headers if key == name for token in value.split(b",")]
