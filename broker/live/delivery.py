"""What subscribers are told of a batch: runs of messages and of presence messages, in log order.

Every item carries its own id, timestamp and serial, so what several publishers sent in one commit
can share a run (design.md 4). Protocols wrap the runs; the maps in them are ready to encode.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from broker.channels import meta
from broker.channels.presence import PRESENCE_ACTIONS
from broker.events import Kind, MessagePublished
from broker.messages.serials import render
from broker.messages.wire import ACTION_META, message_fields, presence_to_wire
from broker.stats.counters import payload_size
from storage import Record
from storage.serial import ms_of

# Runs are split between publishes once they hold this much payload.
RUN_BYTES = 128 * 1024
_ITEM_BYTES = 256


class View(NamedTuple):
    """What an attachment sees. `without`: the connection whose own messages it does not
    (echo=false)."""

    binary: bool
    messages: bool
    presence: bool
    without: str | None = None


class Run(NamedTuple):
    """Neighbours of one sort. `serial`: of the last one, as the client will come back with it.
    `size`: of their payloads as they are stored, for the statistics."""

    presence: bool
    serial: str
    items: list[dict[str, Any]]
    size: int


def runs(records: Sequence[Record], series: str, view: View) -> Iterator[Run]:
    items: list[dict[str, Any]] = []
    of_presence, size, payload, previous = False, 0, 0, 0
    for record in records:
        item = _item(record, series, view)
        if item is None:
            continue
        is_presence = record.stream.kind == Kind.PRESENCE
        full = size > RUN_BYTES and record.serial >> 10 != previous >> 10
        if items and (is_presence != of_presence or full):
            yield Run(of_presence, render(previous, series), items, payload)
            items, size, payload = [], 0, 0
        items.append(item)
        of_presence, previous = is_presence, record.serial
        size += len(item.get("data") or "") + _ITEM_BYTES
        payload += _payload_size(record, item)
    if items:
        yield Run(of_presence, render(previous, series), items, payload)


def _payload_size(record: Record, item: dict[str, Any]) -> int:
    """Whatever the format makes of binary data. What a metachannel tells is only in the item."""
    event = record.event
    if isinstance(event, MessagePublished):
        return payload_size(event.message)
    member = getattr(event, "member", None)
    return len(item["data"]) if member is None else payload_size(member)


def _item(record: Record, series: str, view: View) -> dict[str, Any] | None:
    event = record.event
    if isinstance(event, MessagePublished):
        message = event.message
        if not view.messages or (view.without and message.connection_id == view.without):
            return None
        serial = render(record.serial, series)
        return message_fields(message, serial, ms_of(record.serial), binary=view.binary)
    if record.stream.kind == Kind.PRESENCE:
        if not view.presence:
            return None
        action = PRESENCE_ACTIONS[type(event)]
        return presence_to_wire(event.member, action, ms_of(record.serial), binary=view.binary)
    told = meta.message(record)
    if told is None or not view.messages:
        return None
    serial = render(record.serial, series)
    return message_fields(
        told, serial, ms_of(record.serial), binary=view.binary, action=ACTION_META
    )
