"""Annotating a message: one command for the annotations of one request, all or none."""

from hashlib import blake2b

import msgspec

from broker import tenancy
from broker.channels.lifecycle import opening
from broker.errors import BadRequest, NotFound
from broker.event import Kind
from broker.events import Annotation, MessageAnnotated
from broker.interactions import summaries
from broker.interactions.changing import NOT_MUTABLE
from broker.interactions.keys import ANNOTATION, ANNOTATION_ID, TABLE, of_message, of_record
from broker.interactions.state import can_change
from broker.interactions.summaries import check_room
from broker.messages.acceptance import accepted
from storage import Decision, Record, Rows, Stream, Table
from storage.projection import Decide

_SERIAL_BYTES = 8


class AnnotateMessage(msgspec.Struct, frozen=True, gc=False):
    """`of`: the serial of the message. `keyed`: the ids are their publisher's. `sent`: the
    (connectionId, msgSerial) they came with; `resent`: they may have been accepted before."""

    app: str
    channel: str
    of: int
    annotations: tuple[Annotation, ...]
    keyed: bool
    sent: tuple[str, int] | None = None
    resent: bool = False


def decide(rows: Rows, command: AnnotateMessage, ms: int) -> Decision:
    """Raises BadRequest 93002 where messages cannot be annotated, 40000 for too many kinds of
    annotations; NotFound for a message that is not there."""
    tenancy.require_app(rows, command.app)
    repeat = _repeat(rows, command)
    if repeat is not None:
        return Decision(duplicate=repeat)
    if not tenancy.rules(rows, command.app, command.channel).mutable_messages:
        raise BadRequest("messages of this channel cannot be annotated", NOT_MUTABLE)
    if not can_change(rows, command.app, command.channel, command.of):
        raise NotFound("there is no message of this serial that could be annotated")
    check_room(rows, command.app, command.channel, command.of, command.annotations)
    stream = Stream(command.app, command.channel, Kind.ANNOTATIONS)
    first, *others = command.annotations
    events: list[tuple[Stream, object]] = [
        (stream, MessageAnnotated(command.of, first, command.keyed, command.sent)),
        *((stream, MessageAnnotated(command.of, one, command.keyed)) for one in others),
    ]
    return Decision(opening(rows, command.app, command.channel, events))


def _repeat(rows: Rows, command: AnnotateMessage) -> tuple[int | None, ...] | None:
    """The serials of the same annotations, where they were made before."""
    count = len(command.annotations)
    if command.sent and command.resent:
        serial = accepted(rows, *command.sent)
        if serial is not None:
            return tuple(range(serial, serial + count))
    if not command.keyed:
        return None
    known = [
        rows.get(TABLE, _id_key(command.app, command.channel, command.of, one.id))
        for one in command.annotations
    ]
    if not any(known):
        return None
    return tuple(None if row is None else int.from_bytes(row, "big") for row in known)


def _id_key(app: str, channel: str, of: int, id_: str) -> bytes:
    """By digest: ids are the users', of any length."""
    digest = blake2b(id_.encode(), digest_size=16).digest()
    return of_message(ANNOTATION_ID, app, channel, of) + digest


def fold(table: Table, record: Record) -> None:
    app, channel, _ = record.stream
    event = record.event
    table.put(of_record(ANNOTATION, app, channel, event.of, record.serial), b"")
    if event.keyed:
        id_key = _id_key(app, channel, event.of, event.annotation.id)
        table.put(id_key, record.serial.to_bytes(_SERIAL_BYTES, "big"))
    summaries.fold(table, app, channel, event.of, event.annotation)


DECIDE: dict[type, Decide] = {AnnotateMessage: decide}
