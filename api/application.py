"""The Quart application that every API here starts from: errors, and what holds for any route.

Errors are mapped once, each API in its own shape (`refuse`). An exception that is not a BrokerError
is our bug: a 500 without details for the client, a trace for the operator. The log names the route,
not the path: a pushkey, or the id of a device of Beams, is as good as a credential.
"""

import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any

from quart import Response, current_app, g, request
from quart.routing import QuartRule
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from api import codec
from broker.errors import BadRequest, BrokerError, NotFound

METHOD_NOT_ALLOWED = 40500
ABSOLUTE = re.compile(r"https?://[^/]*", re.IGNORECASE)
INTERNAL = 50000
Asgi = Callable[[Any, Any, Any], Awaitable[None]]
Headers = list[tuple[str, str]]
Refuse = Callable[[BrokerError, Headers], Response]
JSON = "application/json"
logger = logging.getLogger("tidelog.http")


class _Rule(QuartRule):
    """A route that is found and never built: no URL of ours comes from a route, and the code with
    which werkzeug would build one is four fifths of what an application costs to make."""

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        return _never_built


def _never_built(*_: object, **__: object) -> tuple[str, str]:
    raise NotImplementedError("URLs are not built from routes here (api.application)")


class _Application(QuartTrio):
    url_rule_class = _Rule  # type: ignore[assignment]  # Quart's own says the same


def new_application(name: str, refuse: Refuse) -> QuartTrio:
    """`refuse`: an error as the API says it, with these headers."""
    app = _Application(name, static_folder=None)
    # Sizes and times of requests and replies are bounded by the listener, for every route alike.
    app.config.update(MAX_CONTENT_LENGTH=None, BODY_TIMEOUT=None, RESPONSE_TIMEOUT=None)
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False  # an empty channel name is not a slash too many
    app.before_request(_options)
    _handle_errors(app, refuse)
    return app


def json_reply(value: Any, status: int = 200, headers: Headers | None = None) -> Response:
    """For an API that has this one format."""
    response = Response(codec.encode_json(value), status, content_type=JSON)
    response.headers.extend(headers or [])
    return response


def on_raw_paths(inner: Asgi) -> Asgi:
    """Route on the path as it was sent: an encoded slash belongs to a name."""

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope = {**scope, "path": path_of(scope["raw_path"])}
        await inner(scope, receive, send)

    return asgi


def path_of(target: bytes) -> str:
    """Of a request target without its query: proxies may name the whole URL (RFC 9112 3.2.2)."""
    text = target.decode("latin-1")
    whole = ABSOLUTE.match(text)
    return (text[whole.end() :] or "/") if whole else text


def _handle_errors(app: QuartTrio, refuse: Refuse) -> None:
    def answer(error: BrokerError, headers: Headers) -> Response:
        g.refused_code = error.code  # api.request_counting
        return refuse(error, headers)

    async def refused(error: BrokerError) -> Response:
        if error.status >= 500:
            logger.error("%s: %s", _route(), error.message)
        return answer(error, [])

    async def http_error(error: HTTPException) -> Response:
        """What the router refuses, in our words."""
        if isinstance(error, MethodNotAllowed):
            allowed = ", ".join(sorted({*(error.valid_methods or ()), "OPTIONS"}))
            refusal: BrokerError = BadRequest("method not allowed", METHOD_NOT_ALLOWED, 405)
            return answer(refusal, [("Allow", allowed)])
        if error.code == 404:
            return answer(NotFound("there is nothing at this path"), [])
        status = error.code or 500
        return answer(BadRequest(error.name, status * 100, status), [])

    async def bug(error: Exception) -> Response:
        logger.error("unexpected error in %s", _route(), exc_info=error)
        return answer(BrokerError("internal error", INTERNAL, 500), [])

    app.register_error_handler(BrokerError, refused)
    app.register_error_handler(HTTPException, http_error)
    app.register_error_handler(Exception, bug)


def _route() -> str:
    return f"{request.method} {request.url_rule or 'of no route'}"


async def _options() -> Response | None:
    """For every path. What a browser asks with it (CORS), api.cross_origin answers."""
    if request.method != "OPTIONS":
        return None
    routes = current_app.create_url_adapter(request)
    methods = routes.allowed_methods() if routes else ()
    response = Response(b"", 204, headers={"Allow": ", ".join(sorted(methods))})
    for about_a_body in ("Content-Type", "Content-Length"):  # there is none (RFC 9110 8.6)
        response.headers.pop(about_a_body, None)
    return response
