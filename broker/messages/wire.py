"""Messages between their wire form and ours: a decoded map in, a map to encode out.

The same map shape serves JSON and MessagePack; they differ in one thing only, binary. JSON carries
bytes as base64 text, MessagePack as they are (`broker.messages.payload_encoding`).

Inbound is tolerant: null means absent, unknown fields are ignored. Outbound is strict: no null, and
nothing absent is named.

Refuses to do: judge content (`broker.messages.publish`), or read bytes (`api.codec`).
"""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from broker.channels.presence import PresenceAction
from broker.errors import BadRequest
from broker.events import Annotation, Operation
from broker.interactions.change import Change
from broker.interactions.summaries import Summary
from broker.messages.message import (
    INVALID_DATA,
    Message,
    PresenceMessage,
    StoredMessage,
    Version,
    json_text,
)
from broker.messages.payload_encoding import binary_payload, stored_payload, text_payload

UNDECODABLE_BODY = 40001
INVALID_CONNECTION_KEY = 40006
INVALID_CLIENT_ID = 40012
INVALID_NAME = 40016
INVALID_ID = 40031
INVALID_EXTRAS = 40032
INVALID_VALUE = 40003

# MessageAction (TM5): what a message on the wire is; history holds creations until messages mutate.
ACTION_CREATE, ACTION_UPDATE, ACTION_META, ACTION_SUMMARY, ACTION_APPEND = 0, 1, 3, 4, 5
_CHANGES = (1, 2, 5)
_IN_FORMS = ("1", "2", "5")
TEXT_CHARS_MAX = 2_048  # of what an operator says about a change
METADATA_CHARS_MAX = 8_192  # of its JSON


class WireMessage(msgspec.Struct, rename="camel", gc=False):
    """A message as a client sends it (TM2), every field of its right type. A decoder may be given
    this type, which is the cheap way; what it refuses, `read_messages` takes as plain maps, and
    says what is wrong with it. timestamp, version and connectionId are ours to assign: not read.
    """

    id: str | None = None
    name: str | None = None
    data: Any = None
    encoding: str | None = None
    client_id: str | None = None
    connection_key: str | None = None
    extras: dict[str, Any] | None = None
    serial: Any = None
    action: Any = None
    version: Any = None


class _WireOperation(msgspec.Struct, rename="camel"):
    """What a version says of who made it; the rest of it is ours to assign."""

    client_id: str | None = None
    description: Annotated[str, msgspec.Meta(max_length=TEXT_CHARS_MAX)] | None = None
    metadata: dict[str, str] | None = None


def read_messages(body: object) -> tuple[Message, ...]:
    """The messages of a publish body: one object, or an array of them.

    Raises BadRequest 40001 if it is neither; else as `from_wire`, saying which message it was.
    """
    if not isinstance(body, list):
        if not isinstance(body, Mapping):
            raise BadRequest("the body must be a message or an array of messages", UNDECODABLE_BODY)
        return (from_wire(body),)
    messages: list[Message] = []
    for item in body:
        try:
            messages.append(from_wire(item))
        except BadRequest as error:
            reason = f"message {len(messages)}: {error.message}"
            raise BadRequest(reason, error.code, error.status) from None
    return tuple(messages)


def from_wire(item: object) -> Message:
    """One message from its wire form: a WireMessage, or a decoded map.

    Raises BadRequest naming the field: 40001 not a map; 40013 data, encoding or base64; 40012
    clientId; 40016 name; 40031 id; 40032 extras; 40006 connectionKey; 40000 a change of a message,
    which is not published but made alone.
    """
    fields = item if isinstance(item, WireMessage) else _typed(item)
    if is_change(fields):
        raise BadRequest("a change of a message has to come alone")
    data, encoding = stored_payload(fields.data, fields.encoding)
    return Message(
        id=fields.id,
        name=fields.name,
        data=data,
        encoding=encoding,
        client_id=fields.client_id,
        connection_key=fields.connection_key,
        extras=fields.extras,
    )


def is_change(item: object) -> bool:
    """Whether what a client sends updates, deletes or appends to a message, which it names."""
    if isinstance(item, WireMessage):
        return bool(item.serial) and (item.action in _CHANGES or item.action in _IN_FORMS)
    if not isinstance(item, Mapping) or not item.get("serial"):
        return False
    action = item.get("action")
    return action in _CHANGES or action in _IN_FORMS


def _action(given: object) -> int | None:
    """A number, which a form writes as text. True and 1.0, which Python takes for 1, are none: an
    event that held one could not be read again."""
    if isinstance(given, str) and given in _IN_FORMS:
        return int(given)
    return given if type(given) is int else None


