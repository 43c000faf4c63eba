"""Purging: taking what was published out of the log for good, because somebody asked.

A purge is an event in the system log, carried out as paced maintenance and finished by another
event; one that a crash interrupts goes on at the next start. What it removes is what lay before its
request. A channel or an app is trimmed: the chain goes on from the snapshot, dedup forgets the ids
(they may be published again), the channel stays known unless its app was deleted. A client's
messages are redacted in place, with their versions: chain and serials stay whole, bodies and rows
are gone, history passes over them. Its devices go too, and what it subscribed them to; those that
were registered since stay. What the client said of others' messages (annotations, who changed them)
is not taken.

Bytes may stay in LMDB's free pages until `tidelog compact`. Backups made before a purge still hold
what it removed.
"""

import msgspec

from broker import randomness, tenancy
from broker.channels import lifecycle, registry
from broker.channels.presence import ClearMembers
from broker.errors import BadRequest, NotFound
from broker.event import Kind
from broker.events import (
    ChannelClosed,
    ChannelRemoved,
    MessageAppended,
    MessagePublished,
    MessageUpdated,
    PurgeCompleted,
    PurgeRequested,
)
from broker.push.removal import RemoveDevices, RemovePush
from broker.stats import projections as stats
from broker.stats.recording import RemoveStats
from storage import Cut, Decision, LocalLog, OnTrim, Record, Rows, Stream, Table
from storage.projection import Decide

TABLE = "purges"
# Cuts are made from the last to the first: messages go before what is about them.
_CHANNEL_KINDS = (
    Kind.VERSIONS,
    Kind.ANNOTATIONS,
    Kind.EPHEMERAL,
    Kind.PRESENCE,
    Kind.ATTACHMENTS,
    Kind.MESSAGES,
)
_PUSH_KINDS = (Kind.PUSH, Kind.PUBLISHES)
_CLIENT_KINDS = (Kind.MESSAGES, Kind.EPHEMERAL, Kind.VERSIONS)


class Purge(msgspec.Struct, frozen=True):
    app: str
    channel: str | None = None
    client_id: str | None = None


class RemoveChannel(msgspec.Struct, frozen=True):
    """Of a deleted app, after its streams were trimmed."""

    app: str
    channel: str


class CompletePurge(msgspec.Struct, frozen=True):
    request: int


def decide(rows: Rows, command: Purge, ms: int) -> Decision:
    if command.channel == "" or command.client_id == "":
        raise BadRequest("a purge names a channel or a client, or neither; not an empty one")
    if command.channel is not None and command.client_id is not None:
        raise BadRequest("purge a channel or a client, not both at once")
    if command.channel is not None and registry.channel(rows, command.app, command.channel) is None:
        raise NotFound(f"app {command.app!r} has no channel {command.channel!r}")
    if command.channel is None and tenancy.app(rows, command.app) is None:
        raise NotFound(f"there is no app {command.app!r}")
    event = PurgeRequested(command.app, command.channel, command.client_id)
    return tenancy.in_system_log(event)


def remove_channel(rows: Rows, command: RemoveChannel, ms: int) -> Decision:
    app, channel = command.app, command.channel
    if registry.channel(rows, app, channel) is None:
        return Decision()
    events: list[tuple[Stream, object]] = [(Stream(app, channel, Kind.CHANNEL), ChannelRemoved())]
    if lifecycle.is_active(rows, app, channel):
        events.append((Stream(app, "", Kind.LIFECYCLE), ChannelClosed(channel)))
    return Decision(events)


def complete(rows: Rows, command: CompletePurge, ms: int) -> Decision:
    if rows.get(TABLE, command.request.to_bytes(8, "big")) is None:
        return Decision()
    return tenancy.in_system_log(PurgeCompleted(command.request))


