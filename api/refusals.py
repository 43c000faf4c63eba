"""The replies that the transport gives by itself, before or instead of the application.

Owns the wording and codes of every limit that a hostile or broken client meets, and their form on
the wire: Ably's error envelope (TI1-TI5), unless the request is for another API
(api.refusal_forms); always JSON, because a request that never became whole names no format. The
codes are the HTTP status times 100 where Ably's registry has none of its own.

Refuses to echo anything that the client sent, and to tell a client what went wrong inside.
"""

import json
from http import HTTPStatus

from api import cross_origin
from broker.errors import BadRequest, BrokerError, Overloaded, Unavailable

Headers = list[tuple[bytes, bytes]]


def url_too_long(limit_bytes: int) -> BrokerError:
    return BadRequest(f"The request target exceeds {limit_bytes} bytes", 41400, 414)


def headers_too_large(limit_bytes: int) -> BrokerError:
    return BadRequest(f"The request headers exceed {limit_bytes} bytes", 43100, 431)


def body_too_large(limit_bytes: int) -> BrokerError:
    return BadRequest(f"The request body exceeds {limit_bytes} bytes", 40009, 413)


def head_too_slow(limit_ms: int) -> BrokerError:
    return BadRequest(f"The request head took longer than {limit_ms} ms", 40800, 408)


def body_too_slow(limit_ms: int) -> BrokerError:
    return BadRequest(f"The request body took longer than {limit_ms} ms", 40800, 408)


def malformed(reason: str, status: int = 400) -> BrokerError:
    return BadRequest(f"This is not a valid HTTP request: {reason}", status * 100, status)


def version_not_supported() -> BrokerError:
    return BadRequest("Use HTTP/1.1, or HTTP/2 over TLS by ALPN", 50500, 505)


def no_realtime() -> BrokerError:
    return BrokerError("This server does not serve realtime connections", 50100, 501)


def websocket_not_first() -> BrokerError:
    return BadRequest("Open a new HTTP/1.1 connection for a WebSocket", 42600, 426)


def bad_handshake(reason: str) -> BrokerError:
    return BadRequest(f"This is not a valid WebSocket handshake: {reason}")


def websocket_version() -> BrokerError:
    return BadRequest("Use version 13 of the WebSocket protocol", 42600, 426)


def too_many_connections() -> BrokerError:
    return Unavailable("The server has no room for more connections")


def too_many_from_address(limit: int) -> BrokerError:
    return Overloaded(f"More than {limit} connections from your address")


def internal_error() -> BrokerError:
    return BrokerError("Internal error", 50000, 500)


def envelope(error: BrokerError) -> bytes:
    return json.dumps({"error": error.info}).encode()


def reply_headers(error: BrokerError, body: bytes) -> Headers:
    return [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-ably-errorcode", b"%d" % error.code),
        (b"x-ably-errormessage", error.message.encode("ascii", "replace")),
    ]


def http11_reply(error: BrokerError, body: bytes) -> bytes:
    """A whole HTTP/1.1 reply, for connections on which no HTTP server runs yet."""
    status_line = f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\n".encode()
    headers = [*reply_headers(error, body), *cross_origin.FOR_ANYBODY]
    if error.status == HTTPStatus.UPGRADE_REQUIRED:  # it says to what (RFC 9110 15.5.22)
        headers += [(b"upgrade", b"websocket"), (b"sec-websocket-version", b"13")]
    lines = [b"%s: %s\r\n" % header for header in headers]
    return status_line + b"".join(lines) + b"connection: close\r\n\r\n" + body
