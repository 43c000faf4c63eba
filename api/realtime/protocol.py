"""The protocol message: what travels in a frame, in both directions (TR, PR; reference 3.3).

Inbound is tolerant: null is absent, unknown fields are ignored. Outbound is a plain map without
anything absent in it.
"""

from enum import IntEnum
from typing import Any

import msgspec

from api.realtime.framing import Frame, binary_frame, text_frame
from broker.errors import BadRequest
from broker.messages.wire import WireMessage

UNDECODABLE = 40000


class Action(IntEnum):
    HEARTBEAT = 0
    ACK = 1
    NACK = 2
    CONNECT = 3
    CONNECTED = 4
    DISCONNECT = 5
    DISCONNECTED = 6
    CLOSE = 7
    CLOSED = 8
    ERROR = 9
    ATTACH = 10
    ATTACHED = 11
    DETACH = 12
    DETACHED = 13
    PRESENCE = 14
    MESSAGE = 15
    SYNC = 16
    AUTH = 17
    ANNOTATION = 21


# Flags of ATTACH and ATTACHED below the modes (TR3).
HAS_PRESENCE = 1 << 0
HAS_BACKLOG = 1 << 1
RESUMED = 1 << 2
ATTACH_RESUME = 1 << 5


class Inbound(msgspec.Struct, rename="camel", gc=False):
    """A protocol message of a client, as far as a server reads it."""

    action: int
    channel: str | None = None
    msg_serial: int | None = None
    channel_serial: str | None = None
    flags: int | None = None
    id: str | None = None
    params: dict[str, Any] | None = None
    messages: list[Any] | None = None
    presence: list[Any] | None = None
    annotations: list[Any] | None = None
    auth: dict[str, Any] | None = None


class Typed(Inbound):
    """The same, with messages whose every field is of its right type."""

    messages: list[WireMessage] | None = None


class Addressed(msgspec.Struct, rename="camel", gc=False):
    """As much of a malformed message as says whom an error about it concerns."""

    channel: str | None = None
    msg_serial: int | None = None


_typed_json = msgspec.json.Decoder(Typed).decode
_typed_msgpack = msgspec.msgpack.Decoder(Typed).decode
_from_json = msgspec.json.Decoder(Inbound).decode
_from_msgpack = msgspec.msgpack.Decoder(Inbound).decode
_to_json = msgspec.json.Encoder().encode
_to_msgpack = msgspec.msgpack.Encoder().encode
_FAILURES = (msgspec.MsgspecError, UnicodeError, RecursionError)


def decode(frame: Frame) -> Inbound:
    """The message in a frame; its type says the format. Raises BadRequest 40000.

    Where one of the messages in it is wrong, they come as plain maps: a publish is refused with
    what `broker.messages.wire` says about it.
    """
    binary, data = frame
    try:
        try:
            return _typed_msgpack(data) if binary else _typed_json(data)
        except msgspec.ValidationError:
            return _from_msgpack(data) if binary else _from_json(data)
    except _FAILURES as error:
        raise BadRequest(f"not a protocol message: {error}", UNDECODABLE) from None


def addressed(frame: Frame) -> Addressed:
    """Whom a message that does not decode concerns, as far as that can be read."""
    try:
        decoder = msgspec.msgpack.decode if frame.binary else msgspec.json.decode
        return decoder(frame.data, type=Addressed)
    except _FAILURES:
        return Addressed()


def encode(message: dict[str, Any], *, binary: bool) -> bytes:
    """The frame of a protocol message."""
    if binary:
        return binary_frame(_to_msgpack(message))
    return text_frame(_to_json(message))