class Purges:
    """The projection: purges that were requested and are not completed."""

    name = TABLE
    prefix = b"p"
    kinds = frozenset({int(Kind.SYSTEM)})
    on_trim = OnTrim.KEEP

    def fold(self, table: Table, record: Record) -> None:
        match record.event:
            case PurgeRequested():
                row = msgspec.msgpack.encode(record.event)
                table.put(record.serial.to_bytes(8, "big"), row)
            case PurgeCompleted(request):
                table.delete(request.to_bytes(8, "big"))

    def unfold(self, table: Table, record: Record) -> None:
        raise AssertionError("the system log is never trimmed")


def pending(rows: Rows) -> list[tuple[int, PurgeRequested]]:
    """Purges to carry out: (serial of the request, request)."""
    decode = msgspec.msgpack.Decoder(PurgeRequested).decode
    return [(int.from_bytes(key, "big"), decode(row)) for key, row in rows.scan(TABLE)]


async def carry_out(log: LocalLog, serial: int, request: PurgeRequested) -> None:
    """Remove what `request` names and lies before it, then say so in the log. May be repeated."""
    with log.view() as rows:
        deleted = not tenancy.app_exists(rows, request.app)
    for name in await _channels(log, request):
        if request.client_id is not None:
            await _redact_client(log, request, name, serial)
            continue
        if deleted:
            await _clear_members(log, request.app, name)
        streams = [Stream(request.app, name, kind) for kind in _CHANNEL_KINDS]
        await log.trim([Cut(stream, log.position if deleted else serial) for stream in streams])
        if deleted:
            await log.submit(RemoveChannel(request.app, name), app=request.app)
    if deleted:
        await _remove_stats(log, request.app)
    if deleted and request.channel is None:
        await _remove_push(log, request.app)
        await log.trim([Cut(Stream(request.app, "", kind), log.position) for kind in _PUSH_KINDS])
    await log.submit(CompletePurge(serial), app=request.app)


async def _clear_members(log: LocalLog, app: str, channel: str) -> None:
    """Fixtures would stay for ever: they have no connection that could be lost."""
    more = True
    while more:
        command = ClearMembers(app, channel, randomness.new_id())
        more = (await log.submit(command, app=app)).reply


async def _remove_push(log: LocalLog, app: str) -> None:
    """Devices a few at a time, for there may be very many; then what clients subscribed to."""
    place: bytes | None = b""
    while place is not None:
        place = (await log.submit(RemoveDevices(app, after=place), app=app)).reply.next
    await log.submit(RemovePush(app), app=app)


async def _remove_stats(log: LocalLog, app: str) -> None:
    """What was counted of it. The rows say which streams there are, so they go last."""
    found = await log.query(lambda rows: stats.days(rows, app))
    if not found:
        return
    await log.trim([Cut(stream, log.position) for stream in found])
    await log.submit(RemoveStats(app, tuple(found)), app=app)
    await log.trim([Cut(stream, log.position) for stream in found])


async def _channels(log: LocalLog, request: PurgeRequested) -> list[str]:
    if request.channel is not None:
        return [request.channel]
    return await log.query(
        lambda rows: [info.name for info in registry.channels(rows, request.app)]
    )


async def _redact_client(log: LocalLog, request: PurgeRequested, channel: str, serial: int) -> None:
    """What changed a message goes with it, also where it came after the request."""
    for kind in _CLIENT_KINDS:
        stream = Stream(request.app, channel, kind)
        last = log.position if kind is Kind.VERSIONS else serial
        await log.redact(stream, last, lambda event: _is_of(event, request.client_id, serial))


def _is_of(
    event: MessagePublished | MessageUpdated | MessageAppended, client_id: str | None, last: int
) -> bool:
    """Whether it is a message of this client, or is about one that lies up to serial `last`."""
    if not isinstance(event, MessagePublished) and event.of > last:
        return False
    message = event.fragment if isinstance(event, MessageAppended) else event.message
    return bool(message.client_id == client_id)


DECIDE: dict[type, Decide] = {
    Purge: decide,
    RemoveChannel: remove_channel,
    CompletePurge: complete,
}
