"""Presence: who is on a channel. A member is one client id on one connection (RTP2).

What an enter, update or leave comes to is decided in the log's transaction: whether the member is
there, what data its leave carries, whether there is room. Members stay over restarts; those of a
connection that is gone leave by events (broker.live.connections).
"""

from collections.abc import Iterator
from enum import IntEnum
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from broker import tenancy
from broker.channels.lifecycle import opening
from broker.channels.registry import app_prefix, channel_key
from broker.errors import BadRequest
from broker.event import Kind
from broker.events import MemberEntered, MemberLeft, MemberUpdated
from broker.live.connection_log import connection, is_held
from broker.messages.acceptance import accepted
from broker.messages.message import PresenceMessage
from storage import Decision, OnTrim, Record, Rows, Stream, Table
from storage.projection import Decide
from storage.serial import ms_of

TOO_MANY_MEMBERS = 91003
TABLE = "presence"
LEAVES_MAX = 1_000
_MEMBER, _COUNT, _CONNECTION = b"m", b"n", b"c"
_COUNT_BYTES = 4
_DIGITS_MAX = 19
_DIGEST_BYTES = 16
_PLACE_BYTES = 24 + _DIGEST_BYTES  # a channel key and the member's digest


class PresenceAction(IntEnum):
    """TP2. ABSENT is the clients' own."""

    ABSENT = 0
    PRESENT = 1
    ENTER = 2
    LEAVE = 3
    UPDATE = 4


PRESENCE_ACTIONS: dict[type, PresenceAction] = {
    MemberEntered: PresenceAction.ENTER,
    MemberUpdated: PresenceAction.UPDATE,
    MemberLeft: PresenceAction.LEAVE,
}


class Member(msgspec.Struct, frozen=True):
    """A member as it stands. `serial`: of its latest enter or update."""

    presence: PresenceMessage
    serial: int

    @property
    def timestamp(self) -> int:
        return ms_of(self.serial)


class Change(NamedTuple):
    action: PresenceAction
    presence: PresenceMessage


class ChangePresence(msgspec.Struct, frozen=True):
    """The changes of one protocol message, all or none. `msg_serial`: None when the broker makes
    them. `members_max`: how many the channel may have; 0 is no limit."""

    app: str
    channel: str
    connection: str
    changes: tuple[Change, ...]
    msg_serial: int | None = None
    members_max: int = 0


class LeaveMembers(msgspec.Struct, frozen=True):
    """Up to LEAVES_MAX members of a connection leave, of one channel or of all. `id_base`: begins
    the ids of the leaves, which the broker makes (reference 3.10). `if_lost`: unless a running
    process holds the connection, again or still."""

    app: str
    connection: str
    id_base: str
    channel: str | None = None
    if_lost: bool = False


class ClearMembers(msgspec.Struct, frozen=True):
    """Up to LEAVES_MAX members of a channel leave, whosever they are: its app was deleted."""

    app: str
    channel: str
    id_base: str


def change(rows: Rows, command: ChangePresence, ms: int) -> Decision:
    tenancy.require_app(rows, command.app)
    if command.msg_serial is not None:
        serial = accepted(rows, command.connection, command.msg_serial)
        if serial is not None:
            return Decision(duplicate=(serial,))
    stream = Stream(command.app, command.channel, Kind.PRESENCE)
    changed: dict[bytes, PresenceMessage | None] = {}
    joining = 0
    events: list[tuple[Stream, object]] = []
    for action, presence in command.changes:
        key = _member_key(command.app, command.channel, presence)
        last = changed[key] if key in changed else _last(rows, key)
        if action is PresenceAction.LEAVE:
            if last is not None:
                events.append((stream, _left(presence, last, command.msg_serial)))
                changed[key], joining = None, joining - 1
            continue
        if last is not None and _is_older(presence, last):
            continue
        changed[key], joining = presence, joining + (last is None)
        event = MemberUpdated if action is PresenceAction.UPDATE else MemberEntered
        events.append((stream, event(presence, command.msg_serial)))
    _check_room(rows, command, joining)
    return Decision(opening(rows, command.app, command.channel, events))


def _check_room(rows: Rows, command: ChangePresence, joining: int) -> None:
    limit = tenancy.presence_members_max(rows, command.app) or command.members_max
    if limit and joining > 0 and count(rows, command.app, command.channel) + joining > limit:
        raise BadRequest(f"the channel has {limit} members already", TOO_MANY_MEMBERS)


def _is_older(presence: PresenceMessage, last: PresenceMessage) -> bool:
    """Whether it repeats what the member said before, as SDKs do when they attach again (RTP17g):
    with the id of the first enter, behind an update that they had queued (RTP2b2)."""
    given, known = _said_at(presence), _said_at(last)
    return given is not None and known is not None and given <= known


def _said_at(presence: PresenceMessage) -> tuple[int, int] | None:
    """(msgSerial, index), where the id has the protocol's form."""
    connection, *place = presence.id.rsplit(":", 2)
    if connection != presence.connection_id or len(place) != 2 or not all(map(_is_number, place)):
        return None
    return int(place[0]), int(place[1])


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX


def _last(rows: Rows, key: bytes) -> PresenceMessage | None:
    row = rows.get(TABLE, key)
    return None if row is None else _read(row).presence


