"""Ably's HTTP application, with its routes, and the applications of the other APIs beside it.

Thin: a route reads the request, calls the broker, and says what came of it.
"""

from quart import Response, current_app
from quart_trio import QuartTrio

from api import openapi, secure_transport
from api.application import new_application, on_raw_paths
from api.beams.application import beams_mount
from api.control import read_control
from api.matrix import application as matrix
from api.mounts import Mount, mounted
from api.push.guard import Guard
from api.push.matrix_target import Gateways
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


def create_app(
    broker: Broker,
    settings: ServerSettings,
    *,
    sandbox: bool = False,
    transports: Transports | None = None,
) -> QuartTrio:
    """`sandbox`: whoever reaches the server may make apps, and delete those (api.rest.apps).
    `transports`: what says which targets devices may have, and what browsers subscribe to."""
    app = new_application("tidelog", error_reply)
    app.config[SERVER_ID] = broker.series
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
    app.before_request(read_control)
    app.before_request(secure_transport.checked(settings))
    app.after_request(_say_who_answers)
    app.after_request(counting(broker))
    gateways = transports.gateways if transports else Gateways((), allow_loopback=False)
    others: tuple[Mount, ...] = (
        beams_mount(broker, settings, transports),
        matrix.mount(broker, settings, gateways),
    )
    app.asgi_app = on_raw_paths(mounted(app.asgi_app, others))  # type: ignore[method-assign, assignment]
    return app


async def _say_who_answers(response: Response) -> Response:
    response.headers["X-Ably-ServerId"] = current_app.config[SERVER_ID]
    return response
