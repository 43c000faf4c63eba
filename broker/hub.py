"""The hub: one task that tails the log and hands each channel's messages to its subscribers.

Subscribers never await each other. Each has a bounded queue; one that overflows loses its queue,
not its messages: it reads them from the log until it has caught up (design.md 4). Positions make
the two paths meet: a record at or behind a subscription's position is passed over, so there is no
duplicate, and what was dropped is read again, so there is no hole.
"""

from collections import defaultdict, deque
from collections.abc import AsyncIterator

import trio

from broker.errors import Unavailable
from broker.events import Kind
from broker.history import stored
from broker.message import StoredMessage
from storage import Log, Record, Span, Stream

_CATCH_UP_RECORDS = 500


class Subscription:
    """An async iterator over a channel's messages from `position` on. Made by `Hub.subscribe`."""

    def __init__(self, log: Log, stream: Stream, position: int, bound: int, series: str) -> None:
        self.stream = stream
        self._log = log
        self._position = position
        self._past: deque[Record] = deque()
        self._queue: deque[Record] = deque()
        self._bound = bound
        self._series = series
        self._behind = False
        self._closed = False
        self._news = trio.lowlevel.ParkingLot()

    def offer(self, records: list[Record]) -> None:
        """Called by the hub; never waits."""
        if not self._behind:
            if len(self._queue) + len(records) <= self._bound:
                self._queue.extend(records)
            else:
                self._queue.clear()
                self._behind = True
        self._news.unpark_all()

    def rewind(self, records: list[Record]) -> None:
        """Deliver these first: they lie at or before the position."""
        self._past.extend(records)

    def close(self) -> None:
        self._closed = True
        self._news.unpark_all()

    def __aiter__(self) -> AsyncIterator[StoredMessage]:
        return self

    async def __anext__(self) -> StoredMessage:
        """The next message. Raises Unavailable (80017) when the broker is closed."""
        await trio.lowlevel.checkpoint()
        while True:
            record = self._next()
            if record is not None:
                return stored(record, self._series)
            if self._behind:
                await self._catch_up()
            elif self._closed:
                raise Unavailable("the broker is closed", 80017)
            else:
                await self._news.park()

    def _next(self) -> Record | None:
        if self._past:
            return self._past.popleft()
        while self._queue:
            record = self._queue.popleft()
            if record.serial > self._position:
                self._position = record.serial
                if not record.redacted:
                    return record
        return None

    async def _catch_up(self) -> None:
        """Read what the queue could not hold. From before the read on the hub may offer again; what
        both bring is told apart by position."""
        self._behind = False
        span = Span(self._position + 1)
        page = await self._log.read(self.stream, span, limit=_CATCH_UP_RECORDS)
        live = list(self._queue)
        self._queue = deque(page.records)
        if page.more:
            self._behind = True
        else:
            self._queue.extend(live)


class Hub:
    """Subscriptions by stream, fed by `run`."""

    def __init__(self, log: Log, series: str) -> None:
        self._log = log
        self._series = series
        self._subscribers: defaultdict[Stream, set[Subscription]] = defaultdict(set)

    async def run(self) -> None:
        """Deliver until the log is closed or has failed."""
        async for records in self._log.tail(self._log.position):
            by_stream: defaultdict[Stream, list[Record]] = defaultdict(list)
            for record in records:
                if record.stream in self._subscribers:
                    by_stream[record.stream].append(record)
            for stream, found in by_stream.items():
                for subscription in self._subscribers[stream]:
                    subscription.offer(found)

    async def subscribe(self, app: str, channel: str, *, rewind: int, bound: int) -> Subscription:
        """Everything published on a channel after this call; `rewind` messages before it first."""
        stream = Stream(app, channel, Kind.MESSAGES)
        position = self._log.position
        subscription = Subscription(self._log, stream, position, bound, self._series)
        self._subscribers[stream].add(subscription)
        if rewind:
            await self._rewind(subscription, stream, position, rewind)
        return subscription

    async def _rewind(
        self, subscription: Subscription, stream: Stream, position: int, count: int
    ) -> None:
        try:
            page = await self._log.read(stream, Span(0, position, reverse=True), limit=count)
        except BaseException:
            self.unsubscribe(subscription)
            raise
        subscription.rewind(page.records[::-1])

    def unsubscribe(self, subscription: Subscription) -> None:
        stream = subscription.stream
        self._subscribers[stream].discard(subscription)
        if not self._subscribers[stream]:
            del self._subscribers[stream]
        subscription.close()

    def close(self) -> None:
        for subscribers in self._subscribers.values():
            for subscription in subscribers:
                subscription.close()
