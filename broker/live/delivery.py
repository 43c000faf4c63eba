"""What subscribers are told of a batch: runs of messages and of presence messages, in log order.

Every item carries its own id, timestamp and serial, so what several publishers sent in one commit
can share a run (design.md 4). Protocols wrap the runs; the maps in them are ready to encode.
"""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Any, NamedTuple

from broker.channels import meta
from broker.channels.message_filter import MessageFilter
from broker.channels.presence import PRESENCE_ACTIONS
from broker.event import Kind
from broker.events import MessageAnnotated, MessageAppended, MessagePublished, MessageUpdated
from broker.interactions.showing import MessageShown
from broker.interactions.state import APPEND, State
from broker.interactions.summaries import Summary
from broker.interactions.versions import updated
from broker.live.given import AS_IT_SAYS, Plan, version_in
from broker.live.hub import Batch
from broker.messages.history import version_of
from broker.messages.message import Message
from broker.messages.serials import before, render
from broker.messages.wire import (
    ACTION_META,
    annotation_to_wire,
    message_fields,
    presence_to_wire,
    summary_to_wire,
)
from storage import Record
from storage.serial import ms_of

# Runs are split between publishes once they hold this much payload.
RUN_BYTES = 128 * 1024
_ITEM_BYTES = 256


class View(NamedTuple):
    """What an attachment sees. `without`: the connection whose own messages it does not
    (echo=false); `filter`: those messages only that it matches."""

    binary: bool
    messages: bool
    presence: bool
    without: str | None = None
    annotations: bool = False
    filter: MessageFilter | None = None


class Sort(StrEnum):
    """What a run is of; named as protocols name it."""

    MESSAGES = "messages"
    PRESENCE = "presence"
    ANNOTATIONS = "annotations"


class Run(NamedTuple):
    """Neighbours of one sort. `serial`: as the client will come back with it, of the last record
    that they tell all of. `size`: of their payloads as they are stored, for the statistics."""

    sort: Sort
    serial: str
    items: list[dict[str, Any]]
    size: int


Item = tuple[Sort, dict[str, Any]]
_MESSAGES = Sort.MESSAGES  # looked up once: it is slow, and of every message


def runs(batch: Batch, series: str, view: View, plan: Plan = AS_IT_SAYS) -> Iterator[Run]:
    """`plan`: how changes of messages are told; `batch.states` and `batch.sums` have what is told
    of messages besides the records."""
    items: list[dict[str, Any]] = []
    current, size, payload, previous = _MESSAGES, 0, 0, 0
    teller = _Teller(batch, series, view, plan)
    for record in batch.records:
        for sort, item in teller.items(record):
            full = size > RUN_BYTES and record.serial >> 10 != previous >> 10
            if items and (sort is not current or full):
                told = before(previous) if previous == record.serial else previous
                yield Run(current, render(told, series), items, payload)
                items, size, payload = [], 0, 0
            items.append(item)
            current, previous = sort, record.serial
            data_size = len(item.get("data") or "")
            size += data_size + _ITEM_BYTES
            payload += _stored_size(item, data_size)
    if items:
        yield Run(current, render(previous, series), items, payload)


def _stored_size(item: dict[str, Any], size: int) -> int:
    """Of its payload, whatever the format made of binary data."""
    if not item.get("encoding", "").endswith("base64") or not isinstance(item["data"], str):
        return size
    return size * 3 // 4 - item["data"].count("=", -2)


