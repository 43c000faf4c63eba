"""Publishing, decided where it is right: inside the transaction that appends.

Every explicit message id is published at most once for as long as its record is kept. A publish in
which any id was seen before is a repeat: it publishes nothing and is answered like the first, with
the first serials, whatever its payload (reference 1.7.1); a differing payload only counts.
"""

import zlib
from functools import lru_cache
from hashlib import blake2b

import msgspec
from msgspec.structs import replace

from broker import tenancy
from broker.channels.lifecycle import opening
from broker.channels.registry import channel_key
from broker.event import Kind
from broker.events import MessagePublished
from broker.messages.acceptance import accepted
from broker.messages.extras import is_ephemeral
from broker.messages.message import Message
from broker.messages.publish import Checked
from broker.push import outbox_log
from broker.push.events import PublishAccepted, Selector
from broker.push.lifetime import expiry_ms
from storage import Decision, OnTrim, Record, Rows, Stream, Table
from storage.projection import Decide

_SERIAL_BYTES = 8
TABLE = "dedup"
_stream = lru_cache(maxsize=10_000)(Stream)
"""One object for a stream that is published to again and again is found faster in every table."""


class Publish(msgspec.Struct, frozen=True, gc=False):
    """Validated messages for one channel. `keyed`: their ids are the publisher's own. `resent`:
    the (connectionId, msgSerial) they came with, when it may have been accepted before. `mutable`:
    messages of the channel can change.
    `size_bytes`: what they counted towards the limit; for bounds of what waits, not for decisions.
    """

    app: str
    channel: str
    messages: tuple[Message, ...]
    keyed: bool
    kind: Kind = Kind.MESSAGES
    resent: tuple[str, int] | None = None
    size_bytes: int = 0
    mutable: bool = False


class Origin(msgspec.Struct, frozen=True, gc=False):
    """Where messages came from over a connection. `resent`: whether they may have been accepted
    before, because the connection was resumed or the msgSerial was seen."""

    connection: str
    msg_serial: int
    resent: bool

    @property
    def base(self) -> str:
        """What begins the ids of its messages (reference 3.6)."""
        return f"{self.connection}:{self.msg_serial}"


def as_command(
    app: str, channel: str, checked: Checked, base: str, origin: Origin | None = None
) -> Publish:
    """The command for validated messages. `base`: begins the ids of those without one (reference
    1.7.1, 3.6). `origin`: the connection they came over, whose they are then."""
    connection = origin.connection if origin else None
    first = checked.messages[0]
    keyed = first.id is not None
    owned = []
    for index, message in enumerate(checked.messages):
        id_, owner = message.id or f"{base}:{index}", connection or message.connection_id
        owned.append(replace(message, id=id_, connection_id=owner))
    kind = Kind.EPHEMERAL if is_ephemeral(first) else Kind.MESSAGES
    resent = (origin.connection, origin.msg_serial) if origin and origin.resent else None
    mutable = checked.mutable and kind is Kind.MESSAGES
    return Publish(app, channel, tuple(owned), keyed, kind, resent, checked.size_bytes, mutable)


def decide(rows: Rows, command: Publish, ms: int) -> Decision:
    """Decision.reply: whether a repeat's payload differs from the original's."""
    tenancy.require_app(rows, command.app)
    stream = _stream(command.app, command.channel, command.kind)
    if command.keyed:
        repeat = _repeat(rows, stream, command)
        if repeat is not None:
            return repeat
    elif command.resent:
        serial = accepted(rows, *command.resent)
        if serial is not None:
            return Decision(duplicate=tuple(range(serial, serial + len(command.messages))))
    events: list[tuple[Stream, object]] = [
        (stream, MessagePublished(message, command.keyed, command.mutable))
        for message in command.messages
    ]
    events += _pushes(rows, command, ms)
    return Decision(opening(rows, command.app, command.channel, events))


def _pushes(rows: Rows, command: Publish, ms: int) -> list[tuple[Stream, object]]:
    """The notifications that messages ask for (reference push.md 3.6): accepted with them."""
    asked = [m.extras["push"] for m in command.messages if m.extras and "push" in m.extras]
    payloads = [payload for payload in asked if isinstance(payload, dict)]
    if not payloads or not tenancy.rules(rows, command.app, command.channel).push_enabled:
        return []
    selector = Selector(channel=command.channel)
    stream = outbox_log.stream_of(command.app)
    return [(stream, PublishAccepted(selector, one, expiry_ms(one, ms))) for one in payloads]


def _repeat(rows: Rows, stream: Stream, command: Publish) -> Decision | None:
    known = [rows.get(TABLE, dedup_key(stream, message)) for message in command.messages]
    if not any(known):
        return None
    serials = tuple(
        None if row is None else int.from_bytes(row[:_SERIAL_BYTES], "big") for row in known
    )
    differs = any(
        row is None or row[_SERIAL_BYTES:] != payload_digest(message)
        for row, message in zip(known, command.messages, strict=True)
    )
    return Decision(duplicate=serials, reply=differs)


def dedup_key(stream: Stream, message: Message) -> bytes:
    """By digest: ids are the users', of any length. One id space for all kinds of message."""
    channel = channel_key(stream.app, stream.channel)
    return channel + blake2b((message.id or "").encode(), digest_size=16).digest()


def payload_digest(message: Message) -> bytes:
    payload = (message.name, message.data, message.encoding, message.extras, message.client_id)
    return zlib.crc32(msgspec.msgpack.encode(payload)).to_bytes(4, "big")


class Dedup:
    """The projection: explicit message id -> its serial and payload digest."""

    name = TABLE
    prefix = b"d"
    kinds = frozenset({int(Kind.MESSAGES), int(Kind.EPHEMERAL)})
    on_trim = OnTrim.DROP

    def fold(self, table: Table, record: Record) -> None:
        if record.event.keyed:
            message = record.event.message
            row = record.serial.to_bytes(_SERIAL_BYTES, "big") + payload_digest(message)
            table.put(dedup_key(record.stream, message), row)

    def unfold(self, table: Table, record: Record) -> None:
        if record.event.keyed:
            table.delete(dedup_key(record.stream, record.event.message))


DECIDE: dict[type, Decide] = {Publish: decide}
