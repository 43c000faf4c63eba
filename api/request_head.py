"""The first request head of a connection: read far enough to know who serves it, and no further.

Sans-I/O: bytes in, an `h11.Request` or a refusal out; every byte received is kept, to be replayed
to whoever serves the connection. h11 is the judge of what is valid, asked once, when the head is
whole; before that only sizes are looked at, so a head that arrives byte by byte is not parsed
again and again. A head of plain lines is taken apart here, in a third of the time, and h11 judges
the parts; every other head, and every one that is not valid, it gets whole.

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
PROTOCOLS = {b"HTTP/1.0": b"1.0", b"HTTP/1.1": b"1.1"}
FOLDED = re.compile(rb"\n[ \t]")  # a line that continues the one before


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
        head = bytes(self._buffer[:end])
        request = _plain(head) or _judged(head)
        if request.http_version not in PROTOCOLS.values():
            raise refusals.version_not_supported()
        return request


def _plain(head: bytes) -> h11.Request | None:
    """None where h11 has to look at the whole."""
    if not head.endswith(b"\r\n\r\n") or FOLDED.search(head):
        return None
    line, *fields = head[:-4].split(b"\r\n")
    try:
        method, target, protocol = line.split(b" ")
        pairs = [field.split(b":", 1) for field in fields]
        headers = [(name, value.strip(b" \t")) for name, value in pairs]
        return h11.Request(
            method=method, target=target, headers=headers, http_version=PROTOCOLS[protocol]
        )
    except (ValueError, KeyError, h11.LocalProtocolError):
        return None


def _judged(head: bytes) -> h11.Request:
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=len(head))
    parser.receive_data(head)
    try:
        request = parser.next_event()
    except h11.RemoteProtocolError as error:
        reason = str(error).partition(": bytearray(")[0]  # what follows is what was sent
        raise refusals.malformed(reason, error.error_status_hint) from error
    assert isinstance(request, h11.Request)
    return request


def is_websocket_upgrade(request: h11.Request) -> bool:
    """RFC 6455 4.1; what else a handshake needs is for the realtime handler to check."""
    return (
        request.method == b"GET"
        and b"websocket" in _tokens(request, b"upgrade")
        and b"upgrade" in _tokens(request, b"connection")
    )


def _tokens(request: h11.Request, name: bytes) -> set[bytes]:
    values = [value for key, value in request.headers if key == name]
    return {token.strip().lower() for value in values for token in value.split(b",")}
