"""Many subscribers of one channel, in one process: who received how much, and when.

It counts marks and never parses while the clock runs: bench.realtime.wires says why that is cheap
and right. Latency is from the write that published a message to the read by a subscriber; that this
client reads from one subscriber after the other is part of it, for every broker alike. Every
subscriber's count is checked, and of some of them all that they received.
"""

import select
import socket
import ssl
from collections.abc import Callable, Sequence
from time import perf_counter

from bench.acknowledged import MESSAGE_BYTES, Wrong
from bench.realtime.wires import MARK, TIMEOUT_S, InOrder, Order, Publisher

_READ_BYTES = 1 << 18
_SAMPLED = 16  # subscribers
_CUT = frozenset(MARK[:2])
_PATIENCE_S = 1.0


class _Subscriber:
    """`kept`: what it received since the last check, if that is checked whole."""

    __slots__ = ("_tail", "is_timed", "kept", "order", "receive_into", "received", "socket")

    def __init__(
        self, connected: socket.socket, order: Order, *, is_timed: bool, is_kept: bool
    ) -> None:
        self.socket = connected
        self.receive_into = connected.recv_into
        self.received = 0
        self.is_timed = is_timed
        self.kept: list[bytes] | None = [] if is_kept else None
        self.order = order
        self._tail = b""

    def count(self, buffer: bytearray, size: int) -> int:
        """The marks in the first bytes of the buffer, and one that the last read had cut."""
        found = buffer.count(MARK, 0, size)
        if self._tail:
            found += (self._tail + buffer[: min(2, size)]).count(MARK)
            self._tail = b""
        if buffer[size - 1] in _CUT:
            self._tail = bytes(buffer[max(0, size - 2) : size])
        if self.kept is not None:
            self.kept.append(bytes(buffer[:size]))
        return found

    def check(self, count: int) -> None:
        if self.received != count:
            raise Wrong(f"a subscriber received {self.received} messages instead of {count}")
        if self.kept is not None:
            self.order.feed(b"".join(self.kept))
            self.kept.clear()
            self.order.check(count)


