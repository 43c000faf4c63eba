"""`/channels/{channel}/messages`: publish (RSL1) and history (RSL2); reference 1.7."""

from collections.abc import Mapping

import msgspec
from quart import Blueprint, Response, request

from api import parameters
from api.authentication import authenticate
from api.formats import decode_body
from api.replies import negotiated, reply
from api.rest.channel_segment import channel_of
from api.rest.history_paging import history_links, history_query
from api.settings import ServerSettings
from broker import Broker, Message
from broker.errors import BadRequest
from broker.messages import wire

FORCED_NACK = 40099


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
        broker.epoch.activity.read(principal.app_id, page.messages)
        binary = negotiated().binary
        answer = [wire.to_wire(message, binary=binary) for message in page.messages]
        return reply(answer, headers=history_links("messages", query, page.next, broker.series))

    return blueprint


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
