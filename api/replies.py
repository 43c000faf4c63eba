"""Replies: a value as the request wants it, or an error in Ably's envelope with its headers."""

from math import ceil
from typing import Any

from quart import Response, current_app, request

from api.control import Wanted, wanted
from api.formats import Context
from api.html_page import SECURITY, Leading
from api.paging import Links, query_of, with_query
from broker.errors import BrokerError, Overloaded

SERVER_ID = "SERVER_ID"
"""The key of the application's configuration that holds which server answers."""

Headers = list[tuple[str, str]]
# What a link to another page takes along of how this one was asked for; in HTML, also who asked.
_REPEATED = ("fields", "flatten", "select", "format", "envelope", "callback", "v")
_CREDENTIALS = ("key", "access_token", "accessToken")
_OF_FORMAT = {"html": SECURITY, "jsonp": {"X-Content-Type-Options": "nosniff"}}


def reply(
    value: Any, status: int = 200, *, links: Links | None = None, headers: Headers | None = None
) -> Response:
    """`links`: between the pages of a resource; as headers, and in an envelope. What a failure has
    to say is not shaped, or it might not say it."""
    asked = wanted()
    repeated = {
        relation: with_query(url, _given(_REPEATED)) for relation, url in (links or {}).items()
    }
    shown = asked.shaped(value) if status < 400 else value
    return _response(asked, shown, status, repeated, headers or [])


def error_reply(error: BrokerError, headers: Headers | None = None) -> Response:
    """`{"error": {message, code, statusCode, href}}` (TI1-TI5)."""
    own = error_headers(error)
    if error.status == 401:  # RFC 9110 15.5.2; "Basic" would make browsers ask for a password
        own.append(("WWW-Authenticate", 'Bearer realm="tidelog"'))
    info = {**error.info, "serverId": current_app.config[SERVER_ID]}
    return _response(wanted(), {"error": info}, error.status, {}, [*own, *(headers or [])])


def no_content() -> Response:
    """Done, and there is nothing to say: so nothing about a body either (RFC 9110 8.6)."""
    if wanted().is_enveloped:
        return _encoded(wanted(), {"statusCode": 204}, 200, {}, [])
    response = Response(b"", 204)
    for about_a_body in ("Content-Type", "Content-Length"):
        response.headers.pop(about_a_body, None)
    return response


def error_headers(error: BrokerError) -> Headers:
    headers = [
        ("X-Ably-ErrorCode", str(error.code)),
        ("X-Ably-ErrorMessage", _header_safe(error.message)),
    ]
    if isinstance(error, Overloaded) and error.retry_after_s is not None:  # RFC 9110 10.2.3
        headers.append(("Retry-After", str(ceil(error.retry_after_s))))
    return headers


def _response(asked: Wanted, value: Any, status: int, links: Links, headers: Headers) -> Response:
    headers = [
        *headers,
        *(("Link", f'<{url}>; rel="{relation}"') for relation, url in links.items()),
    ]
    if asked.is_enveloped:
        return _encoded(asked, _enveloped(value, status, links, headers), 200, links, headers)
    return _encoded(asked, value, status, links, headers)


def _enveloped(value: Any, status: int, links: Links, headers: Headers) -> dict[str, Any]:
    """For who sees neither status nor headers (reference 1.5)."""
    joined: dict[str, str] = {}
    for name, text in headers:
        known = joined.get(name.lower())
        joined[name.lower()] = f"{known}, {text}" if known else text
    envelope = {"statusCode": status, "response": value, "headers": joined}
    return {**envelope, "rel": links} if links else envelope


def _encoded(asked: Wanted, value: Any, status: int, links: Links, headers: Headers) -> Response:
    context = Context(asked.callback, request.path, Leading(links, _given(_CREDENTIALS)))
    body = asked.format.encode(value, context)
    response = Response(body, status, content_type=asked.format.content_type)
    response.headers.extend(headers)
    response.headers.extend(_OF_FORMAT.get(asked.format.name, {}))
    return response


def _given(names: tuple[str, ...]) -> str:
    """Those of the request's parameters, as a query."""
    return query_of({name: request.args.get(name) for name in names})


def _header_safe(text: str) -> str:
    visible = "".join(character if character.isprintable() else " " for character in text)
    return visible.encode("latin-1", "replace").decode("latin-1")
