"""`/channels/{channel}/presence`: who is there (RSP3), who came and went (RSP4); reference 1.11.

A page of members is found by where its last one stands in the broker's own order of them, so that
members who come and go between pages are neither repeated nor do they push others off a page.
"""

from base64 import b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

import msgspec
from quart import Blueprint, Response, request

from api import parameters
from api.authentication import authenticate
from api.paging import links
from api.replies import Headers, negotiated, reply
from api.rest.channel_segment import channel_of
from api.rest.history_paging import history_links, history_query
from broker import Broker
from broker.auth.credentials import Principal
from broker.channels.presence import PresenceAction
from broker.errors import BadRequest
from broker.messages import wire
from broker.messages.history import LIMIT_DEFAULT

CURSOR_BYTES_MAX = 64


class MembersQuery(msgspec.Struct, frozen=True, kw_only=True):
    """after: the cursor behind which the page begins."""

    limit: int
    client_id: str | None
    connection_id: str | None
    after: bytes = b""


def routes(broker: Broker) -> Blueprint:
    blueprint = Blueprint("presence", __name__)

    @blueprint.get("/channels/<segment>/presence")
    async def members(segment: str) -> Response:
        channel = channel_of(segment)
        principal = authenticate(broker)
        _may_see_members(principal, channel)
        query = members_query(request.args, broker)
        page = await broker.members(
            principal.app_id,
            channel,
            after=query.after,
            limit=query.limit,
            client_id=query.client_id,
            connection_id=query.connection_id,
        )
        told = [member.presence for member in page.members]
        broker.epoch.activity.read(principal.app_id, told, presence=True)
        binary = negotiated().binary
        answer = [
            wire.presence_to_wire(
                member.presence, PresenceAction.PRESENT, member.timestamp, binary=binary
            )
            for member in page.members
        ]
        return reply(answer, headers=_members_links(query, page.next))

    @blueprint.get("/channels/<segment>/presence/history")
    async def history(segment: str) -> Response:
        channel = channel_of(segment)
        principal = authenticate(broker)
        query = history_query(request.args, broker)
        page = await broker.presence_history(principal, channel, query)
        told = [item.presence for item in page.items]
        broker.epoch.activity.read(principal.app_id, told, presence=True)
        binary = negotiated().binary
        answer = [
            wire.presence_to_wire(item.presence, item.action, item.timestamp, binary=binary)
            for item in page.items
        ]
        return reply(answer, headers=history_links("history", query, page.next, broker.series))

    return blueprint


def _may_see_members(principal: Principal, channel: str) -> None:
    """To subscribe is to see who is there; so is to be there (reference 2.5)."""
    if not principal.capability.permits("presence", channel):
        principal.require("subscribe", channel)


def members_query(args: Mapping[str, str], broker: Broker) -> MembersQuery:
    """Raises BadRequest 40003 for a limit out of range and a cursor that is none of ours."""
    limit, limit_max = parameters.integer(args, "limit"), broker.settings.history_limit_max
    if limit is not None and not 0 < limit <= limit_max:
        raise BadRequest(f"limit must be between 1 and {limit_max}", parameters.INVALID_VALUE)
    return MembersQuery(
        limit=min(LIMIT_DEFAULT, limit_max) if limit is None else limit,
        client_id=args.get("clientId") or None,
        connection_id=args.get("connectionId") or None,
        after=_cursor(args.get("cursor", "")),
    )


def _cursor(text: str) -> bytes:
    try:
        cursor = b64decode(text, altchars=b"-_", validate=True)
    except ValueError:  # binascii.Error is one
        cursor = None
    if cursor is None or len(cursor) > CURSOR_BYTES_MAX:
        raise BadRequest("unknown cursor", parameters.INVALID_VALUE)
    return cursor


def _members_links(query: MembersQuery, following: bytes | None) -> Headers:
    pages = {
        "first": _link_query(query, b""),
        "current": _link_query(query, query.after),
        "next": _link_query(query, following) if following else None,
    }
    return links("presence", pages)


def _link_query(query: MembersQuery, after: bytes) -> dict[str, str]:
    fields: dict[str, Any] = {
        "limit": str(query.limit),
        "clientId": query.client_id,
        "connectionId": query.connection_id,
        "cursor": urlsafe_b64encode(after).decode() or None,
    }
    return {name: value for name, value in fields.items() if value is not None}
