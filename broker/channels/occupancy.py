"""Occupancy: how many attachments a channel has, by what they may do. A fold of attach and detach.

Counts are kept per channel and epoch. A process that died took its attachments with it, so only
the counts of the running epoch are read; those of older ones go when the channel is next attached.
"""

import msgspec

from broker.channels import presence
from broker.channels.lifecycle import opening
from broker.channels.modes import Mode
from broker.channels.registry import channel_key
from broker.event import Kind
from broker.events import ChannelAttached, ChannelDetached
from storage import Decision, OnTrim, Record, Rows, Stream, Table
from storage.projection import Decide

TABLE = "occupancy"
_EPOCH_BYTES = 8


class Occupancy(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The metrics of a channel (reference 1.6.3), by their names on the wire."""

    connections: int = 0
    publishers: int = 0
    subscribers: int = 0
    presence_connections: int = 0
    presence_members: int = 0
    presence_subscribers: int = 0
    object_publishers: int = 0
    object_subscribers: int = 0


# What each mode counts as; every attachment counts as a connection.
_COUNTED = {
    Mode.PUBLISH: "publishers",
    Mode.SUBSCRIBE: "subscribers",
    Mode.PRESENCE: "presence_connections",
    Mode.PRESENCE_SUBSCRIBE: "presence_subscribers",
    Mode.OBJECT_PUBLISH: "object_publishers",
    Mode.OBJECT_SUBSCRIBE: "object_subscribers",
}


class Attach(msgspec.Struct, frozen=True):
    app: str
    channel: str
    connection: str
    modes: int
    epoch: int


class Detach(msgspec.Struct, frozen=True):
    """Takes back the Attach with the same fields."""

    app: str
    channel: str
    connection: str
    modes: int
    epoch: int


def attach(rows: Rows, command: Attach, ms: int) -> Decision:
    event = ChannelAttached(command.connection, command.modes, command.epoch)
    stream = Stream(command.app, command.channel, Kind.ATTACHMENTS)
    return Decision(opening(rows, command.app, command.channel, [(stream, event)]))


def detach(rows: Rows, command: Detach, ms: int) -> Decision:
    if rows.get(TABLE, _key(command.app, command.channel, command.epoch)) is None:
        return Decision()
    event = ChannelDetached(command.connection, command.modes, command.epoch)
    return Decision([(Stream(command.app, command.channel, Kind.ATTACHMENTS), event)])


class Occupancies:
    """The projection: (channel, epoch) -> counts."""

    name = TABLE
    prefix = b"o"
    kinds = frozenset({int(Kind.ATTACHMENTS)})
    on_trim = OnTrim.KEEP

    def fold(self, table: Table, record: Record) -> None:
        app, channel, _ = record.stream
        event = record.event
        key = _key(app, channel, event.epoch)
        row = table.get(key)
        if row is None:
            _forget_older(table, app, channel, event.epoch)
        counts = _counted(row, event.modes, -1 if isinstance(event, ChannelDetached) else 1)
        if counts.connections > 0:
            table.put(key, _encode(counts))
        else:
            table.delete(key)

    def unfold(self, table: Table, record: Record) -> None:
        raise AssertionError("occupancy is kept when its events are trimmed")


def _forget_older(table: Table, app: str, channel: str, epoch: int) -> None:
    for key, _ in list(table.scan(channel_key(app, channel))):
        if int.from_bytes(key[-_EPOCH_BYTES:], "big") < epoch:
            table.delete(key)


def _counted(row: bytes | None, modes: int, step: int) -> Occupancy:
    counts = _read(row) if row else Occupancy()
    fields = [name for mode, name in _COUNTED.items() if modes & mode]
    return msgspec.structs.replace(
        counts, **{name: getattr(counts, name) + step for name in ("connections", *fields)}
    )


_encode = msgspec.msgpack.Encoder().encode
_read = msgspec.msgpack.Decoder(Occupancy).decode


def _key(app: str, channel: str, epoch: int) -> bytes:
    return channel_key(app, channel) + epoch.to_bytes(_EPOCH_BYTES, "big")


def occupancy(rows: Rows, app: str, channel: str, epoch: int) -> Occupancy:
    """The metrics of a channel as they stand in a running epoch."""
    row = rows.get(TABLE, _key(app, channel, epoch))
    counts = _read(row) if row else Occupancy()
    return msgspec.structs.replace(counts, presence_members=presence.count(rows, app, channel))


def attached(rows: Rows, app: str, channel: str, epoch: int) -> bool:
    return rows.get(TABLE, _key(app, channel, epoch)) is not None


DECIDE: dict[type, Decide] = {Attach: attach, Detach: detach}
