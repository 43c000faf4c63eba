"""What may be published: the rules of one publish request, before anything is decided or appended.

Every rule here can be judged from the request and its principal alone. Rules that need state (was
this id published before, is the channel's namespace mutable) belong to `decide`, in the log's
transaction.

Invariants: `validate` returns messages that are complete and storable as they are, or raises and
nothing has happened; what it returns differs from what it was given only by the implied client id
and by payloads brought to their stored form.

Refuses to do: judge extras (`broker.messages.extras`), parse wire formats (`broker.messages.wire`),
assign ids or serials, or look up connections (`broker.publisher` has done that).
"""

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from broker.auth.credentials import Principal
from broker.errors import BadRequest, Unauthorized
from broker.messages.extras import INVALID_EXTRAS, check_extras, is_ephemeral
from broker.messages.message import INVALID_DATA, Message, encode_payload, json_text

INVALID_CONNECTION_KEY = 40006
TOO_LARGE = 40009
INVALID_CLIENT_ID = 40012
INVALID_NAME = 40016
INVALID_PUBLISH = 40030
INVALID_ID = 40031
TOO_MANY_MESSAGES = 40034
UNIDENTIFIED = 40161


class Permit(msgspec.Struct, frozen=True, gc=False):
    """That a principal may publish to a channel: made by `permit` only, once for many publishes."""

    principal: Principal
    channel: str


class Checked(msgspec.Struct, frozen=True, gc=False):
    """The messages of one publish as they are to be stored, in order. `size_bytes`: what they
    counted towards the limit. `mutable`: whether they can be changed later."""

    messages: tuple[Message, ...]
    size_bytes: int
    mutable: bool = False


class PublishLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one publish request.

    message_bytes: of all its messages together (TO3l8).
    messages: in one request.
    id_chars, name_chars, encoding_chars: of each; ids and encodings are outside the size formula.
    """

    message_bytes: int = 65_536
    messages: int = 1_000
    id_chars: int = 1_024
    name_chars: int = 2_048
    encoding_chars: int = 1_024


DEFAULT_LIMITS = PublishLimits()


def permit(principal: Principal, channel: str) -> Permit:
    """`channel`: its checked name. Raises Unauthorized 40160."""
    principal.require("publish", channel)
    return Permit(principal, channel)


def validate(
    messages: Sequence[Message],
    permitted: Permit,
    *,
    limits: PublishLimits = DEFAULT_LIMITS,
    identified: bool = False,
    mutable: bool = False,
) -> Checked:
    """Check one publish request.

    identified: whether the namespace takes messages of identified clients only.
    mutable: whether messages of the namespace can be changed later.
    Raises Unauthorized: 40160 no `privileged-headers`; 40161 unidentified.
    BadRequest: 40030 no messages, or ephemeral mixed with durable; 40034 too many; 40031 ids;
    40016 name; 40012 client id; 40013 data or encoding; 40032 extras;
    40009 (status 413) too large.
    """
    _check_count(messages, limits)
    checked: list[Message] = []
    size = 0
    for given in messages:
        message = checked_message(given, permitted.principal, permitted.channel, limits)
        # Before its client id is implied: a publisher that measured it must agree with us.
        size += size_bytes(message)
        checked.append(_identified(message, permitted.principal, identified))
    if len(checked) > 1:
        _check_ids(checked)
        _check_ephemeral(checked)
    _check_size(size, limits)
    return Checked(tuple(checked), size, mutable)


def _check_count(messages: Sequence[Message], limits: PublishLimits) -> None:
    if not messages:
        raise BadRequest("a publish must carry at least one message", INVALID_PUBLISH)
    if len(messages) > limits.messages:
        raise BadRequest(
            f"too many messages in one publish: {len(messages)}, the limit is {limits.messages}",
            TOO_MANY_MESSAGES,
        )


def _check_ids(messages: Sequence[Message]) -> None:
    """Ids of an array must be `<base>:<index>` by position, or a repeat could not be told apart."""
    if all(message.id is None for message in messages):
        return
    base = (messages[0].id or "").rpartition(":")[0]
    for index, message in enumerate(messages):
        if not base or message.id != f"{base}:{index}":
            raise BadRequest(
                "ids of several messages must all be <base>:<index>, counting from 0", INVALID_ID
            )


def _check_ephemeral(messages: Sequence[Message]) -> None:
    if len({is_ephemeral(message) for message in messages}) > 1:
        raise BadRequest("ephemeral and durable messages cannot share a publish", INVALID_PUBLISH)


def _check_size(size: int, limits: PublishLimits) -> None:
    if size > limits.message_bytes:
        raise BadRequest(
            f"message too large: {size} bytes, the limit is {limits.message_bytes}",
            TOO_LARGE,
            status=413,
        )


def size_bytes(message: Message) -> int:
    """What a message counts towards the size limit (TM6): name, client id, data and extras."""
    size = 0
    if message.extras is not None:
        # TM6d counts characters; the publisher's SDK does too, and must not be surprised.
        size = len(json_text(message.extras, "extras", INVALID_EXTRAS))
    for part in (message.name, message.client_id, message.data):
        if part is not None:
            is_text = isinstance(part, str) and not part.isascii()
            size += len(part.encode() if is_text else part)
    return size


def checked_message(
    message: Message, principal: Principal, channel: str, limits: PublishLimits
) -> Message:
    """The message with its payload in stored form, every field of it checked on its own."""
    data, encoding = encode_payload(message.data, message.encoding)
    if data is not message.data or encoding != message.encoding:
        message = replace(message, data=data, encoding=encoding)
    check_texts(message, limits)
    if message.extras is not None:
        check_extras(message.extras, principal, channel)
    return message


def check_texts(message: Message, limits: PublishLimits) -> None:
    """Of every field but the extras. Raises BadRequest as `validate`."""
    if message.id is not None:
        _check_text(message.id, "id", INVALID_ID, limits.id_chars)
        if not message.id:
            raise BadRequest("id must not be empty", INVALID_ID)
    if message.name is not None:
        _check_text(message.name, "name", INVALID_NAME, limits.name_chars)
    if message.encoding is not None:
        _check_text(message.encoding, "encoding", INVALID_DATA, limits.encoding_chars)
    if message.client_id is not None:
        # Bounded by the size of the whole.
        _check_text(message.client_id, "client_id", INVALID_CLIENT_ID, None)
    if isinstance(message.data, str) and not message.data.isascii():
        check_unicode(message.data, "data", INVALID_DATA)


def _check_text(text: object, field: str, code: int, chars_max: int | None) -> None:
    if not isinstance(text, str):
        raise BadRequest(f"{field} must be a string, not {type(text).__name__}", code)
    if chars_max is not None and len(text) > chars_max:
        raise BadRequest(f"{field} exceeds {chars_max} characters", code)
    if not text.isascii():
        check_unicode(text, field, code)


def check_unicode(text: str, field: str, code: int) -> None:
    """Lone surrogates are legal in a Python string and in no format we write."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadRequest(f"{field} is not valid Unicode", code) from None


def _identified(message: Message, principal: Principal, identified: bool) -> Message:
    client_id = principal.identify(message.client_id)
    if identified and client_id is None:
        raise Unauthorized("this channel takes messages of identified clients only", UNIDENTIFIED)
    if client_id == message.client_id:
        return message
    return replace(message, client_id=client_id)
