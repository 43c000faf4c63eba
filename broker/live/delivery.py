"""What subscribers are told of a batch: runs of messages and of presence messages, in log order.

Every item carries its own id, timestamp and serial, so what several publishers sent in one commit
can share a run (design.md 4). Protocols wrap the runs; the maps in them are ready to encode.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from broker.channels import meta
from broker.channels.presence import PRESENCE_ACTIONS
from broker.events import Kind, MessageAppended, MessagePublished, MessageUpdated
from broker.interactions.showing import MessageShown
from broker.interactions.state import APPEND, State
from broker.interactions.versions import updated
from broker.live.given import AS_IT_SAYS, Plan
from broker.live.hub import Batch
from broker.messages.history import version_of
from broker.messages.message import Message
from broker.messages.serials import render
from broker.messages.wire import ACTION_META, message_fields, presence_to_wire
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
    """Neighbours of one sort. `serial`: of the last one, as the client will come back with it."""

    presence: bool
    serial: str
    items: list[dict[str, Any]]


def runs(batch: Batch, series: str, view: View, plan: Plan = AS_IT_SAYS) -> Iterator[Run]:
    """`plan`: how changes of messages are told; `batch.states` has the states for it."""
    items: list[dict[str, Any]] = []
    of_presence, size, previous = False, 0, 0
    teller = _Teller(batch, series, view, plan)
    for record in batch.records:
        item = teller.item(record)
        if item is None:
            continue
        is_presence = record.stream.kind == Kind.PRESENCE
        full = size > RUN_BYTES and record.serial >> 10 != previous >> 10
        if items and (is_presence != of_presence or full):
            yield Run(of_presence, render(previous, series), items)
            items, size = [], 0
        items.append(item)
        of_presence, previous = is_presence, record.serial
        size += len(item.get("data") or "") + _ITEM_BYTES
    if items:
        yield Run(of_presence, render(previous, series), items)


class _Teller:
    """What one variant of an attachment is told of each record of a batch."""

    def __init__(self, batch: Batch, series: str, view: View, plan: Plan) -> None:
        self._batch = batch
        self._series = series
        self._view = view
        self._plan = plan
        self._told: set[int] = set()

    def item(self, record: Record) -> dict[str, Any] | None:
        event = record.event
        if isinstance(event, MessagePublished):
            return self._published(event.message, record)
        if record.stream.kind == Kind.PRESENCE:
            return self._presence(record)
        if not self._view.messages:
            return None
        if isinstance(event, MessageUpdated | MessageAppended | MessageShown):
            return self._changed(event, record)
        return self._lifecycle(record)

    def _published(self, message: Message, record: Record) -> dict[str, Any] | None:
        view = self._view
        if not view.messages or (view.without and message.connection_id == view.without):
            return None
        serial = render(record.serial, self._series)
        return message_fields(message, serial, ms_of(record.serial), binary=view.binary)

    def _presence(self, record: Record) -> dict[str, Any] | None:
        if not self._view.presence:
            return None
        action, ms = PRESENCE_ACTIONS[type(record.event)], ms_of(record.serial)
        return presence_to_wire(record.event.member, action, ms, binary=self._view.binary)

    def _changed(
        self, event: MessageUpdated | MessageAppended | MessageShown, record: Record
    ) -> dict[str, Any] | None:
        if event.of in self._plan.passed_over or self._is_own(event):
            return None
        if event.of in self._plan.whole:
            state = self._batch.states[event.of]
            if state is None or event.of in self._told:
                return None
            self._told.add(event.of)
            return self._state(event.of, state)
        if isinstance(event, MessageShown):
            return self._state(event.of, event.state)
        if isinstance(event, MessageUpdated):
            return self._state(event.of, updated(event, record.serial))
        fragment = State(event.fragment, record.serial, APPEND, event.operation)
        return self._state(event.of, fragment)

    def _is_own(self, event: MessageUpdated | MessageAppended | MessageShown) -> bool:
        sent = None if isinstance(event, MessageShown) else event.sent
        return bool(self._view.without and sent and sent[0] == self._view.without)

    def _state(self, of: int, state: State) -> dict[str, Any]:
        return message_fields(
            state.message,
            render(of, self._series),
            ms_of(of),
            binary=self._view.binary,
            action=state.action,
            version=version_of(of, state.version, state.operation, self._series),
        )

    def _lifecycle(self, record: Record) -> dict[str, Any] | None:
        told = meta.message(record)
        if told is None:
            return None
        serial, ms = render(record.serial, self._series), ms_of(record.serial)
        return message_fields(told, serial, ms, binary=self._view.binary, action=ACTION_META)
