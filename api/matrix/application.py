"""The Matrix API as an application, and where it is mounted: see `api.matrix.paths`."""

from quart_trio import QuartTrio

from api import secure_transport
from api.application import new_application
from api.matrix import paths, routes
from api.matrix.errors import refuse
from api.mounts import Mount
from api.push.matrix_target import Gateways
from api.request_counting import counting
from api.settings import ServerSettings
from broker import Broker


def mount(broker: Broker, settings: ServerSettings, gateways: Gateways) -> Mount:
    app = _application(broker, settings, gateways)
    return Mount(app, paths.PREFIXES, paths.BASE, settings.matrix_hosts)


def _application(broker: Broker, settings: ServerSettings, gateways: Gateways) -> QuartTrio:
    app = new_application("tidelog-matrix", refuse)
    paths.add_converters(app)
    app.register_blueprint(routes.routes(broker, settings, gateways))
    app.before_request(secure_transport.checked(settings))
    app.after_request(counting(broker))
    return app
