"""Notifications on their way, as the log knows them: accepted, in progress, settled.

Accepting one is one event, however many it is for. Delivering it appends what came of a page of
devices at a time, with the cursor behind it; whoever could not be reached yet has a row of its own,
found by when it is to be tried again. So a crash repeats a page at most, and loses nobody.

The events are kept for longer than anything can be on its way (broker.retention), and the rows of
what is delivered are gone by then.
"""

from collections.abc import Iterator
from itertools import islice

import msgspec

from broker import tenancy
from broker.channels.registry import app_prefix
from broker.event import Kind
from broker.push import tallies, waiting
from broker.push.events import (
    Attempt,
    DeliverySettled,
    Following,
    PublishAccepted,
    PublishProgressed,
    PushReported,
    Selector,
    Tally,
)
from broker.push.lifetime import TTL_MS_MAX
from broker.push.rows import digest
from broker.push.waiting import Waiting
from storage import Decision, OnTrim, Record, Rows, Stream, Table
from storage.projection import Decide

TABLE = waiting.TABLE
_PUBLISH, _REPORT = b"p", b"r"  # waiting has others


class PublishRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """A notification that is not delivered to everybody yet. `serial`: of its PublishAccepted.
    `cursor`: up to whom everybody has been tried; None: everybody has. `waiting`: how many are to
    be tried again."""

    app: str
    serial: int
    selector: Selector
    payload: dict[str, object]
    expires_ms: int
    cursor: bytes | None = b""
    waiting: int = 0
    following: tuple[Following, ...] = ()
    tally: Tally = Tally()


class AcceptPublish(msgspec.Struct, frozen=True):
    """`beside`: what is published with it, to tell that it was."""

    app: str
    selector: Selector
    payload: dict[str, object]
    expires_ms: int
    following: tuple[Following, ...] = ()
    beside: tuple[Following, ...] = ()


class ProgressPublish(msgspec.Struct, frozen=True):
    """A page of a publish was tried. Does nothing if another had got further already."""

    app: str
    publish: int
    after: bytes
    cursor: bytes | None
    attempts: tuple[Attempt, ...] = ()
    tally: Tally | None = None


class ReportEvent(msgspec.Struct, frozen=True):
    """What a device says became of a notification; once for each `what`. `following`: what is
    published when it says so for the first time."""

    app: str
    publish: str
    device: str
    what: str
    at_ms: int
    following: tuple[Following, ...] = ()


class SettleDelivery(msgspec.Struct, frozen=True):
    """What came of a delivery that had to be tried again."""

    app: str
    publish: int
    device: str
    again: Attempt | None = None


def stream_of(app: str) -> Stream:
    return Stream(app, "", Kind.PUBLISHES)


def accept(rows: Rows, command: AcceptPublish, ms: int) -> Decision:
    tenancy.require_app(rows, command.app)
    event = PublishAccepted(
        command.selector, command.payload, command.expires_ms, command.following
    )
    stream = stream_of(command.app)
    beside = [(stream, _told(one, one.payload, ms)) for one in command.beside]
    return Decision([(stream, event), *beside])


def progress(rows: Rows, command: ProgressPublish, ms: int) -> Decision:
    known = publish(rows, command.app, command.publish)
    if known is None or known.cursor != command.after:
        return Decision()
    tally = command.tally if known.following else None
    event = PublishProgressed(command.publish, command.cursor, command.attempts, tally)
    stream = stream_of(command.app)
    events: list[tuple[Stream, object]] = [(stream, event)]
    if command.cursor is None:
        tally = tallies.merged(known.tally, tally)
        added = {"at": ms, "tally": msgspec.to_builtins(tally), "clients": known.selector.clients}
        events += [(stream, _told(one, one.payload | added, ms)) for one in known.following]
    return Decision(events)


def _told(following: Following, payload: dict[str, object], ms: int) -> PublishAccepted:
    return PublishAccepted(Selector(recipient=following.recipient), payload, ms + TTL_MS_MAX)


def settle(rows: Rows, command: SettleDelivery, ms: int) -> Decision:
    if not waiting.is_waiting(rows, command.app, command.publish, command.device):
        return Decision()
    event = DeliverySettled(command.publish, command.device, command.again)
    return Decision([(stream_of(command.app), event)])


def report(rows: Rows, command: ReportEvent, ms: int) -> Decision:
    event = PushReported(command.publish, command.device, command.what, command.at_ms)
    tenancy.require_app(rows, command.app)
    if rows.get(TABLE, _report_key(command.app, event)) is not None:
        return Decision()
    stream = stream_of(command.app)
    events: list[tuple[Stream, object]] = [(stream, event)]
    events += [(stream, _told(one, one.payload, ms)) for one in command.following]
    return Decision(events)


