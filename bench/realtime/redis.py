"""Redis as a wire: XADD with `appendfsync always`, and PUBLISH to subscribers, over TCP."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.acknowledged import MESSAGE_BYTES, Wrong, number_of
from bench.realtime.wires import body, connect, receive_until
from bench.redis_peer import Connection, command, server


@dataclass(frozen=True)
class RedisWire:
    path: Path
    port: int
    pid: int
    name: str = "redis"

    def publisher(self, channel: str) -> "RedisPublisher":
        return RedisPublisher(self, [b"PUBLISH", channel.encode()], b":")

    def durable_publisher(self, channel: str) -> "RedisPublisher":
        return RedisPublisher(self, [b"XADD", channel.encode(), b"*", b"data"], b"$")

    def subscribers(self, channel: str, count: int) -> list[socket.socket]:
        made = []
        for _ in range(count):
            one = connect(self.port)
            one.sendall(command(b"SUBSCRIBE", channel.encode()))
            receive_until(one, lambda received: received.endswith(b":1\r\n"))
            made.append(one)
        return made


class RedisPublisher:
    def __init__(self, wire: RedisWire, head: list[bytes], reply: bytes) -> None:
        self.socket = connect(wire.port)
        self.acknowledges = True
        self._reply = reply
        self._path = wire.path
        self._head = head

    def frame(self, number: int, size: int = MESSAGE_BYTES) -> bytes:
        return command(*self._head, body(number, size))

    def acknowledged(self, chunk: bytes) -> int:
        """A reply holds that byte once: the id of an entry is a string, a number of receivers is
        an integer."""
        return chunk.count(self._reply)

    async def check(self, received: bytes, numbers: range) -> None:
        """The stream holds as many, and the last of them are in order. PUBLISH keeps nothing."""
        if received[:1] == b"-" or b"\r\n-" in received:
            raise Wrong(f"redis refused: {received[:200]!r}")
        if self._head[0] != b"XADD":
            return
        connection = Connection(self._path)
        held = connection.integers([command(b"XLEN", self._head[1])])
        reply = connection.ask(b"XREVRANGE", self._head[1], b"+", b"-", b"COUNT", b"100")
        connection.close()
        found = [number_of(data) for data in reply[2::3]]
        if held != [len(numbers)] or found != list(reversed(numbers))[: len(found)]:
            raise Wrong(f"redis holds {held} of {len(numbers)} messages, the last are {found[:3]}")


@contextmanager
def redis_wire(directory: Path) -> Iterator[RedisWire]:
    with server(directory) as running:
        yield RedisWire(running.path, running.address.port, running.address.pid)
