"""`/channels/{channel}/presence`: who is there (RSP3), who came and went (RSP4); reference 1.11.

A page of members is found by where its last one stands in the broker's own order of them, so that
members who come and go between pages are neither repeated nor do they push others off a page.
"""

from typing import Annotated, Any

from msgspec import Meta
from quart import Blueprint, Response, request

from api import parameters
from api.authentication import authenticate
from api.control import wanted
from api.operation import operation
from api.paging import Cursor, links_by_cursor, page_limit, read_cursor
from api.parameters import Count, Params
from api.replies import reply
from api.rest.channel_segment import channel_of
from api.rest.history_paging import HistoryParams, history_links, history_query
from api.rest.resources import PresenceMessage
from broker import Broker
from broker.auth.credentials import Principal
from broker.channels.presence import Member, PresenceAction
from broker.messages import wire
from broker.messages.history import LIMIT_DEFAULT


class MembersParams(Params, frozen=True, kw_only=True):
    limit: Annotated[
        Count,
        Meta(description="members of a page; 1000 unless the operator says otherwise is the most"),
    ] = LIMIT_DEFAULT
    client_id: Annotated[str | None, Meta(description="only this client's")] = None
    connection_id: Annotated[str | None, Meta(description="only this connection's")] = None
    cursor: Cursor = ""


def routes(broker: Broker) -> Blueprint:
    blueprint = Blueprint("presence", __name__)

    @blueprint.get("/channels/<channel_id>/presence")
    @operation(
        "getPresenceOfChannel",
        "Who is present on a channel, by pages",
        "Status",
        params=MembersParams,
        answer=list[PresenceMessage],
        is_paged=True,
    )
    async def members(channel_id: str) -> Response:
        channel = channel_of(channel_id)
        principal = authenticate(broker)
        may_see_members(principal, channel)
        given = parameters.read(MembersParams, request.args)
        page = await broker.members(
            principal.app_id,
            channel,
            after=read_cursor(given.cursor),
            limit=page_limit(given.limit, broker.settings.history_limit_max),
            client_id=given.client_id,
            connection_id=given.connection_id,
        )
        told = [member.presence for member in page.members]
        broker.epoch.activity.read(principal.app_id, told, presence=True)
        answer = [member_on_wire(member) for member in page.members]
        query = {
            "limit": given.limit,
            "clientId": given.client_id,
            "connectionId": given.connection_id,
        }
        following = links_by_cursor("presence", query, given.cursor, page.next)
        return reply(answer, links=following)

    @blueprint.get("/channels/<channel_id>/presence/history")
    @operation(
        "getPresenceHistoryOfChannel",
        "Who came and went on a channel, by pages",
        "History",
        params=HistoryParams,
        answer=list[PresenceMessage],
        is_paged=True,
    )
    async def history(channel_id: str) -> Response:
        channel = channel_of(channel_id)
        principal = authenticate(broker)
        query = history_query(parameters.read(HistoryParams, request.args), broker)
        page = await broker.presence_history(principal, channel, query)
        told = [item.presence for item in page.items]
        broker.epoch.activity.read(principal.app_id, told, presence=True)
        binary = wanted().format.binary
        answer = [
            wire.presence_to_wire(item.presence, item.action, item.timestamp, binary=binary)
            for item in page.items
        ]
        return reply(answer, links=history_links("history", query, page.next, broker.series))

    return blueprint


def may_see_members(principal: Principal, channel: str) -> None:
    """To subscribe is to see who is there; so is to be there (reference 2.5)."""
    if not principal.capability.permits("presence", channel):
        principal.require("subscribe", channel)


def member_on_wire(member: Member) -> dict[str, Any]:
    """As PresenceMessage, in the format of the reply."""
    return wire.presence_to_wire(
        member.presence,
        PresenceAction.PRESENT,
        member.timestamp,
        binary=wanted().format.binary,
    )
