"""The operations: pushers listed and set, channels listed, those of a pusher read and set."""

from collections.abc import Awaitable, Callable
from typing import Any

from quart import Blueprint, Response, request

from api.application import json_reply
from api.matrix import paths
from api.matrix.caller import Callers, User
from api.matrix.errors import MatrixError, Why
from api.matrix.reading import is_deletion, object_of, read_address, read_channels, read_pusher
from api.matrix.registrations import Registration, Registrations
from api.push.matrix_target import Gateways
from api.settings import ServerSettings
from broker import Broker, NotFound
from broker.matrix.rules import MatrixRules

VERSIONS = {"versions": ["v1.11"]}
View = Callable[..., Awaitable[Response]]


class Operations:
    def __init__(self, broker: Broker, settings: ServerSettings, gateways: Gateways) -> None:
        self._broker = broker
        self._callers = Callers(broker, settings.matrix_requests_max)
        self._registrations = Registrations(broker)
        self._gateways = gateways
        self._depth_max = settings.json_depth_max

    async def versions(self) -> Response:
        return json_reply(VERSIONS)

    async def list_pushers(self) -> Response:
        user = self._callers.user()
        pushers = [one.shown for one in await self._registrations.of_user(user)]
        return json_reply({"pushers": pushers})

    async def set_pusher(self) -> Response:
        user = self._callers.user()
        body = object_of(await request.data, self._depth_max)
        if is_deletion(body):
            await self._registrations.remove(user, read_address(body))
            return json_reply({})
        rules = self._rules(user.app)
        await self._registrations.put(user, read_pusher(body, rules, self._gateways), rules)
        return json_reply({})

    async def list_channels(self) -> Response:
        """Each with what a new pusher begins with."""
        return _channels(self._rules(self._callers.user().app).channels)

    async def list_device_channels(self, pushkey: str) -> Response:
        user = self._callers.user()
        rules = self._rules(user.app)
        found = _known(await self._found(user, pushkey))
        return _channels(await self._registrations.channels(user, found, rules))

    async def set_device_channels(self, pushkey: str) -> Response:
        user = self._callers.user()
        body = object_of(await request.data, self._depth_max)
        wanted = read_channels(body, self._rules(user.app))
        found = _known(await self._found(user, pushkey))
        try:
            await self._registrations.set_channels(user, found, wanted)
        except NotFound:
            raise _no_pusher() from None
        return json_reply({})

    def _rules(self, app: str) -> MatrixRules:
        return self._broker.matrix.rules(app)

    async def _found(self, user: User, raw: str) -> Registration | None:
        pushkey = paths.pushkey_of(raw)
        return None if pushkey is None else await self._registrations.with_pushkey(user, pushkey)


def routes(broker: Broker, settings: ServerSettings, gateways: Gateways) -> Blueprint:
    blueprint = Blueprint("push_matrix", __name__)
    does = Operations(broker, settings, gateways)
    table: tuple[tuple[str, tuple[str, ...], View], ...] = (
        ("GET", (paths.VERSIONS,), does.versions),
        ("GET", paths.PUSHERS, does.list_pushers),
        ("POST", paths.SET_PUSHER, does.set_pusher),
        ("GET", paths.CHANNELS, does.list_channels),
        ("GET", paths.DEVICE_CHANNELS, does.list_device_channels),
        ("POST", paths.DEVICE_CHANNELS, does.set_device_channels),
    )
    for method, aliases, view in table:
        for path in aliases:
            blueprint.add_url_rule(path, view.__name__, view, methods=[method])
    return blueprint


def _channels(statuses: dict[str, Any]) -> Response:
    return json_reply({"channels": [{"id": id_, "status": one} for id_, one in statuses.items()]})


def _known(found: Registration | None) -> Registration:
    if found is None:
        raise _no_pusher()
    return found


def _no_pusher() -> MatrixError:
    return MatrixError(Why.NOT_FOUND, "There is no pusher with this pushkey")
