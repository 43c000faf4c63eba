"""The HTTP application: routes, and what holds for every request whatever its route.

Thin: a route reads the request, calls the broker, and says what came of it. Errors are mapped here
once. An exception that is not a BrokerError is our bug: a 500 without details for the client, a
trace for the operator.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from quart import Response, current_app, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from api import openapi, secure_transport
from api.control import read_control
from api.push.guard import Guard
from api.push.transports import Transports
from api.replies import SERVER_ID, error_reply
from api.request_counting import counting
from api.rest import (
    annotations,
    apps,
    batch_presence,
    batch_publish,
    channels,
    comet,
    documentation,
    message,
    messages,
    presence,
    push_device_list,
    push_devices,
    push_publish,
    push_subscriptions,
    push_vapid,
    service,
    stats,
    stats_fixtures,
    tokens,
)
from api.settings import ServerSettings
from broker import Broker
from broker.errors import BadRequest, BrokerError, NotFound

METHOD_NOT_ALLOWED = 40500
INTERNAL = 50000
logger = logging.getLogger("tidelog.http")

Asgi = Callable[[Any, Any, Any], Awaitable[None]]


def create_app(
    broker: Broker,
    settings: ServerSettings,
    *,
    sandbox: bool = False,
    transports: Transports | None = None,
) -> QuartTrio:
    """`sandbox`: whoever reaches the server may make apps, and delete those (api.rest.apps).
    `transports`: what says which targets devices may have, and what browsers subscribe to."""
    app = QuartTrio("tidelog", static_folder=None)
    # Sizes and times of requests and replies are bounded by the listener, for every route alike.
    app.config.update(MAX_CONTENT_LENGTH=None, BODY_TIMEOUT=None, RESPONSE_TIMEOUT=None)
    app.config[SERVER_ID] = broker.series
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False  # an empty channel name is not a slash too many
    app.register_blueprint(service.routes(broker))
    app.register_blueprint(channels.routes(broker))
    app.register_blueprint(messages.routes(broker, settings))
    app.register_blueprint(message.routes(broker, settings))
    app.register_blueprint(annotations.routes(broker, settings))
    app.register_blueprint(batch_publish.routes(broker, settings))
    app.register_blueprint(presence.routes(broker))
    app.register_blueprint(batch_presence.routes(broker))
    app.register_blueprint(tokens.routes(broker, settings))
    app.register_blueprint(stats.routes(broker))
    guard = transports.guard if transports else Guard()
    app.register_blueprint(push_devices.routes(broker, settings, guard))
    app.register_blueprint(push_device_list.routes(broker))
    app.register_blueprint(push_subscriptions.routes(broker, settings))
    app.register_blueprint(push_publish.routes(broker, settings, guard))
    app.register_blueprint(push_vapid.routes(broker, transports))
    app.register_blueprint(comet.routes())
    if sandbox:
        app.register_blueprint(apps.routes(broker, settings))
        app.register_blueprint(stats_fixtures.routes(broker, settings))
    app.register_blueprint(documentation.routes(app))
    list(openapi.endpoints(app))  # raises for a route that does not say what it is
    app.before_request(_options)
    app.before_request(read_control)
    app.before_request(secure_transport.checked(settings))
    app.after_request(_say_who_answers)
    app.after_request(counting(broker))
    app.register_error_handler(BrokerError, _refused)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _bug)
    app.asgi_app = _raw_paths(app.asgi_app)  # type: ignore[method-assign, assignment]
    return app


def _raw_paths(inner: Asgi) -> Asgi:
    """Route on the path as it was sent: an encoded slash belongs to a channel's name."""

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope = {**scope, "path": scope["raw_path"].decode("latin-1")}
        await inner(scope, receive, send)

    return asgi


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


async def _say_who_answers(response: Response) -> Response:
    response.headers["X-Ably-ServerId"] = current_app.config[SERVER_ID]
    return response


async def _refused(error: BrokerError) -> Response:
    if error.status >= 500:
        logger.error("%s %s: %s", request.method, request.path, error.message)
    return error_reply(error)


async def _http_error(error: HTTPException) -> Response:
    """What the router refuses, in our words."""
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted({*(error.valid_methods or ()), "OPTIONS"}))
        refusal: BrokerError = BadRequest("method not allowed", METHOD_NOT_ALLOWED, 405)
        return error_reply(refusal, [("Allow", allowed)])
    if error.code == 404:
        return error_reply(NotFound("there is nothing at this path"))
    status = error.code or 500
    return error_reply(BadRequest(error.name, status * 100, status))


async def _bug(error: Exception) -> Response:
    logger.error("unexpected error in %s %s", request.method, request.path, exc_info=error)
    return error_reply(BrokerError("internal error", INTERNAL, 500))
