"""`/channels`: which are active (reference 1.6.4), and the status of one (1.6.3, CHD)."""

from typing import Annotated, Any, Literal
from urllib.parse import quote

from msgspec import Meta, to_builtins
from quart import Blueprint, Response, request

from api import parameters
from api.authentication import authenticate
from api.operation import operation
from api.paging import Cursor, links_by_cursor, page_limit, read_cursor
from api.parameters import Count, Params
from api.replies import reply
from api.rest.channel_segment import channel_of
from api.rest.resources import ChannelDetails
from broker import Broker
from broker.messages.history import LIMIT_DEFAULT

NAMES_SINCE = 3


class ChannelsParams(Params, frozen=True, kw_only=True):
    limit: Annotated[
        Count,
        Meta(description="channels of a page; 1000 unless the operator says otherwise is the most"),
    ] = LIMIT_DEFAULT
    prefix: Annotated[str, Meta(description="only channels whose names begin with it")] = ""
    by: Annotated[
        Literal["id", "value"] | None,
        Meta(
            description="names, or the details of each; when absent, names from version 3 on and "
            "details before"
        ),
    ] = None
    cursor: Cursor = ""


def routes(broker: Broker) -> Blueprint:
    blueprint = Blueprint("channels", __name__)

    @blueprint.get("/channels")
    @operation(
        "getMetadataOfAllChannels",
        "The active channels, in the order of their names, by pages",
        "Status",
        params=ChannelsParams,
        answer=list[str | ChannelDetails],
        is_paged=True,
    )
    async def enumerate_() -> Response:
        principal = authenticate(broker)
        principal.require_app_wide("channel-metadata")
        given = parameters.read(ChannelsParams, request.args)
        by = given.by or _by_default()
        page = await broker.active_channels(
            principal.app_id,
            prefix=given.prefix,
            after=read_cursor(given.cursor),
            limit=page_limit(given.limit, broker.settings.history_limit_max),
        )
        answer = (
            list(page.names)
            if by == "id"
            else [_details(broker, principal.app_id, name) for name in page.names]
        )
        query = {"limit": given.limit, "prefix": given.prefix or None, "by": by}
        following = links_by_cursor("channels", query, given.cursor, page.next)
        return reply(answer, links=following)

    @blueprint.get("/channels/<channel_id>")
    @operation(
        "getMetadataOfChannel",
        "The status of a channel",
        "Status",
        answer=ChannelDetails,
    )
    async def status(channel_id: str) -> Response:
        """Every channel is active, whether used before or not: asking is a use of it."""
        channel = channel_of(channel_id)
        principal = authenticate(broker)
        principal.require("channel-metadata", channel)
        return reply(_details(broker, principal.app_id, channel))

    return blueprint


def _by_default() -> str:
    version = parameters.version(request.headers.get("X-Ably-Version"), request.args)
    return "id" if version >= NAMES_SINCE else "value"


def _details(broker: Broker, app: str, channel: str) -> dict[str, Any]:
    """As ChannelDetails. The numbers are there twice: for SDKs, and as the first API had them."""
    metrics = to_builtins(broker.occupancy(app, channel))
    return {
        "channelId": channel,
        "name": channel,
        "href": f"/channels/{quote(channel, safe='')}",
        "status": {"isActive": True, "occupancy": {**metrics, "metrics": metrics}},
    }
