"""The broker for threads and scripts that know no async: every call returns when it is done.

    with broker.blocking.open("./data") as b:
        b.channel("orders").publish("created", {"id": 7}, id="order-7")

The broker runs in a thread of its own (broker.trio_thread). Everything here may be used by any
number of threads at a time; errors are those of `broker`. A call that is interrupted, by Ctrl-C
say, is cancelled; a publish is then on disk or not, and safe to repeat with its id.
"""

import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from broker import channel as trio_channel
from broker.broker import Broker as TrioBroker
from broker.errors import Unavailable
from broker.handover import Batch, Handover
from broker.messages.history import LIMIT_DEFAULT, Direction, HistoryPage, HistoryQuery
from broker.messages.message import Message, StoredMessage
from broker.publisher import Published
from broker.storage_errors import CLOSED
from broker.trio_thread import Options, TrioThread

T = TypeVar("T")


def open(path: str | Path, **options: Unpack[Options]) -> "Broker":  # noqa: A001 - the library's verb
    """Open a data directory, as `broker.open` does. Close it, or use it in a `with` statement."""
    thread = TrioThread(path, **options)
    try:
        thread.opened.result()
    except BaseException:
        thread.stop()
        raise
    return Broker(thread)


class Broker:
    """An open broker. Made by `open`."""

    def __init__(self, thread: TrioThread) -> None:
        self._thread = thread

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Calls that still wait are told Unavailable 80017, as is every later one."""
        self._thread.close()

    def call(self, function: Callable[[TrioBroker], Awaitable[T]]) -> T:
        """Await `function(broker)` in the broker's thread: for all that has no method here."""
        return self._thread.wait(function)

    def channel(self, name: str, *, app: str | None = None) -> "Channel":
        """A channel of an app (default: the oldest). Both are looked at when it is used."""
        return Channel(self._thread, name, app)

    def push(self, payload: dict[str, Any], **recipient: str) -> None:
        """Notify devices, as the broker's `push` does. On disk when this returns."""
        self.call(lambda b: b.push(payload, **recipient))


class Channel:
    """Made by `Broker.channel`. Every call raises BadRequest 40010 if the name is none, NotFound
    for an app that does not exist."""

    def __init__(self, thread: TrioThread, name: str, app: str | None) -> None:
        self.name = name
        self.app = app
        self._thread = thread

    def publish(
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
        return self.publish_all([message])

    def publish_all(self, messages: Sequence[Message]) -> Published:
        """Publish several messages, all or none. Ids must be `<base>:<index>`, or absent."""
        return self._do(lambda channel: channel.publish_all(messages))

    def history(
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
        return self.history_page(query)

    def history_page(self, query: HistoryQuery) -> HistoryPage:
        return self._do(lambda channel: channel.history_page(query))

    def subscribe(self, *, rewind: int = 0) -> "Subscription":
        """Messages published from now on, the last `rewind` ones first, as an iterator. One that
        falls behind reads from disk, and misses nothing. Close it, or use it in a `with` statement.
        """
        return Subscription(self._thread, Handover(self.name, self.app, rewind))

    def _do(self, action: Callable[[trio_channel.Channel], Awaitable[T]]) -> T:
        name, app = self.name, self.app
        return self._thread.wait(lambda b: action(b.channel(name, app=app)))


class Subscription:
    """An iterator over messages, which ends when it is closed. Threads that share one share its
    messages: each goes to one of them."""

    def __init__(self, thread: TrioThread, handover: Handover) -> None:
        self._thread = thread
        self._handover = handover
        self._lock = threading.Lock()
        self._held = Batch(0, deque())
        self._is_closed = False
        try:
            thread.wait(handover.begin)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the iteration, in whatever thread it goes on."""
        self._is_closed = True
        with suppress(Unavailable):
            self._thread.call(lambda _: self._handover.end())

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> StoredMessage:
        """Raises Unavailable 80017 when the broker is closed."""
        try:
            return self.next()
        except Unavailable:
            if self._is_closed:
                raise StopIteration from None
            raise

    def next(self, timeout: float | None = None) -> StoredMessage:
        """The next message. Raises TimeoutError when there is none for so many seconds, and loses
        none by it; Unavailable 80017 when the broker or this is closed."""
        if not self._lock.acquire(timeout=-1 if timeout is None else timeout):
            raise TimeoutError
        try:
            if self._is_closed:
                raise Unavailable("the subscription is closed", CLOSED)
            if not self._held.messages:
                self._held = self._take(timeout)  # in one step: what interrupts it loses nothing
            return self._held.messages.popleft()
        finally:
            self._lock.release()

    def _take(self, timeout: float | None) -> Batch:
        received = self._held.number
        return self._thread.wait(lambda _: self._handover.take(received), timeout)
