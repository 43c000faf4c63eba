"""The opening handshake of a WebSocket: an upgrade request in, its answer or a refusal out.

Sans-I/O, and the judge of RFC 6455 4.2: nothing here waits, and thousands reconnect at once. Any
path is served. No extension and no subprotocol is agreed on, whatever the client offers: the RFC
lets it go on without. Expects what `request_head.is_websocket_upgrade` found to be an upgrade.
"""

import base64
import hashlib
import re
from urllib.parse import parse_qsl

import h11

from api import refusals

VERSION = b"13"
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 1.3
KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")  # 16 bytes in base64
ANSWER = b"""\
HTTP/1.1 101 Switching Protocols\r
Upgrade: websocket\r
Connection: Upgrade\r
Sec-WebSocket-Accept: %s\r
\r
"""
_TOKEN = rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+"
TOKENS = re.compile(rb"[ \t,]*%b(?:[ \t]*,[ \t,]*%b)*[ \t,]*" % (_TOKEN, _TOKEN))
WEBSOCKET = re.compile(rb"[, \t]*websocket[, \t]*", re.IGNORECASE)
TOKEN_LISTS = frozenset({b"connection", b"sec-websocket-protocol"})

Headers = list[tuple[bytes, bytes]]


def answer(request: h11.Request) -> bytes:
    """The 101 that accepts it. Raises BadRequest: 426 for another version, otherwise 400."""
    if request.http_version != b"1.1":
        raise refusals.bad_handshake("it needs HTTP/1.1")
    headers = list(request.headers)
    if _only(headers, b"sec-websocket-version") != VERSION:
        raise refusals.websocket_version()
    key = _only(headers, b"sec-websocket-key")
    if not KEY.fullmatch(key):
        raise refusals.bad_handshake("its Sec-WebSocket-Key is not 16 bytes in base64")
    if not WEBSOCKET.fullmatch(_only(headers, b"upgrade")):
        raise refusals.bad_handshake("it asks for other protocols too")
    _check_others(headers)
    digest = hashlib.sha1(key + GUID, usedforsecurity=False).digest()
    return ANSWER % base64.b64encode(digest)


def _only(headers: Headers, name: bytes) -> bytes:
    """The value of a header that has to be there once."""
    values = [value for key, value in headers if key == name]
    if len(values) != 1:
        raise refusals.bad_handshake(f"it needs {name.decode()} once")
    return values[0]


def _check_others(headers: Headers) -> None:
    origins = 0
    for name, value in headers:
        if name in TOKEN_LISTS and not TOKENS.fullmatch(value):
            raise refusals.bad_handshake(f"its {name.decode()} is not a list")
        origins += name == b"origin"
    if origins > 1:
        raise refusals.bad_handshake("it has more than one origin")


def query(request: h11.Request) -> dict[str, str]:
    """The parameters of the request's target; the last of a name wins."""
    text = request.target.decode("ascii").partition("?")[2]
    return dict(parse_qsl(text, keep_blank_values=True))


def headers(request: h11.Request) -> dict[str, str]:
    """Values by lower-case name; the last of a name wins."""
    return {name.decode(): value.decode("latin-1") for name, value in request.headers}
