"""The processes that hold the writer in the tests of a remote log, and what forks them.

Starting Python takes longer than most of these tests, so one process that has imported everything
and opened nothing forks a writer for each log (as tests/crash/zygote.py does). A writer has two
sockets: the link, and one for the test's own orders:

    hold    no command is taken until `go`       rebuild    and trim CUTS: maintenance
    fail    as if a write had: it is the last
    wall    is no order: the clock lies in a file that both map

It ends, whole, when the test closes the orders' socket.
"""

import json
import mmap
import os
import socket
import struct
import subprocess
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any

import trio

from storage import Cut, LocalLog, LogFailed, LogSettings, Stream, open_log, opening, serve_link
from storage.engine import Writer
from tests.crash.tracing import ROOT, python
from tests.storage.conftest import probe_here
from tests.storage.ledger import ledger
from tests.storage.ledger_codec import LedgerCodec
from tests.storage.wall import Wall

LINE_BYTES = 64 * 1024
_MS = struct.Struct("=q")


class MappedWall(Wall):
    """A wall clock that several processes see."""

    def __init__(self, path: Path) -> None:
        is_new = not path.exists()
        with path.open("a+b") as file:
            file.truncate(_MS.size)
            self._map = mmap.mmap(file.fileno(), _MS.size)
        if is_new:
            super().__init__()

    @property
    def ms(self) -> int:
        return _MS.unpack_from(self._map)[0]

    @ms.setter
    def ms(self, ms: int) -> None:
        _MS.pack_into(self._map, 0, ms)


class Orders:
    """The test's end: one order at a time, each answered when it is carried out."""

    def __init__(self, ours: socket.socket) -> None:
        self._socket = trio.socket.from_stdlib_socket(ours)

    async def __call__(self, order: str, argument: Any = None) -> None:
        await self._socket.send(json.dumps([order, argument]).encode())
        assert await self._socket.recv(LINE_BYTES) == b"done", order

    def close(self) -> None:
        self._socket.close()


class Forks:
    """The process that forks writers."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = python("tests.storage.writing_process", str(theirs.fileno()))
        self._process = subprocess.Popen(command, cwd=ROOT, pass_fds=[theirs.fileno()])
        theirs.close()

    def writer(self, path: Path, wall: Path, settings: LogSettings) -> tuple[int, Any, Orders]:
        """(its process, the link, the orders)."""
        ends = socket.socketpair(), socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        changed = {
            name: getattr(settings, name)
            for name in LogSettings.__dataclass_fields__
            if getattr(settings, name) != getattr(LogSettings(), name)
        }
        plan = json.dumps([str(path), str(wall), changed]).encode()
        socket.send_fds(self._ours, [plan], [theirs.fileno() for _, theirs in ends])
        for _, theirs in ends:
            theirs.close()
        process = int(self._ours.recv(100))
        link, orders = (ours for ours, _ in ends)
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(link))
        return process, stream, Orders(orders)

    def wait(self, process: int) -> int:
        """How it ended, once it has."""
        self._ours.send(str(process).encode())
        return os.waitstatus_to_exitcode(int(self._ours.recv(100)))

    def close(self) -> None:
        self._ours.close()
        self._process.wait(60)


async def write(plan: list[Any], link: int, orders: int) -> None:
    path, wall, settings = plan
    opening.probe = probe_here
    async with (
        open_log(
            Path(path), ledger(), wall=MappedWall(Path(wall)), settings=LogSettings(**settings)
        ) as log,
        trio.open_nursery() as nursery,
    ):
        stream = trio.SocketStream(trio.socket.fromfd(link, socket.AF_UNIX, socket.SOCK_STREAM))
        os.close(link)
        nursery.start_soon(serve_link, log, stream, LedgerCodec())
        await obey(log, trio.socket.fromfd(orders, socket.AF_UNIX, socket.SOCK_SEQPACKET))
        nursery.cancel_scope.cancel()


def failing(_: Writer) -> bool:
    raise LogFailed("the disk is gone")


async def obey(log: LocalLog, orders: Any) -> None:
    go, held = Event(), Event()

    def step(_: Writer) -> bool:
        held.set()
        go.wait()
        return False

    async with trio.open_nursery() as nursery:
        while text := await orders.recv(LINE_BYTES):
            order, argument = json.loads(text)
            if order == "hold":
                go.clear()
                held.clear()
                nursery.start_soon(log.maintain, step)
                await trio.to_thread.run_sync(held.wait)
            elif order == "go":
                go.set()
            elif order == "fail":
                with suppress(LogFailed):
                    await log.maintain(failing)
            elif order == "rebuild":
                await log.rebuild()
            else:
                await log.trim([Cut(Stream(*stream), *rest) for stream, *rest in argument])
            await orders.send(b"done")
        go.set()


def main(control: socket.socket) -> None:
    while True:
        message, files, _, _ = socket.recv_fds(control, LINE_BYTES, 2)
        if not message:
            return
        if not files:
            control.send(str(os.waitpid(int(message), 0)[1]).encode())
            continue
        process = os.fork()
        if process == 0:
            control.close()
            try:
                trio.run(write, json.loads(message), *files)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
            os._exit(1)
        for file in files:
            os.close(file)
        control.send(str(process).encode())


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