def _left(presence: PresenceMessage, last: PresenceMessage, msg_serial: int | None) -> MemberLeft:
    """A leave without data carries what the member last had (reference 3.10)."""
    if presence.data is None:
        presence = msgspec.structs.replace(
            presence, data=last.data, encoding=last.encoding, extras=presence.extras or last.extras
        )
    return MemberLeft(presence, msg_serial)


def leave(rows: Rows, command: LeaveMembers, ms: int) -> Decision:
    """Decision.reply: whether more members are left to leave."""
    row = connection(rows, command.connection) if command.if_lost else None
    if row is not None and row.app == command.app and is_held(rows, row):
        return Decision(reply=False)
    prefix = _connection_prefix(command.connection)
    if command.channel is not None:
        prefix += channel_key(command.app, command.channel)
    found = [
        (channel.decode(), _MEMBER + key[-_PLACE_BYTES:])
        for key, channel in rows.scan(TABLE, prefix)
        if key[-_PLACE_BYTES:].startswith(app_prefix(command.app))
    ]
    return _leaves(rows, command.app, found, command.id_base)


def clear(rows: Rows, command: ClearMembers, ms: int) -> Decision:
    """Decision.reply: whether more members are left to leave."""
    prefix = _MEMBER + channel_key(command.app, command.channel)
    found = [(command.channel, key) for key, _ in rows.scan(TABLE, prefix)]
    return _leaves(rows, command.app, found, command.id_base)


def _leaves(rows: Rows, app: str, found: list[tuple[str, bytes]], id_base: str) -> Decision:
    events: list[tuple[Stream, object]] = []
    for index, (channel, key) in enumerate(found[:LEAVES_MAX]):
        member = _read(rows.get(TABLE, key) or b"").presence
        leaving = msgspec.structs.replace(member, id=f"{id_base}:0:{index}")
        events.append((Stream(app, channel, Kind.PRESENCE), MemberLeft(leaving)))
    return Decision(events, reply=len(found) > LEAVES_MAX)


class Members:
    """The projection: one row per member, a count per channel, an index by connection."""

    name = TABLE
    prefix = b"m"
    kinds = frozenset({int(Kind.PRESENCE)})
    on_trim = OnTrim.KEEP

    def fold(self, table: Table, record: Record) -> None:
        app, channel, _ = record.stream
        presence = record.event.member
        key = _member_key(app, channel, presence)
        by_connection = _connection_prefix(presence.connection_id) + key[1:]
        known = table.get(key) is not None
        if isinstance(record.event, MemberLeft):
            if known:
                table.delete(key)
                table.delete(by_connection)
                _add(table, app, channel, -1)
            return
        table.put(key, _encode(Member(presence, record.serial)))
        if not known:
            table.put(by_connection, channel.encode())
            _add(table, app, channel, 1)

    def unfold(self, table: Table, record: Record) -> None:
        raise AssertionError("members are kept when their events are trimmed")


def _add(table: Table, app: str, channel: str, step: int) -> None:
    key = _COUNT + channel_key(app, channel)
    total = int.from_bytes(table.get(key) or b"", "big") + step
    if total:
        table.put(key, total.to_bytes(_COUNT_BYTES, "big"))
    else:
        table.delete(key)


_encode = msgspec.msgpack.Encoder().encode
_read = msgspec.msgpack.Decoder(Member).decode


def _member_key(app: str, channel: str, presence: PresenceMessage) -> bytes:
    member = f"{presence.connection_id}:{presence.client_id}".encode()
    digest = blake2b(member, digest_size=_DIGEST_BYTES).digest()
    return _MEMBER + channel_key(app, channel) + digest


def _connection_prefix(connection: str) -> bytes:
    return _CONNECTION + blake2b(connection.encode(), digest_size=_DIGEST_BYTES).digest()


def count(rows: Rows, app: str, channel: str) -> int:
    """How many members a channel has."""
    return int.from_bytes(rows.get(TABLE, _COUNT + channel_key(app, channel)) or b"", "big")


def members(
    rows: Rows, app: str, channel: str, after: bytes = b""
) -> Iterator[tuple[bytes, Member]]:
    """Members in an order of their own, behind `after`, with the cursor behind each."""
    prefix = _MEMBER + channel_key(app, channel)
    for key, row in rows.scan(TABLE, prefix, prefix + after if after else b""):
        yield key[len(prefix) :], _read(row)


class MembersPage(msgspec.Struct, frozen=True):
    """`next`: what to give as `after` for the page behind this one, None when it was the last."""

    members: tuple[Member, ...]
    next: bytes | None


def members_page(
    rows: Rows,
    app: str,
    channel: str,
    after: bytes,
    limit: int,
    client_id: str | None,
    connection_id: str | None,
) -> MembersPage:
    """At most `limit` members, those of a client and of a connection if they are given."""
    found: list[tuple[bytes, Member]] = []
    for cursor, member in members(rows, app, channel, after):
        if client_id is not None and member.presence.client_id != client_id:
            continue
        if connection_id is not None and member.presence.connection_id != connection_id:
            continue
        if len(found) == limit:
            return MembersPage(tuple(known for _, known in found), found[-1][0])
        found.append((cursor, member))
    return MembersPage(tuple(known for _, known in found), None)


DECIDE: dict[type, Decide] = {ChangePresence: change, LeaveMembers: leave, ClearMembers: clear}
