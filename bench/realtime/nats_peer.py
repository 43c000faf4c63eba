"""NATS as a wire: JetStream that syncs every message, and core publish and subscribe.

`sync_interval: always` came with nats-server 2.10; an older one is run as it is, and its name says
that it acknowledges what is not on disk.
"""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from bench.acknowledged import MESSAGE_BYTES, Wrong
from bench.load.peers.nats import PEER
from bench.realtime.wires import body, connect, receive_until

_HELLO = b'CONNECT {"verbose":false,"pedantic":false,"protocol":0}\r\n'
_INBOX = "_INBOX.bench"
_streams = count(1)


class NatsFailed(Exception):
    """nats-server refused a request."""


def installed() -> bool:
    return PEER.binary is not None


def version() -> str:
    return f"nats-server {PEER.version()}"


@dataclass(frozen=True)
class NatsWire:
    port: int
    pid: int
    name: str

    def publisher(self, channel: str) -> "NatsPublisher":
        return NatsPublisher(self, channel)

    def durable_publisher(self, channel: str) -> "JetStreamPublisher":
        return JetStreamPublisher(self)

    def subscribers(self, channel: str, count: int) -> list[socket.socket]:
        made = [connect(self.port) for _ in range(count)]
        for one in made:
            _exchange(one, f"SUB {channel} 1\r\n".encode())
        return made


class NatsPublisher:
    """At most once: nothing is acknowledged."""

    acknowledges = False

    def __init__(self, wire: NatsWire, channel: str) -> None:
        self.socket = connect(wire.port)
        self._head = f"PUB {channel}".encode()
        _exchange(self.socket, b"")

    def frame(self, number: int, size: int = MESSAGE_BYTES) -> bytes:
        return b"%b %d\r\n%b\r\n" % (self._head, size, body(number, size))

    def acknowledged(self, chunk: bytes) -> int:
        return 0

    async def check(self, received: bytes, numbers: range) -> None:
        if b"-ERR" in received:
            raise Wrong(f"nats refused: {received[:200]!r}")


class JetStreamPublisher(NatsPublisher):
    """A stream of its own; publishes are requests, their replies come to one inbox."""

    acknowledges = True

    def __init__(self, wire: NatsWire) -> None:
        self._stream = f"bench{next(_streams)}"
        super().__init__(wire, f"bench.{self._stream} {_INBOX}")
        self._wire = wire
        stream = {"name": self._stream, "subjects": [f"bench.{self._stream}"], "storage": "file"}
        _api(wire, f"STREAM.CREATE.{self._stream}", stream)
        self.socket.sendall(f"SUB {_INBOX} 1\r\n".encode())

    def acknowledged(self, chunk: bytes) -> int:
        """{"stream":"bench1", "seq":7}"""
        return chunk.count(b"}")

    async def check(self, received: bytes, numbers: range) -> None:
        if b'"error"' in received:
            raise Wrong(f"nats refused: {received[:200]!r}")
        state = _api(self._wire, f"STREAM.INFO.{self._stream}", {})["state"]
        if state["messages"] != len(numbers):
            raise Wrong(f"nats holds {state['messages']} of {len(numbers)} messages")


def _exchange(with_broker: socket.socket, asked: bytes) -> None:
    """Introduce ourselves, ask, and wait until it was read."""
    with_broker.sendall(_HELLO + asked + b"PING\r\n")
    said = receive_until(with_broker, lambda received: received.endswith(b"PONG\r\n"))
    if b"-ERR" in said:
        raise NatsFailed(said.decode())


def _api(wire: NatsWire, subject: str, asked: dict[str, Any]) -> dict[str, Any]:
    """A request to JetStream."""
    text = json.dumps(asked).encode()
    with connect(wire.port) as connection:
        _exchange(connection, b"SUB _INBOX.api 1\r\n")
        head = f"PUB $JS.API.{subject} _INBOX.api {len(text)}\r\n".encode()
        connection.sendall(head + text + b"\r\n")
        reply = receive_until(connection, lambda received: received.endswith(b"}\r\n"))
    answer: dict[str, Any] = json.loads(reply.partition(b"\r\n")[2])
    if "error" in answer:
        raise NatsFailed(str(answer["error"]))
    return answer


@contextmanager
def nats_wire(directory: Path) -> Iterator[NatsWire]:
    with PEER.start(directory) as address:
        yield NatsWire(address.port, address.pid, "nats" if PEER.is_synced else "nats (not synced)")