class _Teller:
    """What one variant of an attachment is told of each record of a batch."""

    def __init__(self, batch: Batch, series: str, view: View, plan: Plan) -> None:
        self._batch = batch
        self._series = series
        self._view = view
        self._plan = plan
        self._had = dict(plan.had)
        self._told: set[int] = set()

    def items(self, record: Record) -> Iterable[Item]:
        event = record.event
        if isinstance(event, MessagePublished):  # almost every record, so before anything else
            return _told(self._published(event.message, record))
        if isinstance(event, MessageAnnotated):
            return self._annotated(event, record)
        if record.stream.kind == Kind.PRESENCE:
            return ((Sort.PRESENCE, self._presence(record)),) if self._view.presence else ()
        if not self._view.messages:
            return ()
        if isinstance(event, MessageUpdated | MessageAppended | MessageShown):
            return _told(self._changed(event, record))
        return _told(self._lifecycle(record))

    def _published(self, message: Message, record: Record) -> dict[str, Any] | None:
        view = self._view
        if not view.messages or (view.without and message.connection_id == view.without):
            return None
        if self._is_hidden(message):
            return None
        serial = render(record.serial, self._series)
        return message_fields(message, serial, ms_of(record.serial), binary=view.binary)

    def _presence(self, record: Record) -> dict[str, Any]:
        action, ms = PRESENCE_ACTIONS[type(record.event)], ms_of(record.serial)
        return presence_to_wire(record.event.member, action, ms, binary=self._view.binary)

    def _changed(
        self, event: MessageUpdated | MessageAppended | MessageShown, record: Record
    ) -> dict[str, Any] | None:
        if version_in(record) <= self._had.get(event.of, 0) or self._is_own(event):
            return None
        if event.of in self._plan.whole:
            state = self._batch.states[event.of]
            if state is None or event.of in self._told:
                return None
            self._told.add(event.of)
            return self._state(event.of, state)
        if isinstance(event, MessageShown):
            return self._state(event.of, event.state, event.summary)
        return self._state(event.of, _as_said(event, record.serial))

    def _is_own(self, event: MessageUpdated | MessageAppended | MessageShown) -> bool:
        if isinstance(event, MessageShown):
            by = event.publisher
        else:
            by = event.sent[0] if event.sent else None
        return by is not None and by == self._view.without

    def _is_hidden(self, message: Message) -> bool:
        return self._view.filter is not None and not self._view.filter.matches(message)

    def _state(
        self, of: int, state: State, summary: Summary | None = None
    ) -> dict[str, Any] | None:
        if self._is_hidden(state.message):
            return None
        return message_fields(
            state.message,
            render(of, self._series),
            ms_of(of),
            binary=self._view.binary,
            action=state.action,
            version=version_of(of, state.version, state.operation, self._series),
            summary=summary,
        )

    def _annotated(self, event: MessageAnnotated, record: Record) -> Iterator[Item]:
        """What all annotations of a message come to, once for the last of a batch; then the
        annotation itself, for who wants to see each. In this order, because a client that hears the
        first alone comes back for both, and a summary may be told twice."""
        found = self._batch.sums.get(event.of)
        if found is None or self._is_hidden(found.message):
            return
        view = self._view
        of, serial = render(event.of, self._series), render(record.serial, self._series)
        ms = ms_of(record.serial)
        is_last = self._batch.annotated[event.of] == record.serial
        if view.messages and is_last and found.summary is not None:
            item = summary_to_wire(found.message.name, found.summary, of, serial, ms)
            yield Sort.MESSAGES, item
        is_own = view.without and event.annotation.connection_id == view.without
        if view.annotations and not is_own:
            item = annotation_to_wire(event.annotation, of, serial, ms, binary=view.binary)
            yield Sort.ANNOTATIONS, item

    def _lifecycle(self, record: Record) -> dict[str, Any] | None:
        told = meta.message(record)
        if told is None:
            return None
        serial, ms = render(record.serial, self._series), ms_of(record.serial)
        return message_fields(told, serial, ms, binary=self._view.binary, action=ACTION_META)


def _told(item: dict[str, Any] | None) -> Iterable[Item]:
    return () if item is None else ((_MESSAGES, item),)


def _as_said(event: MessageUpdated | MessageAppended, serial: int) -> State:
    """A change by itself: the message as it is then, or what was appended."""
    if isinstance(event, MessageUpdated):
        return updated(event, serial)
    return State(event.fragment, serial, APPEND, event.operation)
