"""`/push/deviceRegistrations`: the devices of an app, and removing them (RSH1b, RSH3d); reference
push.md 3.3.
"""

from collections.abc import Sequence
from typing import Annotated
from urllib.parse import unquote

from msgspec import Meta
from quart import Blueprint, Response, request

from api import parameters
from api.operation import operation
from api.paging import Cursor, links_by_cursor, read_cursor
from api.parameters import Params
from api.replies import no_content, reply
from api.rest.push_caller import caller, identified
from api.rest.push_described import described
from api.rest.push_resources import LIMIT_MAX, DeviceDetails, Limit
from broker import Broker
from broker.errors import BadRequest
from broker.messages.history import LIMIT_DEFAULT
from broker.push import identity
from broker.push.events import Device


class WhichDevices(Params, frozen=True, kw_only=True):
    device_id: Annotated[str | None, Meta(description="this one")] = None
    client_id: Annotated[str | None, Meta(description="those of this client")] = None


class DevicesParams(WhichDevices, frozen=True, kw_only=True):
    limit: Limit = LIMIT_DEFAULT
    cursor: Cursor = ""


def routes(broker: Broker) -> Blueprint:
    blueprint = Blueprint("push_device_list", __name__)
    push = broker.push

    @blueprint.get("/push/deviceRegistrations")
    @operation(
        "getRegisteredPushDevices",
        "The devices of the app, by pages",
        "Push",
        params=DevicesParams,
        answer=list[DeviceDetails],
        is_paged=True,
    )
    async def devices() -> Response:
        principal = caller(broker)
        identity.require_admin(principal)
        given = parameters.read(DevicesParams, request.args)
        limit = min(given.limit, LIMIT_MAX)
        found, following = await _page(broker, principal.app_id, given, limit)
        query = {"limit": limit, "deviceId": given.device_id, "clientId": given.client_id}
        return reply(
            [described(broker, principal, device) for device in found],
            links=links_by_cursor("deviceRegistrations", query, given.cursor, following),
        )

    @blueprint.delete("/push/deviceRegistrations/<device_id>")
    @operation("unregisterPushDevice", "Unregister a device", "Push", status=204)
    async def remove(device_id: str) -> Response:
        id_ = unquote(device_id)
        principal = caller(broker, id_)
        identity.require_own(principal, push.device(principal.app_id, id_), id_)
        await push.remove(principal.app_id, device=id_)
        return no_content()

    @blueprint.delete("/push/deviceRegistrations")
    @operation(
        "unregisterAllPushDevices",
        "Unregister a device, those of a client, or, by an admin, all",
        "Push",
        params=WhichDevices,
        status=204,
    )
    async def remove_where() -> Response:
        principal = caller(broker)
        given = parameters.read(WhichDevices, request.args)
        principal = identified(broker, principal, given.device_id)
        if given.device_id is not None and given.client_id is not None:
            raise BadRequest("name a device or a client, not both")
        if given.device_id is not None:
            device = push.device(principal.app_id, given.device_id)
            identity.require_own(principal, device, given.device_id)
        elif given.client_id is not None:
            identity.require_client(principal, given.client_id)
        else:
            identity.require_admin(principal)
        await push.remove(principal.app_id, device=given.device_id, client=given.client_id)
        return no_content()

    return blueprint


async def _page(
    broker: Broker, app: str, given: DevicesParams, limit: int
) -> tuple[Sequence[Device], bytes | None]:
    if given.device_id is not None:
        one = broker.push.device(app, given.device_id)
        is_wanted = one is not None and given.client_id in (None, one.client_id)
        return ((one,) if one and is_wanted else ()), None
    after = read_cursor(given.cursor)
    page = await broker.push.lists.devices(app, client=given.client_id, after=after, limit=limit)
    return page.items, page.next
