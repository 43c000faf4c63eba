"""`/push/channelSubscriptions` and `/push/channels`: who gets a channel's notifications (RSH1c);
reference push.md 3.3.
"""

from typing import Annotated, Any

from msgspec import UNSET, Meta
from quart import Blueprint, Response, request

from api import parameters
from api.formats import decode_body
from api.operation import operation
from api.paging import Cursor, links_by_cursor, read_cursor
from api.parameters import Params
from api.replies import no_content, reply
from api.rest.channel_segment import named_channel
from api.rest.push_caller import caller, identified
from api.rest.push_reading import checked_id, fields_of
from api.rest.push_resources import LIMIT_MAX, Limit, NewSubscription
from api.rest.push_resources import Subscription as SubscriptionOnWire
from api.rest.resources import plain
from api.settings import ServerSettings
from broker import Broker
from broker.auth.credentials import Principal
from broker.errors import BadRequest
from broker.messages.history import LIMIT_DEFAULT
from broker.push import identity
from broker.push.events import Subscription

OF_DEVICE, OF_CLIENT = b"d", b"c"


class WhichSubscriptions(Params, frozen=True, kw_only=True):
    channel: Annotated[str | None, Meta(description="to this channel")] = None
    device_id: Annotated[str | None, Meta(description="of this device")] = None
    client_id: Annotated[str | None, Meta(description="of this client")] = None


class SubscriptionsParams(WhichSubscriptions, frozen=True, kw_only=True):
    concat_filters: Annotated[
        bool, Meta(description="those of the device and those of the client")
    ] = False
    limit: Limit = LIMIT_DEFAULT
    cursor: Cursor = ""


class ChannelsParams(Params, frozen=True, kw_only=True):
    limit: Limit = LIMIT_DEFAULT
    cursor: Cursor = ""


def routes(broker: Broker, settings: ServerSettings) -> Blueprint:
    blueprint = Blueprint("push_subscriptions", __name__)
    push = broker.push

    @blueprint.post("/push/channelSubscriptions")
    @operation(
        "subscribePushDeviceToChannel",
        "Subscribe a device, or all of a client's, to a channel's notifications",
        "Push",
        body=NewSubscription,
        answer=SubscriptionOnWire,
        status=201,
    )
    async def subscribe() -> Response:
        principal = caller(broker)
        fields = fields_of(decode_body(await request.data, request.content_type, settings))
        wanted = _read(fields)
        principal = identified(broker, principal, wanted.device_id)
        _require(broker, principal, wanted.device_id, wanted.client_id)
        await push.subscribe(principal.app_id, wanted)
        return reply(_on_wire(wanted), 201)

    @blueprint.get("/push/channelSubscriptions")
    @operation(
        "getPushSubscriptionsOnChannels",
        "Subscriptions, by pages",
        "Push",
        params=SubscriptionsParams,
        answer=list[SubscriptionOnWire],
        is_paged=True,
    )
    async def subscriptions() -> Response:
        principal = caller(broker)
        given = parameters.read(SubscriptionsParams, request.args)
        principal = identified(broker, principal, given.device_id)
        if given.device_id and given.client_id and not given.concat_filters:
            raise BadRequest("deviceId and clientId go together with concatFilters=true only")
        _require(broker, principal, given.device_id, given.client_id)
        limit = min(given.limit, LIMIT_MAX)
        found, following = await _page(broker, principal.app_id, given, limit)
        query = {
            "channel": given.channel,
            "deviceId": given.device_id,
            "clientId": given.client_id,
            "concatFilters": "true" if given.concat_filters else None,
            "limit": limit,
        }
        return reply(
            [_on_wire(one) for one in found],
            links=links_by_cursor("channelSubscriptions", query, given.cursor, following),
        )

    @blueprint.delete("/push/channelSubscriptions")
    @operation(
        "deletePushDeviceDetails",
        "Unsubscribe a device or a client from a channel, or from all",
        "Push",
        params=WhichSubscriptions,
        status=204,
    )
    async def unsubscribe() -> Response:
        principal = caller(broker)
        given = parameters.read(WhichSubscriptions, request.args)
        principal = identified(broker, principal, given.device_id)
        if bool(given.device_id) == bool(given.client_id):
            raise BadRequest("name the device or the client whose subscriptions are to go")
        _require(broker, principal, given.device_id, given.client_id)
        await push.unsubscribe(
            principal.app_id,
            channel=given.channel,
            device=given.device_id,
            client=given.client_id,
        )
        return no_content()

    @blueprint.get("/push/channels")
    @operation(
        "getChannelsWithPushSubscribers",
        "Channels that have subscriptions, by pages",
        "Push",
        params=ChannelsParams,
        answer=list[str],
        is_paged=True,
    )
    async def channels() -> Response:
        principal = caller(broker)
        identity.require_admin(principal)
        given = parameters.read(ChannelsParams, request.args)
        limit = min(given.limit, LIMIT_MAX)
        after = read_cursor(given.cursor)
        page = await push.lists.channels(principal.app_id, after=after, limit=limit)
        following = links_by_cursor("channels", {"limit": limit}, given.cursor, page.next)
        return reply(list(page.items), links=following)

    return blueprint


