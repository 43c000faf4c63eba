"""The opening handshake of a WebSocket: an upgrade request in, its answer or a refusal out.

Sans-I/O; `websockets` judges (RFC 6455 4.2). Any path is served. No extension and no subprotocol
is agreed on, whatever the client offers: RFC 6455 lets it go on without.
"""

from urllib.parse import parse_qsl

import h11
from websockets.datastructures import Headers
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from api import refusals

VERSION = b"13"
SWITCHING = 101


def answer(request: h11.Request) -> bytes:
    """The 101 that accepts it. Raises BadRequest: 426 for another version, otherwise 400."""
    if request.http_version != b"1.1":
        raise refusals.bad_handshake("it needs HTTP/1.1")
    if dict(request.headers).get(b"sec-websocket-version", VERSION) != VERSION:
        raise refusals.websocket_version()
    headers = Headers([(name.decode(), value.decode("latin-1")) for name, value in request.headers])
    judge = ServerProtocol(state=State.CONNECTING)
    response = judge.accept(Request("/", headers))
    if response.status_code != SWITCHING:
        raise refusals.bad_handshake(str(judge.handshake_exc))
    return response.serialize()


def query(request: h11.Request) -> dict[str, str]:
    """The parameters of the request's target; the last of a name wins."""
    text = request.target.decode("ascii").partition("?")[2]
    return dict(parse_qsl(text, keep_blank_values=True))


def headers(request: h11.Request) -> dict[str, str]:
    """Values by lower-case name; the last of a name wins."""
    return {name.decode(): value.decode("latin-1") for name, value in request.headers}
