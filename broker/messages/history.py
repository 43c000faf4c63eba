"""History: what a channel's message log holds, in pages that stay put while messages arrive.

A query resolves its bounds once (`end` in milliseconds, inclusive) and its cursor is the serial of
the last message seen, so pages never shift, repeat or skip (RSL2, reference 1.4).
"""

from typing import Any, Literal

import msgspec

from broker.channels.message_filter import MessageFilter
from broker.channels.presence import PRESENCE_ACTIONS, PresenceAction
from broker.errors import BadRequest
from broker.event import Kind
from broker.events import Operation
from broker.interactions.state import State, state_of
from broker.interactions.summaries import Summary, summary_of
from broker.messages.message import Message, PresenceMessage, StoredMessage, Version
from broker.messages.serials import render
from storage import Log, Page, Record, Span, Stream, View
from storage.serial import SERIAL_MAX, first_at, last_at, ms_of

INVALID_VALUE = 40003
Direction = Literal["backwards", "forwards"]
LIMIT_DEFAULT = 100
SCANNED_MAX = 1_000  # messages that one page of a filtered history looks at


class HistoryQuery(msgspec.Struct, frozen=True, kw_only=True):
    """start, end: milliseconds, inclusive (RSL2b1); `end` None is now. `cursor`: the serial behind
    which the page begins, in the query's direction. `until`: nothing behind this serial (RTL10b).
    """

    start: int = 0
    end: int | None = None
    direction: Direction = "backwards"
    limit: int = LIMIT_DEFAULT
    cursor: int | None = None
    until: int | None = None

    def span(self) -> Span:
        """The serials that the page may hold. Raises BadRequest 40003 when start is after end."""
        if self.end is not None and self.start > self.end:
            raise BadRequest("start must not be after end", INVALID_VALUE)
        first, last = first_at(self.start), SERIAL_MAX - 1
        if self.end is not None:
            last = last_at(self.end)
        if self.until is not None:
            last = min(last, self.until)
        backwards = self.direction == "backwards"
        if self.cursor is not None and backwards:
            last = min(last, self.cursor - 1)
        elif self.cursor is not None:
            first = max(first, self.cursor + 1)
        return Span(first, last, backwards)


class HistoryPage(msgspec.Struct, frozen=True):
    """Messages in the query's direction; `next` is the query of the next page, if there is one."""

    messages: tuple[StoredMessage, ...]
    next: HistoryQuery | None


class PresenceItem(msgspec.Struct, frozen=True):
    presence: PresenceMessage
    action: PresenceAction
    timestamp: int


class PresencePage(msgspec.Struct, frozen=True):
    """As HistoryPage, of what members did."""

    items: tuple[PresenceItem, ...]
    next: HistoryQuery | None


async def presence_history(log: Log, app: str, channel: str, query: HistoryQuery) -> PresencePage:
    stream = Stream(app, channel, Kind.PRESENCE)
    page = await log.read(stream, query.span(), limit=query.limit)
    items = tuple(
        PresenceItem(r.event.member, PRESENCE_ACTIONS[type(r.event)], ms_of(r.serial))
        for r in page.records
    )
    return PresencePage(items, _following(query, page))


async def history(
    log: Log,
    app: str,
    channel: str,
    query: HistoryQuery,
    series: str,
    selected: MessageFilter | None = None,
) -> HistoryPage:
    """Each message where it was published, as it stands now; of a filter those that it matches."""
    stream, span = Stream(app, channel, Kind.MESSAGES), query.span()

    def ask(view: View) -> HistoryPage:
        if selected is not None:
            return _selected(view, stream, query, selected, series)
        page = view.page(stream, span, limit=query.limit)
        messages = tuple(as_it_stands(view, record, series) for record in page.records)
        return HistoryPage(messages, _following(query, page))

    return await log.query(ask)


def _selected(
    view: View, stream: Stream, query: HistoryQuery, selected: MessageFilter, series: str
) -> HistoryPage:
    """A page that looked at SCANNED_MAX messages may hold few, or none, and have another behind."""
    page = view.page(stream, query.span(), limit=SCANNED_MAX)
    messages: list[StoredMessage] = []
    last = 0
    for record in page.records:
        message = as_it_stands(view, record, series)
        if not selected.matches(message):
            continue
        if len(messages) == query.limit:
            return HistoryPage(tuple(messages), msgspec.structs.replace(query, cursor=last))
        messages.append(message)
        last = record.serial
    return HistoryPage(tuple(messages), _following(query, page))


def _following(query: HistoryQuery, page: Page) -> HistoryQuery | None:
    return msgspec.structs.replace(query, cursor=page.last) if page.more else None


def as_it_stands(view: View, record: Record, series: str) -> StoredMessage:
    """The message of a MessagePublished record, in its latest version, with its annotations."""
    if not record.event.mutable:
        return stored(record, series)
    app, channel, _ = record.stream
    state = state_of(view, app, channel, record.serial)
    summary = summary_of(view, app, channel, record.serial)
    return stored(record, series, state, summary)


def stored(
    record: Record, series: str, state: State | None = None, summary: Summary | None = None
) -> StoredMessage:
    """The message of a MessagePublished record, or a version of it."""
    if state is None:
        return _stored(record.event.message, record.serial, series, summary=summary)
    version = version_of(record.serial, state.version, state.operation, series)
    return _stored(
        state.message,
        record.serial,
        series,
        action=state.action,
        version=version,
        summary=summary,
    )


def _stored(message: Message, serial: int, series: str, **changed: Any) -> StoredMessage:
    return StoredMessage(
        id=message.id,
        name=message.name,
        data=message.data,
        encoding=message.encoding,
        client_id=message.client_id,
        connection_id=message.connection_id,
        extras=message.extras,
        serial=render(serial, series),
        timestamp=ms_of(serial),
        **changed,
    )


def version_of(serial: int, version: int, operation: Operation | None, series: str) -> Version:
    """A version is later than its message, also where both fall into one millisecond (TM2s2)."""
    made = operation or Operation()
    earliest_ms = ms_of(serial) + (version != serial)
    return Version(
        serial=render(version, series),
        timestamp=max(ms_of(version), earliest_ms),
        client_id=made.client_id,
        description=made.description,
        metadata=made.metadata,
    )
