"""Messages between their wire form and ours: a decoded map in, a map to encode out.

The same map shape serves JSON and MessagePack; they differ in one thing only, binary. JSON carries
bytes as base64 text, MessagePack as they are (`broker.payload_encoding`).

Inbound is tolerant: null means absent, unknown fields are ignored. Outbound is strict: no null, and
nothing absent is named.

Refuses to do: judge content (`broker.publish`), or read bytes (`api.codec`).
"""

from collections.abc import Mapping
from typing import Any

from broker.errors import BadRequest
from broker.message import INVALID_DATA, Message, PresenceMessage, StoredMessage
from broker.payload_encoding import binary_payload, stored_payload, text_payload
from broker.presence import PresenceAction

UNDECODABLE_BODY = 40001
INVALID_CONNECTION_KEY = 40006
INVALID_CLIENT_ID = 40012
INVALID_NAME = 40016
INVALID_ID = 40031
INVALID_EXTRAS = 40032
MUTATION_NOT_ENABLED = 93002

# MessageAction (TM5): what a message on the wire is; history holds creations until messages mutate.
ACTION_CREATE = 0
ACTION_META = 3
_MUTATIONS = (1, 2, 5)

# Text fields of a message (TM2): wire name, our name, error code when it is not a string.
_TEXT_FIELDS = (
    ("id", "id", INVALID_ID),
    ("name", "name", INVALID_NAME),
    ("clientId", "client_id", INVALID_CLIENT_ID),
    ("connectionKey", "connection_key", INVALID_CONNECTION_KEY),
)


def read_messages(body: object) -> tuple[Message, ...]:
    """The messages of a publish body: one object, or an array of them.

    Raises BadRequest 40001 if it is neither; else as `from_wire`, saying which message it was.
    """
    if isinstance(body, Mapping):
        return (from_wire(body),)
    if not isinstance(body, list | tuple):
        raise BadRequest("the body must be a message or an array of messages", UNDECODABLE_BODY)
    return tuple(_read_one(index, item) for index, item in enumerate(body))


def from_wire(fields: object) -> Message:
    """One message from its decoded wire map.

    timestamp, serial, version and connectionId are ours to assign and are ignored.
    Raises BadRequest naming the field: 40001 not a map; 40013 data, encoding or base64; 40012
    clientId; 40016 name; 40031 id; 40032 extras; 40006 connectionKey; 93002 an update, delete or
    append, which needs mutable messages.
    """
    if not isinstance(fields, Mapping):
        raise BadRequest("a message must be an object", UNDECODABLE_BODY)
    if fields.get("serial") is not None and fields.get("action") in _MUTATIONS:
        raise BadRequest("mutable messages are not enabled on this channel", MUTATION_NOT_ENABLED)
    data, encoding = stored_payload(fields.get("data"), _text(fields, "encoding", INVALID_DATA))
    texts = {ours: _text(fields, name, code) for name, ours, code in _TEXT_FIELDS}
    return Message(data=data, encoding=encoding, extras=_extras(fields), **texts)


def to_wire(message: StoredMessage, *, binary: bool) -> dict[str, Any]:
    """The wire map of a stored message, ready to encode; no value in it is None.

    binary: for MessagePack, where bytes stay bytes; else for JSON, where they become base64.
    """
    return message_fields(message, message.serial, message.timestamp, binary=binary)


def message_fields(
    message: Message, serial: str, timestamp: int, *, binary: bool, action: int = ACTION_CREATE
) -> dict[str, Any]:
    """The wire map of a message that the log has under `serial`. As `to_wire`."""
    data, encoding = (binary_payload if binary else text_payload)(message.data, message.encoding)
    fields = {
        "id": message.id,
        "name": message.name,
        "data": data,
        "encoding": encoding,
        "clientId": message.client_id,
        "connectionId": message.connection_id,
        "timestamp": timestamp,
        "extras": message.extras,
        "serial": serial,
        "action": action,
        "version": {"serial": serial, "timestamp": timestamp},
    }
    return {name: value for name, value in fields.items() if value is not None}


def presence_to_wire(
    presence: PresenceMessage, action: PresenceAction, timestamp: int, *, binary: bool
) -> dict[str, Any]:
    """The wire map of a presence message (TP3); no value in it is None."""
    data, encoding = (binary_payload if binary else text_payload)(presence.data, presence.encoding)
    fields = {
        "id": presence.id,
        "action": int(action),
        "clientId": presence.client_id,
        "connectionId": presence.connection_id,
        "timestamp": timestamp,
        "data": data,
        "encoding": encoding,
        "extras": presence.extras,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _read_one(index: int, item: object) -> Message:
    try:
        return from_wire(item)
    except BadRequest as error:
        raise BadRequest(f"message {index}: {error.message}", error.code, error.status) from None


def _text(fields: Mapping[str, Any], name: str, code: int) -> str | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise BadRequest(f"{name} must be a string, not {type(value).__name__}", code)
    return value


def _extras(fields: Mapping[str, Any]) -> dict[str, Any] | None:
    extras = fields.get("extras")
    if extras is not None and not isinstance(extras, dict):
        raise BadRequest(f"extras must be an object, not {type(extras).__name__}", INVALID_EXTRAS)
    return extras