def _read(fields: Any) -> Subscription:
    """Raises BadRequest: 40010 the channel, 40000 anything else."""
    channel, device, client = (fields.get(n) for n in ("channel", "deviceId", "clientId"))
    if not isinstance(channel, str):
        raise BadRequest("a subscription names a channel")
    if bool(device) == bool(client):
        raise BadRequest("a subscription is of a deviceId or of a clientId")
    return Subscription(
        named_channel(channel),
        checked_id(device, "deviceId") if device else None,
        checked_id(client, "clientId") if client else None,
    )


def _require(
    broker: Broker, principal: Principal, device_id: str | None, client_id: str | None
) -> None:
    """Raises Unauthorized 40160 for who may not see to these subscriptions."""
    device = broker.push.device(principal.app_id, device_id) if device_id else None
    if device_id:
        identity.require_own(principal, device, device_id)
    # A device may ask what it is told as its client's, too (RSH7e).
    is_its_own = device is not None and device.client_id == client_id
    if client_id and not (is_its_own and identity.is_device(principal, device)):
        identity.require_client(principal, client_id)
    if not device_id and not client_id:
        identity.require_admin(principal)


async def _page(
    broker: Broker, app: str, given: SubscriptionsParams, limit: int
) -> tuple[list[Subscription], bytes | None]:
    """Those of the device come before those of the client; a cursor says which it is in."""
    cursor = read_cursor(given.cursor)
    if not (given.device_id and given.client_id):
        page = await broker.push.lists.subscriptions(
            app,
            channel=given.channel,
            device=given.device_id,
            client=given.client_id,
            after=cursor,
            limit=limit,
        )
        return list(page.items), page.next
    found: list[Subscription] = []
    parts: tuple[tuple[bytes, dict[str, Any]], ...] = (
        (OF_DEVICE, {"device": given.device_id}),
        (OF_CLIENT, {"client": given.client_id}),
    )
    for part, filters in parts:
        if cursor[:1] == OF_CLIENT and part == OF_DEVICE:
            continue
        after = cursor[1:] if cursor[:1] == part else b""
        room = limit - len(found)
        if not room:
            return found, part
        page = await broker.push.lists.subscriptions(
            app, channel=given.channel, after=after, limit=room, **filters
        )
        found += page.items
        if page.next is not None:
            return found, part + page.next
    return found, None


def _on_wire(subscription: Subscription) -> dict[str, Any]:
    device, client = subscription.device_id, subscription.client_id
    on_wire = SubscriptionOnWire(
        channel=subscription.channel,
        device_id=UNSET if device is None else device,
        client_id=UNSET if client is None else client,
    )
    return dict(plain(on_wire))
