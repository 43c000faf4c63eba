"""The hub: one task that tails the log and hands each channel's messages to its subscribers.

Subscribers never await each other. Each has a bounded queue; one that overflows loses its queue,
not its messages: it reads them from the log until it has caught up (design.md 4). Positions make
the two paths meet: a record at or behind a subscription's position is passed over, so there is no
duplicate, and what was dropped is read again, so there is no hole.

A subscriber sees durable and ephemeral messages in the one order that their serials give.
"""

from collections import defaultdict, deque
from collections.abc import AsyncIterator
from typing import NamedTuple

import trio

from broker.errors import Unavailable
from broker.events import Kind
from broker.history import stored
from broker.message import StoredMessage
from broker.storage_errors import CLOSED, mapped
from storage import Log, Record, Span, Stream
from storage.serial import SERIAL_MAX

_CATCH_UP_RECORDS = 500
_KINDS = (Kind.MESSAGES, Kind.EPHEMERAL)


class ChannelKey(NamedTuple):
    app: str
    channel: str


class Subscription:
    """An async iterator over a channel's messages behind a position. Made by `Hub.subscribe`."""

    def __init__(self, log: Log, key: ChannelKey, position: int, bound: int, series: str) -> None:
        self.key = key
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
                raise Unavailable("the broker is closed", CLOSED)
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
        try:
            records, more = await self._read_on()
        except BaseException:
            self._behind = True
            raise
        live = () if more or self._behind else tuple(self._queue)
        self._queue = deque((*records, *live))
        self._behind = self._behind or more

    async def _read_on(self) -> tuple[list[Record], bool]:
        """A page behind the position, of all kinds in serial order, and whether more follows."""
        span = Span(self._position + 1)
        with mapped():
            pages = [
                await self._log.read(Stream(*self.key, kind), span, limit=_CATCH_UP_RECORDS)
                for kind in _KINDS
            ]
        horizon = min((page.last for page in pages if page.more), default=SERIAL_MAX)
        records = [r for page in pages for r in page.records if r.serial <= horizon]
        records.sort(key=lambda record: record.serial)
        return records, horizon < SERIAL_MAX


class Hub:
    """Subscriptions by channel, fed by `run`."""

    def __init__(self, log: Log, series: str) -> None:
        self._log = log
        self._series = series
        self._subscribers: dict[ChannelKey, set[Subscription]] = {}

    async def run(self) -> None:
        """Deliver until the log is closed or has failed."""
        async for records in self._log.tail(self._log.position):
            by_channel: defaultdict[ChannelKey, list[Record]] = defaultdict(list)
            for record in records:
                key = ChannelKey(record.stream.app, record.stream.channel)
                if record.stream.kind in _KINDS and key in self._subscribers:
                    by_channel[key].append(record)
            for key, found in by_channel.items():
                for subscription in self._subscribers[key]:
                    subscription.offer(found)

    async def subscribe(self, app: str, channel: str, *, rewind: int, bound: int) -> Subscription:
        """Everything published on a channel after this call; `rewind` messages before it first."""
        key, position = ChannelKey(app, channel), self._log.position
        subscription = Subscription(self._log, key, position, bound, self._series)
        self._subscribers.setdefault(key, set()).add(subscription)
        if rewind:
            try:
                await self._rewind(subscription, position, rewind)
            except BaseException:
                self.unsubscribe(subscription)
                raise
        return subscription

    async def _rewind(self, subscription: Subscription, position: int, count: int) -> None:
        stream = Stream(*subscription.key, Kind.MESSAGES)
        with mapped():
            page = await self._log.read(stream, Span(0, position, reverse=True), limit=count)
        subscription.rewind(page.records[::-1])

    def unsubscribe(self, subscription: Subscription) -> None:
        subscribers = self._subscribers.get(subscription.key, set())
        subscribers.discard(subscription)
        if not subscribers:
            self._subscribers.pop(subscription.key, None)
        subscription.close()

    def close(self) -> None:
        for subscribers in self._subscribers.values():
            for subscription in subscribers:
                subscription.close()