class Receivers:
    """One publisher, and subscribers that must receive all that it publishes, from number 0 on."""

    def __init__(
        self,
        publisher: Publisher,
        subscribers: Sequence[socket.socket],
        stalling: Sequence[socket.socket] = (),
        order: Callable[[], Order] = InOrder,
    ) -> None:
        """`stalling`: those of the subscribers that will stop to read: checked whole, not timed.
        `order`: what all that one received is checked with."""
        self.deliveries = 0
        self.received_bytes = 0
        self.latencies: list[float] = []
        self._publisher = publisher
        self._acknowledged = 0
        self._acknowledgements: list[bytes] = []
        self._sent: list[float] = []  # when, by number
        self._stalling = [one.fileno() for one in stalling]
        self._subscribers: dict[int, _Subscriber] = {}
        self._buffer = bytearray(_READ_BYTES)
        self._epoll = select.epoll()
        self._epoll.register(publisher.socket.fileno(), select.EPOLLIN)
        self.add(subscribers, [order() for _ in subscribers])

    def add(
        self, sockets: Sequence[socket.socket], orders: Sequence[Order], had: Sequence[int] = ()
    ) -> None:
        """More subscribers. `had`: of what was published, how many messages each is not to get."""
        added = _subscribers(sockets, self._stalling, orders)
        for one, count in zip(added.values(), had, strict=False):
            one.received = count
            self.deliveries += count
        self._subscribers |= added
        for descriptor in added:
            self._epoll.register(descriptor, select.EPOLLIN)

    @property
    def published(self) -> int:
        return len(self._sent)

    def keep_publishing(self, window: int) -> None:
        """Publish so many that `window` messages have not reached all subscribers."""
        completed = self.deliveries // len(self._subscribers)
        if (missing := completed + window - len(self._sent)) > 0:
            self.publish(missing)

    def publish(self, count: int, size: int = MESSAGE_BYTES, due: float | None = None) -> None:
        """`due`: when they were to be sent, if not now: what they waited since is their latency."""
        first = len(self._sent)
        frames = [self._publisher.frame(first + number, size) for number in range(count)]
        self._sent += [perf_counter() if due is None else due] * count
        self._publisher.socket.sendall(b"".join(frames))

    def receive(self, timeout_s: float) -> None:
        """Read once from everyone who has something to read."""
        subscribers, buffer = self._subscribers, self._buffer
        latencies, sent = self.latencies, self._sent
        for descriptor, _ in self._epoll.poll(timeout_s, len(subscribers) + 1):
            one = subscribers.get(descriptor)
            if one is None:
                self._drain()
                continue
            try:
                size = one.receive_into(buffer)
            except (BlockingIOError, ssl.SSLWantReadError):
                continue
            if not size:
                raise Wrong("the broker disconnected a subscriber")
            count = one.count(buffer, size)
            first = one.received
            one.received = first + count
            self.deliveries += count
            self.received_bytes += size
            if one.is_timed:
                now = perf_counter()
                latencies += [now - moment for moment in sent[first : first + count]]

    def receive_all(self) -> None:
        """Until every subscriber has every message. Raises Wrong when nothing comes any more."""
        while self.deliveries < len(self._sent) * len(self._subscribers):
            self.receive_some()

    def receive_some(self) -> None:
        """Raises Wrong when nothing comes any more."""
        before, until = self.deliveries, perf_counter() + TIMEOUT_S
        while self.deliveries == before:
            if perf_counter() > until:
                missing = len(self._sent) * len(self._subscribers) - before
                raise Wrong(f"{missing} deliveries are missing")
            self.receive(_PATIENCE_S)

    def take_latencies(self) -> list[float]:
        """Those since the last call."""
        taken, self.latencies = self.latencies, []
        return taken

    def stall(self) -> None:
        for descriptor in self._stalling:
            self._epoll.unregister(descriptor)

    def wake(self) -> None:
        for descriptor in self._stalling:
            self._epoll.register(descriptor, select.EPOLLIN)

    def received_at_least(self) -> int:
        """Messages that the subscriber who has fewest has received."""
        return min(one.received for one in self._subscribers.values())

    def check(self) -> None:
        """That everyone has received everything, in order. Off the clock; raises Wrong."""
        for one in self._subscribers.values():
            one.check(len(self._sent))

    async def finish(self) -> None:
        """Check what was acknowledged too, and close every socket."""
        self.check()
        await self._publisher.check(self.acknowledgements(), range(len(self._sent)))
        self._epoll.close()
        self._publisher.socket.close()
        for one in self._subscribers.values():
            one.socket.close()

    def acknowledgements(self) -> bytes:
        """All that was received as such; waits until there is one for every message."""
        while self._publisher.acknowledges and self._acknowledged < len(self._sent):
            self._drain()
        return b"".join(self._acknowledgements)

    def _drain(self) -> None:
        chunk = self._publisher.socket.recv(_READ_BYTES)
        if not chunk:
            raise Wrong(f"the broker disconnected the publisher: {self._acknowledgements[-1:]}")
        self._acknowledgements.append(chunk)
        self._acknowledged += self._publisher.acknowledged(chunk)


def _subscribers(
    sockets: Sequence[socket.socket], stalling: Sequence[int], orders: Sequence[Order]
) -> dict[int, _Subscriber]:
    """By descriptor."""
    step = max(1, len(sockets) // _SAMPLED)
    made: dict[int, _Subscriber] = {}
    for number, (one, order) in enumerate(zip(sockets, orders, strict=True)):
        one.setblocking(False)
        stalls = one.fileno() in stalling
        is_kept = stalls or number % step == 0
        made[one.fileno()] = _Subscriber(one, order, is_timed=not stalls, is_kept=is_kept)
    return made
