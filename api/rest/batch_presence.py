"""`GET /presence`: who is on each of many channels (RSC24); reference 1.10."""

from typing import Annotated, Any

from msgspec import Meta
from quart import Blueprint, Response, request

from api import parameters
from api.authentication import authenticate
from api.operation import operation
from api.parameters import Params
from api.replies import reply
from api.rest import batches
from api.rest.channel_segment import named_channel
from api.rest.presence import may_see_members, member_on_wire
from api.rest.resources import BatchPresence, ChannelMembers, error_of, plain
from broker import Broker
from broker.auth.credentials import Principal
from broker.errors import BadRequest, BrokerError

TOO_MANY_CHANNELS = 90010
CHANNELS_MAX = 100
MEMBERS_MAX = 10_000  # of all channels together


class BatchPresenceParams(Params, frozen=True, kw_only=True):
    channels: Annotated[str | None, Meta(description="names of channels, separated")] = None
    channel: Annotated[str | None, Meta(description="the same")] = None
    separator: Annotated[str, Meta(min_length=1, max_length=16)] = ","


def routes(broker: Broker) -> Blueprint:
    blueprint = Blueprint("batch_presence", __name__)

    @blueprint.get("/presence")
    @operation(
        "getPresenceOfChannels",
        "Who is present on many channels",
        "Status",
        params=BatchPresenceParams,
        answer=(BatchPresence, list[ChannelMembers]),
    )
    async def members() -> Response:
        principal = authenticate(broker)
        names = _names(parameters.read(BatchPresenceParams, request.args))
        results: list[dict[str, Any]] = []
        room = MEMBERS_MAX
        for name in names:
            found = await _members(broker, principal, name, room)
            results.append(found)
            room -= len(found.get("presence", ()))
        if batches.is_counted():
            return reply(batches.counted(results))
        return batches.listed(results, 200)

    return blueprint


def _names(given: BatchPresenceParams) -> list[str]:
    """Raises BadRequest: 40000 none, 90010 too many."""
    listed = given.channels or given.channel or ""
    names = list(dict.fromkeys(name for name in listed.split(given.separator) if name))
    if not names:
        raise BadRequest("channels must name at least one channel")
    if len(names) > CHANNELS_MAX:
        raise BadRequest(f"more than {CHANNELS_MAX} channels in one batch", TOO_MANY_CHANNELS)
    return names


async def _members(broker: Broker, principal: Principal, name: str, room: int) -> dict[str, Any]:
    """As ChannelMembers."""
    try:
        channel = named_channel(name)
        may_see_members(principal, channel)
        page = await broker.members(principal.app_id, channel, limit=room or 1)
        if page.next is not None or len(page.members) > room:
            raise BadRequest(f"more than {MEMBERS_MAX} members in one batch; read them by pages")
    except BrokerError as error:
        if error.status >= 500:
            raise
        return {"channel": name, "error": plain(error_of(error))}
    return {"channel": name, "presence": [member_on_wire(member) for member in page.members]}
