"""The versions of messages: a fold of what changed them, and the pages of them that are asked for.

A row per version, in their order; its content is in the record. What only appended is no version
of its own: the message as it had grown becomes one when it is changed otherwise, and that row holds
it.
"""

from collections.abc import Iterator
from typing import NamedTuple

from broker.event import Kind
from broker.events import MessageAppended, MessagePublished, MessageUpdated
from broker.interactions.keys import (
    SERIAL_BYTES,
    STATE,
    TABLE,
    VERSION,
    of_message,
    of_record,
)
from broker.interactions.state import UPDATE, State, decode, encode, grown, state_of
from storage import Record, Stream, Table, View


def fold(table: Table, record: Record) -> None:
    app, channel, _ = record.stream
    event = record.event
    key = of_message(STATE, app, channel, event.of)
    row = table.get(key)
    if row is None:
        return  # the message is gone
    before = decode(row) if row else None
    if isinstance(event, MessageAppended):
        table.put(key, encode(_appended(before, event, record.serial)))
        return
    if before is not None and before.appended:
        table.put(of_record(VERSION, app, channel, event.of, before.version), row)
    table.put(of_record(VERSION, app, channel, event.of, record.serial), b"")
    table.put(key, encode(updated(event, record.serial)))


def updated(event: MessageUpdated, serial: int) -> State:
    return State(event.message, serial, event.action, event.operation)


def _appended(before: State | None, event: MessageAppended, serial: int) -> State:
    message = before.message if before else event.base
    assert message is not None, "what was never changed comes with its first appended fragment"
    whole = grown(message, event.fragment)
    return State(whole, serial, UPDATE, event.operation, appended=True)


class Versions(NamedTuple):
    """`more`: whether others follow."""

    states: tuple[State, ...]
    more: bool


def versions(view: View, app: str, channel: str, serial: int, after: int, limit: int) -> Versions:
    """Versions of a message behind the serial `after`, oldest first; what it was published as is
    not among them."""
    found: list[State] = []
    for state in _walk(view, app, channel, serial, after):
        if len(found) == limit:
            return Versions(tuple(found), more=True)
        found.append(state)
    return Versions(tuple(found), more=False)


def _walk(view: View, app: str, channel: str, serial: int, after: int) -> Iterator[State]:
    stream = Stream(app, channel, Kind.VERSIONS)
    beginning = of_message(VERSION, app, channel, serial)
    behind = beginning + after.to_bytes(SERIAL_BYTES, "big")
    for key, row in view.scan(TABLE, beginning, behind):
        version = int.from_bytes(key[-SERIAL_BYTES:], "big")
        if row:
            yield decode(row)
            continue
        record = view.record(stream, version)
        if record is not None and isinstance(record.event, MessageUpdated):
            yield updated(record.event, version)
    latest = state_of(view, app, channel, serial)
    if latest is not None and latest.appended and latest.version > after:
        yield latest


def published_at(view: View, app: str, channel: str, serial: int) -> Record | None:
    """The record of a message; None when there is none of that serial, or it was purged."""
    record = view.record(Stream(app, channel, Kind.MESSAGES), serial)
    return record if record is not None and isinstance(record.event, MessagePublished) else None