def read_change(item: object, serial: str | None = None) -> Change:
    """The change in a message as a client sends it; `serial`: that of the path, if there is one.

    Raises BadRequest as `from_wire`; 40003 for a serial that is missing, or another; 40000 for an
    action that is no change.
    """
    fields = item if isinstance(item, WireMessage) else _typed(item)
    named = fields.serial or serial
    if not isinstance(named, str) or (serial is not None and named != serial):
        raise BadRequest("serial must be that of the message", INVALID_VALUE)
    action = ACTION_UPDATE if fields.action is None else _action(fields.action)
    if action is None or action not in _CHANGES:
        raise BadRequest("action must be to update, delete or append: 1, 2 or 5")
    data, encoding = stored_payload(fields.data, fields.encoding)
    message = Message(name=fields.name, data=data, encoding=encoding, extras=fields.extras)
    return Change(named, action, message, _operation(fields.version))


def _operation(version: object) -> Operation | None:
    """Raises BadRequest 40000."""
    if version is None:
        return None
    try:
        given = msgspec.convert(version, _WireOperation)
    except msgspec.ValidationError as error:
        raise BadRequest(f"version: {error}") from None
    if len(json_text(given.metadata, "metadata", 40000)) > METADATA_CHARS_MAX:
        raise BadRequest(f"version.metadata exceeds {METADATA_CHARS_MAX} characters of JSON")
    return Operation(given.client_id, given.description, given.metadata)


def to_wire(message: StoredMessage, *, binary: bool) -> dict[str, Any]:
    """The wire map of a stored message, ready to encode; no value in it is None.

    binary: for MessagePack, where bytes stay bytes; else for JSON, where they become base64.
    """
    return message_fields(
        message,
        message.serial,
        message.timestamp,
        binary=binary,
        action=message.action,
        version=message.version,
        summary=message.summary,
    )


def message_fields(
    message: Message,
    serial: str,
    timestamp: int,
    *,
    binary: bool,
    action: int = ACTION_CREATE,
    version: Version | None = None,
    summary: Summary | None = None,
) -> dict[str, Any]:
    """The wire map of a message that the log has under `serial`. As `to_wire`."""
    data, encoding = (binary_payload if binary else text_payload)(message.data, message.encoding)
    given = (
        ("id", message.id),
        ("name", message.name),
        ("data", data),
        ("encoding", encoding),
        ("clientId", message.client_id),
        ("connectionId", message.connection_id),
        ("extras", message.extras),
        ("annotations", None if summary is None else {"summary": summary}),
    )
    return {
        **{name: value for name, value in given if value is not None},
        "timestamp": timestamp,
        "serial": serial,
        "action": action,
        "version": _version_fields(version)
        if version
        else {"serial": serial, "timestamp": timestamp},
    }


def _version_fields(version: Version) -> dict[str, Any]:
    fields = {
        "serial": version.serial,
        "timestamp": version.timestamp,
        "clientId": version.client_id,
        "description": version.description,
        "metadata": version.metadata,
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


def annotation_to_wire(
    annotation: Annotation, of: str, serial: str, timestamp: int, *, binary: bool
) -> dict[str, Any]:
    """The wire map of an annotation (TAN2) of the message `of`; no value in it is None."""
    data, encoding = (binary_payload if binary else text_payload)(
        annotation.data, annotation.encoding
    )
    fields = {
        "id": annotation.id,
        "action": annotation.action,
        "serial": serial,
        "messageSerial": of,
        "type": annotation.type,
        "name": annotation.name,
        "count": annotation.count,
        "clientId": annotation.client_id,
        "connectionId": annotation.connection_id,
        "timestamp": timestamp,
        "data": data,
        "encoding": encoding,
        "extras": annotation.extras,
    }
    return {name: value for name, value in fields.items() if value is not None}


def summary_to_wire(
    name: str | None, summary: Summary, of: str, serial: str, timestamp: int
) -> dict[str, Any]:
    """The message that tells what the annotations of the message `of` come to now (TAN3)."""
    named = {} if name is None else {"name": name}
    return {
        "id": f"{serial}:summary",
        **named,
        "serial": of,
        "action": ACTION_SUMMARY,
        "timestamp": timestamp,
        "version": {"serial": serial, "timestamp": timestamp},
        "annotations": {"summary": summary},
    }


def _typed(fields: object) -> WireMessage:
    """Raises BadRequest, naming the field that is not of its type."""
    if not isinstance(fields, Mapping):
        raise BadRequest("a message must be an object", UNDECODABLE_BODY)
    return WireMessage(
        id=_text(fields, "id", INVALID_ID),
        name=_text(fields, "name", INVALID_NAME),
        data=fields.get("data"),
        encoding=_text(fields, "encoding", INVALID_DATA),
        client_id=_text(fields, "clientId", INVALID_CLIENT_ID),
        connection_key=_text(fields, "connectionKey", INVALID_CONNECTION_KEY),
        extras=_extras(fields),
        serial=fields.get("serial"),
        action=fields.get("action"),
        version=fields.get("version"),
    )


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
