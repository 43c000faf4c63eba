"""Every event the broker appends: frozen, past tense, with all that a fold needs to know.

An event is stored as MessagePack under its tag. Fields may be added with a default; a field's
meaning never changes and a tag is never reused: old logs must fold the same for ever. What an
older format wrote differently is brought up to date in `decode` (see `_UPCASTS`).
"""

from enum import IntEnum
from typing import Any

import msgspec

from broker.message import Message


class Kind(IntEnum):
    """The streams of a channel, an app or the system. Each has its own retention; values are in
    every stored key, so they never change."""

    MESSAGES = 1
    EPHEMERAL = 2
    PRESENCE = 3
    ATTACHMENTS = 4
    ANNOTATIONS = 5
    CHANNEL = 6
    SYSTEM = 16


class Event(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type"):
    """Base of all events; `type` is the tag in the log."""


class MessagePublished(Event, frozen=True, tag="message", gc=False):
    """One message of a publish. `keyed`: the publisher chose the id, so a repeat is a duplicate."""

    message: Message
    keyed: bool = False


class ChannelCreated(Event, frozen=True, tag="channel.created"):
    """The first event of a channel."""


class ChannelRemoved(Event, frozen=True, tag="channel.removed"):
    """Its app was deleted, and what it held is gone."""


class LogCreated(Event, frozen=True, tag="log.created"):
    """The first event of a log. `series`: 10 characters that every serial of it carries."""

    series: str


class AppCreated(Event, frozen=True, tag="app.created"):
    app: str
    name: str = ""


class AppDeleted(Event, frozen=True, tag="app.deleted"):
    app: str


class KeyCreated(Event, frozen=True, tag="key.created"):
    """`capability`: canonical JSON (see broker.capability)."""

    app: str
    key: str
    secret: str
    capability: str
    revocable_tokens: bool = False


class KeyRevoked(Event, frozen=True, tag="key.revoked"):
    app: str
    key: str


class NamespaceSet(Event, frozen=True, tag="namespace.set"):
    """`rules`: broker.tenancy.NamespaceRules as a map, whole; replaces what was set before."""

    app: str
    namespace: str
    rules: dict[str, Any]


class NamespaceRemoved(Event, frozen=True, tag="namespace.removed"):
    app: str
    namespace: str


class PurgeRequested(Event, frozen=True, tag="purge.requested"):
    """Remove what was stored before this event: of an app, of one of its channels, or what one of
    its clients published."""

    app: str
    channel: str | None = None
    client_id: str | None = None


class PurgeCompleted(Event, frozen=True, tag="purge.completed"):
    """`request`: the serial of the PurgeRequested."""

    request: int


AnyEvent = (
    MessagePublished
    | ChannelCreated
    | ChannelRemoved
    | LogCreated
    | AppCreated
    | AppDeleted
    | KeyCreated
    | KeyRevoked
    | NamespaceSet
    | NamespaceRemoved
    | PurgeRequested
    | PurgeCompleted
)

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(AnyEvent).decode