class OutboxLog:
    """The projection."""

    name = TABLE
    prefix = b"b"
    kinds = frozenset({int(Kind.PUBLISHES)})
    on_trim = OnTrim.DROP

    def fold(self, table: Table, record: Record) -> None:
        app = record.stream.app
        match record.event:
            case PublishAccepted(selector, payload, expires_ms, following):
                row = PublishRow(
                    app, record.serial, selector, payload, expires_ms, following=following
                )
                table.put(_publish_key(app, record.serial), _encode(row))
            case PublishProgressed():
                _progressed(table, app, record.event)
            case DeliverySettled(of, device, again):
                _settled(table, app, of, device, again)
            case PushReported():
                table.put(_report_key(app, record.event), b"")

    def unfold(self, table: Table, record: Record) -> None:
        """Of what expired while nobody delivered it."""
        app, event = record.stream.app, record.event
        if isinstance(event, PublishAccepted):
            _forget(table, app, record.serial)
        elif isinstance(event, PushReported):
            table.delete(_report_key(app, event))


def _progressed(table: Table, app: str, event: PublishProgressed) -> None:
    of = event.publish
    row = table.get(_publish_key(app, of))
    if row is None:
        return
    known = _read_publish(row)
    # A device that changed sides between two pages is reached twice, and waits once.
    new = [a for a in event.attempts if waiting.get(table, app, of, a.device) is None]
    for attempt in new:
        waiting.put(table, Waiting(app, of, attempt))
    _put_publish(
        table,
        msgspec.structs.replace(
            known,
            cursor=event.cursor,
            waiting=known.waiting + len(new),
            tally=tallies.merged(known.tally, event.tally),
        ),
    )


def _settled(table: Table, app: str, of: int, device: str, again: Attempt | None) -> None:
    before, published = waiting.get(table, app, of, device), table.get(_publish_key(app, of))
    if before is None or published is None:
        return
    if again is not None:
        waiting.again(table, before, again)
        return
    waiting.remove(table, before)
    known = _read_publish(published)
    _put_publish(table, msgspec.structs.replace(known, waiting=known.waiting - 1))


def _put_publish(table: Table, row: PublishRow) -> None:
    key = _publish_key(row.app, row.serial)
    if row.cursor is None and not row.waiting:
        table.delete(key)
    else:
        table.put(key, _encode(row))


def _forget(table: Table, app: str, of: int) -> None:
    table.delete(_publish_key(app, of))
    waiting.remove_all(table, app, of)


_encode = msgspec.msgpack.Encoder().encode
_read_publish = msgspec.msgpack.Decoder(PublishRow).decode


def _publish_key(app: str, of: int) -> bytes:
    return _PUBLISH + app_prefix(app) + waiting.number(of)


def _report_key(app: str, event: PushReported) -> bytes:
    return _REPORT + app_prefix(app) + digest(f"{event.publish}\0{event.device}\0{event.what}")


def publish(rows: Rows, app: str, of: int) -> PublishRow | None:
    row = rows.get(TABLE, _publish_key(app, of))
    return _read_publish(row) if row else None


def unfinished(rows: Rows) -> Iterator[PublishRow]:
    """Every notification of every app that is not delivered to everybody, by app and age."""
    for _, row in rows.scan(TABLE, _PUBLISH):
        yield _read_publish(row)


class Unfinished(msgspec.Struct, frozen=True):
    """Of a PublishRow, what says whether everybody has been tried."""

    app: str
    serial: int
    cursor: bytes | None = b""


_read_unfinished = msgspec.msgpack.Decoder(Unfinished).decode


def next_unfinished(
    rows: Rows, after: bytes, limit: int
) -> tuple[list[tuple[str, int]], bytes | None]:
    """Of the next `limit` notifications, those with somebody who has not been tried; and behind
    what to go on, None at the end."""
    looked_at = list(islice(rows.scan(TABLE, _PUBLISH, after), limit))
    found = [_read_unfinished(row) for _, row in looked_at]
    last = looked_at[-1][0] if len(looked_at) == limit else None
    return [(one.app, one.serial) for one in found if one.cursor is not None], last


DECIDE: dict[type, Decide] = {
    AcceptPublish: accept,
    ProgressPublish: progress,
    SettleDelivery: settle,
    ReportEvent: report,
}
