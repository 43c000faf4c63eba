"""Sockets without waiting, and waiting for them in few coroutines: what the hot paths need of one.

A stream's methods cost a scheduler's turn and hold a stack of coroutines while they wait, which
tells where thousands do. Errors are those of a trio stream. The descriptor is asked for every time:
the number of a closed socket may belong to another one by now.
"""

import os
from collections.abc import Sequence

import trio

Buffer = bytes | bytearray | memoryview

READ_BYTES = 64 * 1024


class SocketWriter:
    """Writes what the system takes at once. Raises OSError when the connection is broken."""

    __slots__ = ("socket",)

    unsent_bytes = 0  # nothing is taken that the system does not take

    def __init__(self, socket: trio.socket.SocketType) -> None:
        self.socket = socket

    def write(self, data: Buffer) -> int:
        """How much of it was taken."""
        try:
            return os.write(self.socket.fileno(), data)
        except BlockingIOError:
            return 0

    def write_many(self, buffers: Sequence[Buffer]) -> int:
        try:
            return os.writev(self.socket.fileno(), buffers)
        except BlockingIOError:
            return 0


async def receive(socket: trio.socket.SocketType) -> bytes:
    """What has come, or comes next; b"" at the end."""
    while True:
        check_open(socket)
        await trio.lowlevel.wait_readable(socket)
        try:
            return os.read(socket.fileno(), READ_BYTES)
        except BlockingIOError:
            pass
        except OSError as error:
            raise trio.BrokenResourceError from error


async def wait_writable(socket: trio.socket.SocketType) -> None:
    check_open(socket)
    await trio.lowlevel.wait_writable(socket)


def check_open(socket: trio.socket.SocketType) -> None:
    """trio does not expect to wait for a closed one."""
    if socket.fileno() < 0:
        raise trio.ClosedResourceError
