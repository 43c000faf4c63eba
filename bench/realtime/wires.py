"""How a broker is spoken to over the wire, by a load that costs much less than the broker.

What makes it cheap: nothing that subscribers receive is parsed. Every payload ends with MARK, which
stands nowhere else in what a broker sends, and a stream is in order, so its n-th mark ends the n-th
message: counting marks counts and times messages. What was counted is parsed and checked after the
clock has stopped. A mark has three bytes because one or two may well stand in the length of a
WebSocket frame; those of MARK cannot, for the head of a map follows a length.

A Wire is a running broker; it can be pickled, for one load may run in a process of its own.
"""

import re
import socket
from collections.abc import Callable
from typing import Protocol

from bench.acknowledged import MESSAGE_BYTES, Wrong, number_of, payload

MARK = b"(~)"
TIMEOUT_S = 20.0
LOOPBACK = "127.0.0.1"
NUMBERS = re.compile(rb"(\d{12})The tide[^~]*\(~\)")


class Publisher(Protocol):
    """One connection that publishes to one channel. `acknowledges`: whether the broker does."""

    socket: socket.socket
    acknowledges: bool

    def frame(self, number: int, size: int = MESSAGE_BYTES) -> bytes:
        """The bytes to send next, with a message of that number in them."""
        ...

    def acknowledged(self, chunk: bytes) -> int:
        """How many messages the next bytes that were received acknowledge."""
        ...

    async def check(self, received: bytes, numbers: range) -> None:
        """That all the messages, acknowledged by what was received, are kept: Wrong if not."""
        ...


class Wire(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def pid(self) -> int: ...

    def publisher(self, channel: str) -> Publisher: ...

    def durable_publisher(self, channel: str) -> Publisher:
        """One that is acknowledged once the message is on disk."""
        ...

    def subscribers(self, channel: str, count: int) -> list[socket.socket]: ...


def body(number: int, size: int = MESSAGE_BYTES) -> bytes:
    """`size` bytes that begin with the number and end with MARK."""
    text = payload(number).encode()
    return (text + text[-1:] * (size - len(text)))[: size - len(MARK)] + MARK


def connect(port: int) -> socket.socket:
    made = socket.create_connection((LOOPBACK, port), timeout=TIMEOUT_S)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def receive_until(source: socket.socket, is_complete: Callable[[bytes], bool]) -> bytes:
    received = b""
    while not is_complete(received):
        more = source.recv(1 << 16)
        if not more:
            raise Wrong(f"the broker closed the connection after {received[-200:]!r}")
        received += more
    return received


class Order(Protocol):
    """Holds what one subscriber received against what was sent."""

    def feed(self, chunk: bytes) -> None:
        """Raises Wrong when a message is missing, doubled or out of order."""
        ...

    def check(self, count: int) -> None:
        """That the first `count` messages came. Raises Wrong."""
        ...


class InOrder:
    """An Order of numbers: each message is the one that follows the last."""

    def __init__(self) -> None:
        self._rest = b""
        self._next = 0

    def feed(self, chunk: bytes) -> None:
        held = self._rest + chunk
        end = 0
        for found in NUMBERS.finditer(held):
            end = found.end()
            if (number := number_of(found[1])) != self._next:
                raise Wrong(f"a subscriber received message {number} instead of {self._next}")
            self._next += 1
        self._rest = held[end:]

    def check(self, count: int) -> None:
        if self._next != count:
            raise Wrong(f"a subscriber received {self._next} of {count} messages")
