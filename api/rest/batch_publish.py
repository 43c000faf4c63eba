"""`POST /messages`: messages to many channels in one request (RSC22); reference 1.10.

Everything in the body is read before anything is published. Each channel of each spec is a publish
of its own then: one that is refused says so in its place, and the others go through, all in one
commit.
"""

from typing import Any

import msgspec
from quart import Blueprint, Response, request

from api.authentication import authenticate
from api.formats import decode_body
from api.operation import operation
from api.replies import reply
from api.rest import batches
from api.rest.bodies import BatchSpec
from api.rest.channel_segment import named_channel
from api.rest.resources import BatchResult, ChannelResult, error_of
from api.settings import ServerSettings
from broker import Broker, Message
from broker.auth.credentials import Principal
from broker.errors import BadRequest, BrokerError
from broker.messages import wire
from broker.messages.publish import TOO_MANY_MESSAGES
from broker.publisher import Published

TOO_MANY_CHANNELS = 90010
UNREADABLE = 40001
SPECS_MAX = 100
CHANNELS_MAX = 100  # different ones in a request


class Spec(msgspec.Struct, frozen=True):
    """`channels`: their names as they came, each once."""

    channels: tuple[str, ...]
    messages: tuple[Message, ...]


def routes(broker: Broker, settings: ServerSettings) -> Blueprint:
    blueprint = Blueprint("batch_publish", __name__)

    @blueprint.post("/messages")
    @operation(
        "publishBatch",
        "Publish messages to many channels",
        "Publishing",
        body=BatchSpec | list[BatchSpec],
        answer=(list[BatchResult], list[ChannelResult]),
        status=201,
    )
    async def publish() -> Response:
        principal = authenticate(broker)
        body = decode_body(await request.data, request.content_type, settings)
        specs = read_specs(body, broker.settings.batch_messages_max)
        answers = await _published(broker, principal, specs)
        if batches.is_counted():
            return reply([batches.counted(results) for results in answers], 201)
        return batches.listed([result for results in answers for result in results], 201)

    return blueprint


def read_specs(body: Any, messages_max: int) -> list[Spec]:
    """Raises BadRequest: 40001 no specs; 90010 too many channels; 40034 too many messages; and as
    `wire.read_messages`. It says which spec it was."""
    items = body if isinstance(body, list) else [body]
    if not 1 <= len(items) <= SPECS_MAX:
        raise BadRequest(f"a batch has 1 to {SPECS_MAX} specs", UNREADABLE)
    specs = [_read_spec(index, item) for index, item in enumerate(items)]
    if len({channel for spec in specs for channel in spec.channels}) > CHANNELS_MAX:
        raise BadRequest(f"more than {CHANNELS_MAX} channels in one batch", TOO_MANY_CHANNELS)
    if sum(len(spec.channels) * len(spec.messages) for spec in specs) > messages_max:
        reason = f"more than {messages_max} messages to publish in one batch"
        raise BadRequest(reason, TOO_MANY_MESSAGES)
    return specs


def _read_spec(index: int, item: Any) -> Spec:
    if not isinstance(item, dict):
        raise BadRequest(f"spec {index}: it must be an object", UNREADABLE)
    try:
        return Spec(_channels(item.get("channels")), wire.read_messages(item.get("messages")))
    except BadRequest as error:
        reason = f"spec {index}: {error.message}"
        raise BadRequest(reason, error.code, error.status) from None


def _channels(given: Any) -> tuple[str, ...]:
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise BadRequest("channels must be a channel's name or an array of them", UNREADABLE)
    return tuple(dict.fromkeys(names))


async def _published(
    broker: Broker, principal: Principal, specs: list[Spec]
) -> list[list[ChannelResult]]:
    """A result for each channel of each spec."""
    named = [_named(name) for spec in specs for name in spec.channels]
    messages = [spec.messages for spec in specs for _ in spec.channels]
    publishes = [
        (name, of_spec)
        for name, of_spec in zip(named, messages, strict=True)
        if not isinstance(name, BrokerError)
    ]
    published = iter(await broker.publish_each(principal, publishes))
    outcomes = iter(name if isinstance(name, BrokerError) else next(published) for name in named)
    return [[_result(name, next(outcomes)) for name in spec.channels] for spec in specs]


def _named(name: str) -> str | BrokerError:
    try:
        return named_channel(name)
    except BrokerError as error:
        return error


def _result(channel: str, outcome: Published | BrokerError) -> ChannelResult:
    if isinstance(outcome, BrokerError):
        return ChannelResult(channel=channel, error=error_of(outcome))
    return ChannelResult(
        channel=channel, message_id=outcome.message_id, serials=list(outcome.serials)
    )
