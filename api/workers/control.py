"""What the supervisor and its workers say to each other: one message at a time, with descriptors.

    to a worker     Plan, first of all    Follower: two streams of one    Welcome: all are ready
    from a worker   Serving: it accepts connections

A worker whose supervisor is gone ends at once, whatever it is doing: whoever takes over the
directory and the port must not have to wait for it. A thread of its own sees to that.
"""

import os
import socket
from collections.abc import Callable
from threading import Thread

import msgspec
import trio

MESSAGE_BYTES_MAX = 128 * 1024
DESCRIPTORS_MAX = 16
ORPHANED = 70


class Plan(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Its listening sockets come with it, then, to a follower, its two streams. `file`, `flags`
    and `key`: as the command line had them. `is_new`: the directory was empty."""

    number: int
    file: str | None
    flags: dict[str, str | bool]
    key: str | None
    accept_loss: bool
    is_new: bool


class Follower(msgspec.Struct, frozen=True, tag=True):
    """To the leader: the log's stream and that of requests come with it."""

    number: int


class Welcome(msgspec.Struct, frozen=True, tag=True):
    """To the leader: say that the server is there."""


class Serving(msgspec.Struct, frozen=True, tag=True):
    port: int


Message = Plan | Follower | Welcome | Serving
encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Message).decode


def channel() -> tuple[socket.socket, socket.socket]:
    """The supervisor's end, and the worker's."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * MESSAGE_BYTES_MAX)
    return ends


def send(end: socket.socket, message: Message, descriptors: list[int] | None = None) -> None:
    """Raises OSError when nobody is there."""
    socket.send_fds(end, [encode(message)], descriptors or [])


class Control:
    """The worker's end."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self.plan, self.descriptors = self._receive()

    def _receive(self) -> tuple[Message, list[int]]:
        data, descriptors, _, _ = socket.recv_fds(self._end, MESSAGE_BYTES_MAX, DESCRIPTORS_MAX)
        if not data:
            os._exit(ORPHANED)
        return decode(data), list(descriptors)

    def serving(self, port: int) -> None:
        send(self._end, Serving(port))

    def follow(self, told: Callable[[Message, list[int]], None]) -> None:
        """From now on `told` gets what comes, in the loop of the caller."""
        token = trio.lowlevel.current_trio_token()

        def listen() -> None:
            while True:
                message, descriptors = self._receive()
                try:
                    token.run_sync_soon(told, message, descriptors)
                except trio.RunFinishedError:
                    return

        Thread(target=listen, name="tidelog-control", daemon=True).start()


def stream(descriptor: int) -> trio.SocketStream:
    """A stream that came as a descriptor."""
    return trio.SocketStream(trio.socket.from_stdlib_socket(socket.socket(fileno=descriptor)))
