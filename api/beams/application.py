"""The application of Beams' API: its routes, its shape of errors, and the paths that are its own.

The instance is named by the path, never by the host. Unlike Ably's, this API has one format, JSON,
and answers every success with 200.
"""

from quart import Response

from api import secure_transport
from api.application import new_application
from api.beams import customer, device_user, devices, interests, publish, reporting, web_key
from api.beams.caller import Callers
from api.beams.errors import NO_INSTANCE_ID, BeamsError, refuse
from api.beams.paths import PREFIXES, take_empty_segments
from api.mounts import Mount
from api.push.guard import Guard
from api.push.transports import Transports
from api.request_counting import counting
from api.settings import ServerSettings
from broker import Broker

METHODS = ["GET", "POST", "PUT", "DELETE"]


def beams_mount(broker: Broker, settings: ServerSettings, transports: Transports | None) -> Mount:
    """`transports`: what says which targets devices may have, and which platforms are served."""
    app = new_application("tidelog_beams", refuse)
    take_empty_segments(app)
    callers, guard = Callers(broker), transports.guard if transports else Guard()
    app.register_blueprint(web_key.routes(broker, transports))
    app.register_blueprint(devices.routes(broker, settings, guard, transports))
    app.register_blueprint(device_user.routes(broker))
    app.register_blueprint(interests.routes(broker, settings))
    app.register_blueprint(publish.routes(broker, settings, guard, callers))
    app.register_blueprint(customer.routes(broker, callers))
    app.register_blueprint(reporting.routes(broker, settings))
    for prefix in PREFIXES:
        app.add_url_rule(f"{prefix}/instances", prefix, _no_instance, methods=METHODS)
    app.before_request(secure_transport.checked(settings))
    app.after_request(counting(broker))
    return Mount(app, PREFIXES)


async def _no_instance() -> Response:
    raise BeamsError(NO_INSTANCE_ID)
