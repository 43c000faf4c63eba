"""The broker for services on asyncio.

    async with broker.aio.open("./data") as b:
        await b.channel("orders").publish("created", {"id": 7}, id="order-7")

The broker runs on trio in a thread of its own (broker.trio_thread); a loop that is closed, blocked
or never comes back does it no harm. Everything here is awaited on any asyncio loop; errors are
those of `broker`. An await that is cancelled cancels what it waits for, and does not wait for that:
a publish is then on disk or not, and safe to repeat with its id.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Self, TypeVar, Unpack

from broker import channel as trio_channel
from broker.broker import Broker as TrioBroker
from broker.errors import Unavailable
from broker.handover import Batch, Handover
from broker.messages.history import LIMIT_DEFAULT, Direction, HistoryPage, HistoryQuery
from broker.messages.message import Message, StoredMessage
from broker.publisher import Published
from broker.trio_thread import Options, TrioThread

T = TypeVar("T")


@asynccontextmanager
async def open(  # noqa: A001 - the library's verb
    path: str | Path, **options: Unpack[Options]
) -> AsyncIterator["Broker"]:
    """Open a data directory, as `broker.open` does. At the end, calls that still wait are told
    Unavailable 80017, as is every later one. Raises what the broker's own work failed with."""
    thread = TrioThread(path, **options)
    try:
        await asyncio.wrap_future(thread.opened)
        yield Broker(thread)
    finally:
        thread.stop()
        await asyncio.shield(asyncio.wrap_future(thread.ended))


class Broker:
    """An open broker. Made by `open`."""

    def __init__(self, thread: TrioThread) -> None:
        self._thread = thread

    async def call(self, function: Callable[[TrioBroker], Awaitable[T]]) -> T:
        """Await `function(broker)`, which is trio's, in the broker's thread: for all that has no
        method here."""
        return await asyncio.wrap_future(self._thread.call(function))

    def channel(self, name: str, *, app: str | None = None) -> "Channel":
        """A channel of an app (default: the oldest). Both are looked at when it is used."""
        return Channel(self, name, app)

    async def push(self, payload: dict[str, Any], **recipient: str) -> None:
        """Notify devices, as the broker's `push` does. On disk when this returns."""
        await self.call(lambda b: b.push(payload, **recipient))


class Channel:
    """Made by `Broker.channel`. Every call raises BadRequest 40010 if the name is none, NotFound
    for an app that does not exist."""

    def __init__(self, broker: Broker, name: str, app: str | None) -> None:
        self.name = name
        self.app = app
        self._broker = broker

    async def publish(
        self,
        name: str | None = None,
        data: Any = None,
        *,
        id: str | None = None,  # noqa: A002 - the protocol's name
        client_id: str | None = None,
        extras: dict[str, Any] | None = None,
    ) -> Published:
        """Publish one message; returns once it is on disk. With `id` it may be repeated."""
        message = Message(id=id, name=name, data=data, client_id=client_id, extras=extras)
        return await self.publish_all([message])

    async def publish_all(self, messages: Sequence[Message]) -> Published:
        """Publish several messages, all or none. Ids must be `<base>:<index>`, or absent."""
        return await self._do(lambda channel: channel.publish_all(messages))

    async def history(
        self,
        *,
        limit: int = LIMIT_DEFAULT,
        direction: Direction = "backwards",
        start: int = 0,
        end: int | None = None,
    ) -> HistoryPage:
        """A page of messages; `page.next` is what `history_page` takes for the one behind it.
        start, end: milliseconds since the epoch, inclusive."""
        query = HistoryQuery(start=start, end=end, direction=direction, limit=limit)
        return await self.history_page(query)

    async def history_page(self, query: HistoryQuery) -> HistoryPage:
        return await self._do(lambda channel: channel.history_page(query))

    @asynccontextmanager
    async def subscribe(self, *, rewind: int = 0) -> AsyncIterator["Subscription"]:
        """Messages published from now on, the last `rewind` ones first, as an async iterator. One
        that falls behind reads from disk, and misses nothing."""
        handover = Handover(self.name, self.app, rewind)
        try:
            await self._broker.call(handover.begin)
            yield Subscription(self._broker, handover)
        finally:
            with suppress(Unavailable):
                await self._broker.call(lambda _: handover.end())

    async def _do(self, action: Callable[[trio_channel.Channel], Awaitable[T]]) -> T:
        name, app = self.name, self.app
        return await self._broker.call(lambda b: action(b.channel(name, app=app)))


class Subscription:
    """An async iterator over messages. Tasks that share one share its messages: each goes to one
    of them."""

    def __init__(self, broker: Broker, handover: Handover) -> None:
        self._broker = broker
        self._handover = handover
        self._lock = asyncio.Lock()
        self._held = Batch(0, deque())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StoredMessage:
        """The next message; an await that is cancelled loses none. Raises Unavailable 80017 when
        the broker is closed."""
        async with self._lock:
            if not self._held.messages:
                received = self._held.number
                self._held = await self._broker.call(lambda _: self._handover.take(received))
            return self._held.messages.popleft()
