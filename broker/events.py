"""Every event the broker appends: frozen, past tense, with all that a fold needs to know.

An event is stored as MessagePack under its tag. Fields may be added with a default; a field's
meaning never changes and a tag is never reused: old logs must fold the same for ever
(tests/releases).
"""

from typing import Any

import msgspec

from broker.audit_events import AdminActed
from broker.beams.events import (
    BeamsInstanceCreated,
    BeamsInstanceRemoved,
    BeamsWebhookAdded,
    BeamsWebhookRemoved,
)
from broker.event import Event
from broker.matrix.events import MatrixChannelsSet, MatrixEncryptionSet
from broker.messages.message import Message, PresenceMessage
from broker.push.events import (
    ChannelSubscribed,
    ChannelUnsubscribed,
    DeliverySettled,
    DeviceRegistered,
    DeviceRemoved,
    PublishAccepted,
    PublishProgressed,
    PushRemoved,
    PushReported,
    TopicsChanged,
)


class MessagePublished(Event, frozen=True, tag="message", gc=False):
    """One message of a publish. `keyed`: the publisher chose the id, so a repeat is a duplicate.
    `mutable`: it was published where messages can change (broker.interactions)."""

    message: Message
    keyed: bool = False
    mutable: bool = False


class Operation(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who changed a message, and why, as they said (MOP)."""

    client_id: str | None = None
    description: str | None = None
    metadata: dict[str, Any] | None = None


class MessageUpdated(Event, frozen=True, tag="message.updated", gc=False):
    """A message became another, whole, or was deleted (`action` 1 or 2). `of`: its serial. `id`:
    of this change. `sent`: the (connectionId, msgSerial) that it came with."""

    of: int
    id: str
    message: Message
    action: int
    operation: Operation | None = None
    sent: tuple[str, int] | None = None


class MessageAppended(Event, frozen=True, tag="message.appended", gc=False):
    """A message grew: `fragment.data` came behind its data, with the rest of `fragment` as it is
    now. `base`: the message before, where no version of it was stored. Otherwise as
    MessageUpdated."""

    of: int
    id: str
    fragment: Message
    base: Message | None = None
    operation: Operation | None = None
    sent: tuple[str, int] | None = None


class Annotation(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """What a client says about a message, or takes back (`action` 0 or 1; TAN2)."""

    id: str
    action: int
    type: str
    name: str | None = None
    count: int | None = None
    data: Any = None  # as Message.data
    encoding: str | None = None
    client_id: str | None = None
    connection_id: str | None = None
    extras: dict[str, Any] | None = None


class MessageAnnotated(Event, frozen=True, tag="message.annotated", gc=False):
    """`of`: the serial of the message. `keyed`: the client chose the id, so a repeat is one.
    `sent`: as of MessageUpdated, of the first annotation of a request."""

    of: int
    annotation: Annotation
    keyed: bool = False
    sent: tuple[str, int] | None = None


class ChannelCreated(Event, frozen=True, tag="channel.created"):
    """The first event of a channel."""


class ChannelRemoved(Event, frozen=True, tag="channel.removed"):
    """Its app was deleted, and what it held is gone."""


class MemberEntered(Event, frozen=True, tag="member.entered", gc=False):
    """`msg_serial`: of the ProtocolMessage it came in; None when the broker made it."""

    member: PresenceMessage
    msg_serial: int | None = None


class MemberUpdated(Event, frozen=True, tag="member.updated", gc=False):
    member: PresenceMessage
    msg_serial: int | None = None


class MemberLeft(Event, frozen=True, tag="member.left", gc=False):
    """`member.data`: what the leave carried, else what the member last had."""

    member: PresenceMessage
    msg_serial: int | None = None


class ChannelAttached(Event, frozen=True, tag="channel.attached"):
    """`modes`: granted (broker.channels.modes); `epoch`: of the process that holds the
    attachment. `beside`: other epochs whose counts stay; those of yet others are gone."""

    connection: str
    modes: int
    epoch: int
    beside: tuple[int, ...] = ()


class ChannelDetached(Event, frozen=True, tag="channel.detached"):
    """Takes back the ChannelAttached with the same fields."""

    connection: str
    modes: int
    epoch: int


class ChannelOpened(Event, frozen=True, tag="channel.opened"):
    """The channel became active: somebody attached or published. In the app's own stream."""

    channel: str


class ChannelClosed(Event, frozen=True, tag="channel.closed"):
    """Nobody was attached and nothing was published for a while."""

    channel: str


class BrokerStarted(Event, frozen=True, tag="broker.started"):
    """A process began to hold connections. Those of lower epochs are lost. `lost_behind`: serials
    between this one and the event's own may have been given out, and what they were of is lost."""

    epoch: int
    lost_behind: int | None = None


class WorkerStarted(Event, frozen=True, tag="worker.started"):
    """A process began to hold connections beside the others. Its epoch is of no other."""

    epoch: int


class WorkerEnded(Event, frozen=True, tag="worker.ended"):
    """What that process held is lost, as after a start of the broker."""

    epoch: int


class ConnectionOpened(Event, frozen=True, tag="connection.opened"):
    """`key_hash`: of the secret in its connectionKey (broker.live.connection_log)."""

    connection: str
    key_hash: bytes
    epoch: int
    client_id: str | None = None


class ConnectionResumed(Event, frozen=True, tag="connection.resumed"):
    """`took_over`: another transport had it, which was alive."""

    connection: str
    key_hash: bytes
    epoch: int
    took_over: bool = False


class ConnectionLost(Event, frozen=True, tag="connection.lost"):
    """Its transport is gone; it may be resumed."""

    connection: str


class ConnectionClosed(Event, frozen=True, tag="connection.closed"):
    """Its client closed it."""

    connection: str


class ConnectionExpired(Event, frozen=True, tag="connection.expired"):
    """It was lost for longer than the state TTL."""

    connection: str


class NonceUsed(Event, frozen=True, tag="nonce.used"):
    """A token request was honoured; it will not be again. `timestamp_ms`: what it was signed
    with; a nonce may come again with another."""

    key: str
    nonce: str
    timestamp_ms: int


class TokensRevoked(Event, frozen=True, tag="tokens.revoked"):
    """Tokens of `key` that match the target (`clientId`, `revocationKey` or `channel`), issued
    before `issued_before` (ms), are refused from `applies_at` (ms) on."""

    key: str
    target_type: str
    target_value: str
    issued_before: int
    applies_at: int


class LogCreated(Event, frozen=True, tag="log.created"):
    """The first event of a log. `series`: 10 characters that every serial of it carries."""

    series: str


class AppCreated(Event, frozen=True, tag="app.created"):
    app: str
    name: str = ""
    presence_members_max: int | None = None


class AppDeleted(Event, frozen=True, tag="app.deleted"):
    app: str


class KeyCreated(Event, frozen=True, tag="key.created"):
    """`capability`: canonical JSON (see broker.auth.capability)."""

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


class LimitsSet(Event, frozen=True, tag="limits.set"):
    """`limits`: broker.tenancy.Limits as a map, whole; of the app, or of one of its keys. Empty:
    the settings' again."""

    app: str
    key: str | None
    limits: dict[str, int]


class PurgeRequested(Event, frozen=True, tag="purge.requested"):
    """Remove what was stored before this event: of an app, of one of its channels, or what one of
    its clients published."""

    app: str
    channel: str | None = None
    client_id: str | None = None


class PurgeCompleted(Event, frozen=True, tag="purge.completed"):
    """`request`: the serial of the PurgeRequested."""

    request: int


class StatsRecorded(Event, frozen=True, tag="stats.recorded"):
    """What an app did in the minute that began at `minute_ms`: counters by name
    (broker.stats.counters). Several of one minute add up."""

    minute_ms: int
    counters: dict[str, int]


class StatsCounted(Event, frozen=True, tag="stats.counted"):
    """Everything in the log up to serial `through` has been counted, by this and earlier ones.
    `number` counts them up."""

    through: int
    number: int


class StatsRemoved(Event, frozen=True, tag="stats.removed"):
    """The app was deleted: what was recorded of this day is gone."""


AnyEvent = (
    MessagePublished
    | MessageUpdated
    | MessageAppended
    | MessageAnnotated
    | ChannelCreated
    | ChannelRemoved
    | MemberEntered
    | MemberUpdated
    | MemberLeft
    | ChannelAttached
    | ChannelDetached
    | ChannelOpened
    | ChannelClosed
    | BrokerStarted
    | WorkerStarted
    | WorkerEnded
    | ConnectionOpened
    | ConnectionResumed
    | ConnectionLost
    | ConnectionClosed
    | ConnectionExpired
    | NonceUsed
    | TokensRevoked
    | LogCreated
    | AppCreated
    | AppDeleted
    | KeyCreated
    | KeyRevoked
    | NamespaceSet
    | NamespaceRemoved
    | LimitsSet
    | PurgeRequested
    | PurgeCompleted
    | StatsRecorded
    | StatsCounted
    | StatsRemoved
    | DeviceRegistered
    | DeviceRemoved
    | ChannelSubscribed
    | ChannelUnsubscribed
    | PushRemoved
    | PublishAccepted
    | PublishProgressed
    | DeliverySettled
    | TopicsChanged
    | PushReported
    | BeamsInstanceCreated
    | BeamsInstanceRemoved
    | BeamsWebhookAdded
    | BeamsWebhookRemoved
    | MatrixChannelsSet
    | MatrixEncryptionSet
    | AdminActed
)

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(AnyEvent).decode
