"""Replies: a value in the negotiated format, or an error in Ably's envelope with its headers."""

from typing import Any

from quart import Response, request

from api.formats import JSON, Format, reply_format
from broker.errors import BrokerError

Headers = list[tuple[str, str]]


def negotiated() -> Format:
    """The format the current request wants its reply in."""
    return reply_format(request.headers.get("Accept"), request.args.get("format"))


def reply(value: Any, status: int = 200, headers: Headers | None = None) -> Response:
    speaks = negotiated()
    response = Response(speaks.encode(value), status, content_type=speaks.content_type)
    response.headers.extend(headers or [])
    return response


def error_reply(error: BrokerError, headers: Headers | None = None) -> Response:
    """`{"error": {message, code, statusCode, href}}` (TI1-TI5)."""
    speaks = negotiated() if request else JSON
    body = speaks.encode({"error": error.info})
    response = Response(body, error.status, content_type=speaks.content_type)
    response.headers.extend(error_headers(error))
    if error.status == 401:  # RFC 9110 15.5.2; "Basic" would make browsers ask for a password
        response.headers["WWW-Authenticate"] = 'Bearer realm="tidelog"'
    response.headers.extend(headers or [])
    return response


def error_headers(error: BrokerError) -> Headers:
    return [
        ("X-Ably-ErrorCode", str(error.code)),
        ("X-Ably-ErrorMessage", _header_safe(error.message)),
    ]


def _header_safe(text: str) -> str:
    visible = "".join(character if character.isprintable() else " " for character in text)
    return visible.encode("latin-1", "replace").decode("latin-1")
