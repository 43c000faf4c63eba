"""The message as the broker holds it, whatever format it came in or goes out as.

`data` is a string or bytes (never base64 for the transport's sake); `encoding` names what the
publisher did to the payload (json, utf-8, cipher+...) and is opaque to us (RSL4, RSL6).

Invariants: absent is None and nothing else (an empty name or payload is a value and is kept); a
`StoredMessage` is complete, so that whoever reads one needs no clock and no other row to show it.
"""

import json
from typing import Any

import msgspec

from broker.errors import BadRequest

INVALID_DATA = 40013


class Message(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """A message to publish (TM2). Absent fields are None and never reach the wire.

    connection_key: the publisher's claim to speak for a live connection (TM2h). It is a secret of
    that connection: `broker.publisher` resolves it to `connection_id`, and it is never
    stored.
    """

    id: str | None = None
    name: str | None = None
    data: Any = None  # str, bytes or None: msgspec takes no union of the two
    encoding: str | None = None
    client_id: str | None = None
    connection_id: str | None = None
    connection_key: str | None = None
    extras: dict[str, Any] | None = None


class PresenceMessage(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """What a member says when it enters, updates or leaves (TP3). A member is one client id on one
    connection; `id` is `<connectionId>:<msgSerial>:<index>` unless its publisher chose it, or the
    broker made it."""

    id: str
    client_id: str
    connection_id: str
    data: Any = None  # as Message.data
    encoding: str | None = None
    extras: dict[str, Any] | None = None


class Version(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Which version of a message it is, and who made it (TM2s). `timestamp`: ms."""

    serial: str
    timestamp: int
    client_id: str | None = None
    description: str | None = None
    metadata: dict[str, Any] | None = None


class StoredMessage(Message, frozen=True, omit_defaults=True, kw_only=True):
    """A message that is in the log, as it stands.

    serial: the log's name for it, ordering it on its channel (TM2r).
    timestamp: when the broker received it, in milliseconds since the epoch (TM2f).
    action: how it came to be as it is: created 0, updated 1, deleted 2 (TM5).
    version: None while it is what was published.
    summary: of its annotations, by type; None for a message that never had any that count.
    """

    serial: str
    timestamp: int
    action: int = 0
    version: Version | None = None
    summary: dict[str, Any] | None = None


def encode_payload(data: object, encoding: object) -> tuple[str | bytes | None, str | None]:
    """The (data, encoding) to store for a payload as a publisher gave it (RSL4a).

    Strings and bytes are kept. Objects and arrays become JSON text with "json" appended to the
    encoding (RSL4c3, RSL4d3), except that a sender who left the object raw and already said "json"
    means just that. Without data there is nothing an encoding could name, so it goes too.
    Raises BadRequest 40013 for numbers, booleans and anything JSON cannot carry.
    """
    if encoding is None and isinstance(data, str):
        return data, None
    if not isinstance(encoding, str | None):
        raise BadRequest("encoding must be a string", INVALID_DATA)
    if data is None:
        return None, None
    if isinstance(data, str):
        return data, encoding or None
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data), encoding or None
    if isinstance(data, dict | list | tuple):
        return json_text(data, "data", INVALID_DATA), _append_json(encoding)
    raise BadRequest(
        f"data must be a string, binary, an object or an array, not {type(data).__name__}",
        INVALID_DATA,
    )


def json_text(value: object, field: str, code: int) -> str:
    """Compact JSON of a field's value; BadRequest `code` if JSON cannot carry all of it.

    The standard library's encoder, because it refuses what msgspec's turns into something else
    without a word: NaN would become null, bytes would become base64.
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError):
        raise BadRequest(f"{field} holds a value that JSON cannot represent", code) from None


def _append_json(encoding: str | None) -> str:
    if not encoding:
        return "json"
    return encoding if encoding.rpartition("/")[2] == "json" else f"{encoding}/json"
