"""Occupancy: how many attachments a channel has, by what they may do. A fold of attach and detach.

Counts are kept per channel and epoch. A process that died took its attachments with it, so only
the counts of running epochs are read; those of others go when the channel is next attached by a
process that had nothing attached there.
"""

import msgspec

from broker.channels import presence
from broker.channels.lifecycle import opening
from broker.channels.modes import Mode
from broker.channels.registry import channel_key
from broker.event import Kind
from broker.events import ChannelAttached, ChannelDetached
from broker.live.connection_log import live_epochs
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
    beside: tuple[int, ...] = ()
    if rows.get(TABLE, _key(command.app, command.channel, command.epoch)) is None:
        beside = tuple(one for one in live_epochs(rows) if one != command.epoch)
    event = ChannelAttached(command.connection, command.modes, command.epoch, beside)
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
            _forget_others(table, app, channel, event)
        counts = _counted(row, event.modes, -1 if isinstance(event, ChannelDetached) else 1)
        if counts.connections > 0:
            table.put(key, _encode(counts))
        else:
            table.delete(key)

    def unfold(self, table: Table, record: Record) -> None:
        raise AssertionError("occupancy is kept when its events are trimmed")


def _forget_others(table: Table, app: str, channel: str, event: ChannelAttached) -> None:
    stay = {event.epoch, *event.beside}
    for key, _ in list(table.scan(channel_key(app, channel))):
        if int.from_bytes(key[-_EPOCH_BYTES:], "big") not in stay:
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
    """The metrics of a channel as they stand in an epoch, and those that run beside it."""
    found = [rows.get(TABLE, _key(app, channel, one)) for one in running(rows, epoch)]
    counts = [_read(row) for row in found if row]
    members = presence.count(rows, app, channel)
    if len(counts) == 1:
        return msgspec.structs.replace(counts[0], presence_members=members)
    names = ("connections", *_COUNTED.values())
    total = {name: sum(getattr(one, name) for one in counts) for name in names}
    return Occupancy(**total, presence_members=members)


def running(rows: Rows, epoch: int) -> tuple[int, ...]:
    """The epochs that run beside one, and that one."""
    live = live_epochs(rows)
    return live if len(live) > 1 else (epoch,)


def attached(rows: Rows, app: str, channel: str, epoch: int) -> bool:
    epochs = running(rows, epoch)
    return any(rows.get(TABLE, _key(app, channel, one)) is not None for one in epochs)


DECIDE: dict[type, Decide] = {Attach: attach, Detach: detach}
