"""Subscribing in process: a channel's messages as an async iterator.

Each subscription has a bounded queue; one that overflows loses its queue, not its messages: it
reads them from the log until it has caught up (design.md 4). Positions make the two paths meet: a
record at or behind the position is passed over, so there is no duplicate, and what was dropped is
read again, so there is no hole. Durable and ephemeral messages come in the order of their serials.

A message that is changed comes again, whole; of changes that a later one follows already, only the
last does.
"""

from collections import deque
from collections.abc import AsyncIterator

import trio

from broker.errors import BrokerError, Unavailable
from broker.event import Kind
from broker.interactions.state import state_of
from broker.interactions.versions import published_at
from broker.live.hub import Batch, ChannelKey
from broker.messages.history import as_it_stands, stored
from broker.messages.message import StoredMessage
from broker.storage_errors import CLOSED, mapped
from storage import Log, Record, Span, Stream, View

_CATCH_UP_RECORDS = 500
_KINDS = (Kind.MESSAGES, Kind.EPHEMERAL, Kind.VERSIONS)


class Subscription:
    """An async iterator over a channel's messages behind a position. Made by
    `Channel.subscribe`."""

    def __init__(self, log: Log, key: ChannelKey, bound: int, series: str) -> None:
        self.key = key
        self.position = log.position
        self._began = self.position
        self._log = log
        self._past: deque[Record] = deque()
        self._queue: deque[Record] = deque()
        self._bound = bound
        self._series = series
        self._behind = False
        self._closed = False
        self._news = trio.lowlevel.ParkingLot()

    def offer(self, batch: Batch) -> None:
        """Called by the hub; never waits."""
        records = [record for record in batch.records if record.stream.kind in _KINDS]
        if not self._behind:
            if len(self._queue) + len(records) <= self._bound:
                self._queue.extend(records)
            else:
                self._queue.clear()
                self._behind = True
        self._news.unpark_all()

    async def rewind(self, count: int) -> None:
        """Deliver the last messages before the position first."""
        span = Span(0, self.position, reverse=True)
        with mapped():
            page = await self._log.read(Stream(*self.key, Kind.MESSAGES), span, limit=count)
        self._past.extend(page.records[::-1])

    def close(self) -> None:
        self._closed = True
        self._news.unpark_all()

    def __aiter__(self) -> AsyncIterator[StoredMessage]:
        return self

    async def __anext__(self) -> StoredMessage:
        """The next message. Raises Unavailable (80017) when the broker is closed."""
        await trio.lowlevel.checkpoint()
        while True:
            if (record := self._next()) is not None:
                message = self._told(record)
                if message is not None:
                    return message
            elif self._behind:
                await self._catch_up()
            elif self._closed:
                raise Unavailable("the broker is closed", CLOSED)
            else:
                await self._news.park()

    async def some(self, limit: int) -> list[StoredMessage]:
        """The next message, and those behind it that need no waiting. Raises as for one."""
        found = [await anext(self)]
        while len(found) < limit and (record := self._next()) is not None:
            try:
                message = self._told(record)
            except BrokerError:
                self._past.appendleft(record)  # for the next call to raise it
                break
            if message is not None:
                found.append(message)
        return found

    def _told(self, record: Record) -> StoredMessage | None:
        """What was published before it began as it stands; None for a change that is not the last
        of its message."""
        if record.stream.kind == Kind.VERSIONS:
            with mapped(), self._log.view() as view:
                return self._changed(view, record)
        if record.serial > self._began:
            return stored(record, self._series)
        with mapped(), self._log.view() as view:
            return as_it_stands(view, record, self._series)

    def _changed(self, view: View, record: Record) -> StoredMessage | None:
        state = state_of(view, *self.key, record.event.of)
        published = published_at(view, *self.key, record.event.of)
        if state is None or published is None or state.version != record.serial:
            return None
        return as_it_stands(view, published, self._series)

    def _next(self) -> Record | None:
        if self._past:
            return self._past.popleft()
        while self._queue:
            record = self._queue.popleft()
            if record.serial > self.position:
                self.position = record.serial
                return record
        return None

    async def _catch_up(self) -> None:
        """Read what the queue could not hold. From before the read on the hub may offer again; what
        both bring is told apart by position."""
        self._behind = False
        spans = {Stream(*self.key, kind): Span(self.position + 1) for kind in _KINDS}
        try:
            with mapped():
                page = await self._log.read_merged(spans, limit=_CATCH_UP_RECORDS)
        except BaseException:
            self._behind = True
            raise
        live = () if page.more or self._behind else tuple(self._queue)
        self._queue = deque((*page.records, *live))
        self._behind = self._behind or page.more
