"""`/channels/{channel}/messages`: publish (RSL1) and history (RSL2); reference 1.7."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, field
from quart import Blueprint, Response, request

from api import parameters
from api.authentication import authenticate
from api.control import wanted
from api.formats import decode_body
from api.operation import operation
from api.replies import reply
from api.rest import unenveloped
from api.rest.bodies import PublishedMessage
from api.rest.channel_segment import channel_of, viewed_channel
from api.rest.history_paging import HistoryParams, history_links, history_query
from api.rest.resources import Message as MessageOnWire
from api.rest.resources import PublishResult, plain
from api.settings import ServerSettings
from broker import Broker, Message
from broker.auth.credentials import Principal
from broker.errors import BadRequest
from broker.messages import wire

FORCED_NACK = 40099


class PublishParams(unenveloped.UnenvelopedParams, frozen=True, kw_only=True):
    ephemeral: Annotated[bool, Meta(description="as if each had extras.ephemeral")] = False
    forced_nack: Annotated[bool, Meta(description="refuse the publish, for tests of clients")] = (
        field(default=False, name="_forceNack")
    )


def routes(broker: Broker, settings: ServerSettings) -> Blueprint:
    blueprint = Blueprint("messages", __name__)

    @blueprint.post("/channels/<channel_id>/messages")
    @operation(
        "publishMessagesToChannel",
        "Publish a message, or several",
        "Publishing",
        params=PublishParams,
        body=PublishedMessage | list[PublishedMessage],
        raw_bodies=unenveloped.TYPES,
        answer=PublishResult,
        status=201,
    )
    async def publish(channel_id: str) -> Response:
        channel = channel_of(channel_id)
        given = parameters.read(PublishParams, request.args)
        principal = authenticate(broker)
        principal.require("publish", channel)
        body = await request.data
        if given.enveloped:
            decoded = decode_body(body, request.content_type, settings)
            only = decoded[0] if isinstance(decoded, list) and len(decoded) == 1 else decoded
            if wire.is_change(only):
                return await _changed(broker, principal, channel, only)
            messages = wire.read_messages(decoded)
        else:
            messages = (unenveloped.message(body, given, settings),)
        published = await broker.publish(principal, channel, _with_flags(messages, given))
        result = PublishResult(
            channel=channel, message_id=published.message_id, serials=list(published.serials)
        )
        return reply(plain(result), 201)

    @blueprint.get("/channels/<channel_id>/messages")
    @operation(
        "getMessagesByChannel",
        "Messages of a channel, by pages",
        "History",
        params=HistoryParams,
        answer=list[MessageOnWire],
        is_paged=True,
    )
    async def history(channel_id: str) -> Response:
        channel, selected = viewed_channel(channel_id)
        principal = authenticate(broker)
        query = history_query(parameters.read(HistoryParams, request.args), broker)
        principal.require("history", channel.sent)
        page = await broker.read_history(principal.app_id, channel.name, query, selected)
        broker.epoch.activity.read(principal.app_id, page.messages)
        binary = wanted().format.binary
        answer = [wire.to_wire(message, binary=binary) for message in page.messages]
        return reply(answer, links=history_links("messages", query, page.next, broker.series))

    return blueprint


async def _changed(
    broker: Broker, principal: Principal, channel: str, body: dict[str, Any]
) -> Response:
    """A message with an action and a serial is a change, here too (reference 1.7.1)."""
    version = await broker.editor.change(principal, channel, wire.read_change(body))
    result = PublishResult(channel=channel, message_id=body["serial"], serials=[version])
    return reply(plain(result), 201)


def _with_flags(messages: tuple[Message, ...], given: PublishParams) -> tuple[Message, ...]:
    """What publish parameters ask for: `ephemeral`, and the SDK suites' `_forceNack`."""
    if given.forced_nack:
        raise BadRequest("refused because _forceNack was given", FORCED_NACK)
    if not given.ephemeral:
        return messages
    return tuple(
        msgspec.structs.replace(message, extras={**(message.extras or {}), "ephemeral": True})
        for message in messages
    )
