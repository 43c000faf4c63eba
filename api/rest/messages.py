"""`/channels/{channel}/messages`: publish (RSL1) and history (RSL2); reference 1.7."""

from collections.abc import Mapping
from urllib.parse import unquote

import msgspec
from quart import Blueprint, Response, request

from api import parameters
from api.authentication import authenticate
from api.formats import decode_body
from api.paging import links
from api.replies import negotiated, reply
from api.settings import ServerSettings
from broker import Broker, Message, channel_name, serials, wire
from broker.errors import BadRequest
from broker.history import LIMIT_DEFAULT, HistoryQuery

INVALID_NAME = 40010
FORCED_NACK = 40099
UNKNOWN_POINT = 90008
DIRECTIONS = ("backwards", "forwards")


def routes(broker: Broker, settings: ServerSettings) -> Blueprint:
    blueprint = Blueprint("messages", __name__)

    @blueprint.post("/channels/<segment>/messages")
    async def publish(segment: str) -> Response:
        channel = channel_of(segment)
        principal = authenticate(broker)
        principal.require("publish", channel)
        body = await request.data
        messages = wire.read_messages(decode_body(body, request.content_type, settings))
        published = await broker.publish(principal, channel, with_flags(messages, request.args))
        answer = {
            "channel": channel,
            "messageId": published.message_id,
            "serials": list(published.serials),
        }
        return reply(answer, 201)

    @blueprint.get("/channels/<segment>/messages")
    async def history(segment: str) -> Response:
        channel = channel_of(segment)
        principal = authenticate(broker)
        query = history_query(request.args, broker)
        page = await broker.history(principal, channel, query)
        binary = negotiated().binary
        answer = [wire.to_wire(message, binary=binary) for message in page.messages]
        return reply(answer, headers=history_links(query, page.next, broker.series))

    return blueprint


def channel_of(segment: str) -> str:
    """The channel that a path segment names, percent-decoded only now, so that %2F stays in it.

    Raises BadRequest 40010, for qualified names too: what they qualify is an attachment.
    """
    try:
        name = unquote(segment, errors="strict")
    except UnicodeDecodeError:
        raise BadRequest("the channel name is not UTF-8", INVALID_NAME) from None
    parsed = channel_name.parse(name)
    if parsed.qualifier is not None:
        raise BadRequest("messages of a qualified channel cannot be addressed", INVALID_NAME)
    return parsed.name


def with_flags(messages: tuple[Message, ...], args: Mapping[str, str]) -> tuple[Message, ...]:
    """What publish parameters ask for: `ephemeral`, and the SDK suites' `_forceNack`."""
    if parameters.flag(args, "_forceNack"):
        raise BadRequest("refused because _forceNack was given", FORCED_NACK)
    if not parameters.flag(args, "ephemeral"):
        return messages
    return tuple(
        msgspec.structs.replace(message, extras={**(message.extras or {}), "ephemeral": True})
        for message in messages
    )


def history_query(args: Mapping[str, str], broker: Broker) -> HistoryQuery:
    """Every bound resolved, so that the links of this page describe it for good."""
    now_ms = broker.now()
    end = parameters.time_ms(args, "end", now_ms)
    limit = parameters.integer(args, "limit")
    direction = parameters.choice(args, "direction", DIRECTIONS)
    cursor = args.get("cursor")
    return HistoryQuery(
        start=parameters.time_ms(args, "start", now_ms) or 0,
        end=now_ms if end is None else end,
        direction="backwards" if direction == "backwards" else "forwards",
        limit=LIMIT_DEFAULT if limit is None else limit,
        cursor=serials.parse(cursor, broker.series) if cursor else None,
        until=_until(args.get("from_serial") or args.get("fromSerial"), broker.series),
    )


def _until(text: str | None, series: str) -> int | None:
    """An attach point (RTL10b): nothing behind it."""
    if not text:
        return None
    try:
        return serials.parse(text, series)
    except BadRequest:
        raise BadRequest("unknown attach point", UNKNOWN_POINT) from None


def history_links(
    query: HistoryQuery, following: HistoryQuery | None, series: str
) -> list[tuple[str, str]]:
    first = msgspec.structs.replace(query, cursor=None)
    pages = {
        "first": _link_query(first, series),
        "current": _link_query(query, series),
        "next": _link_query(following, series) if following else None,
    }
    return links("messages", pages)


def _link_query(query: HistoryQuery, series: str) -> dict[str, str]:
    fields = {
        "start": str(query.start),
        "end": str(query.end),
        "limit": str(query.limit),
        "direction": query.direction,
        "from_serial": serials.render(query.until, series) if query.until is not None else None,
        "cursor": serials.render(query.cursor, series) if query.cursor is not None else None,
    }
    return {name: value for name, value in fields.items() if value is not None}
