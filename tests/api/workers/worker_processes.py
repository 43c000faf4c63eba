"""A real `tidelog serve --workers N`, and which of its processes has a connection.

Nothing that a worker says tells it from another, so the system is asked: a connection's socket, by
its two ports, is a file of one process (/proc). A connection is given to a worker by stopping the
others until it has been accepted.
"""

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import trio

from tests.conformance.serving import ServerProcess

STUCK_S = 60  # only ever passes when a test hangs
POLL_S = 0.05  # what a process of others has come to is nothing that one is told
WORKER = re.compile(r"api\.workers\.process\0")


class Workers(ServerProcess):
    def __init__(self, data: Path, count: int = 2, options: tuple[str, ...] = ()) -> None:
        super().__init__(data, tls=False, options=("--workers", str(count), *options))
        self.count = count

    @property
    def supervisor(self) -> int:
        assert self._process
        return self._process.pid

    def pids(self) -> list[int]:
        """Of the workers that there are, in the order they were started: the leader first, unless
        it is just being started."""
        return sorted(pid for pid in _children(self.supervisor) if _is_worker(pid))

    async def all_there(self, gone: int | None = None) -> list[int]:
        """The workers, once as many serve as there should be, and that one is none of them."""
        with trio.fail_after(STUCK_S):
            while True:
                pids = self.pids()
                complete = len(pids) == self.count and gone not in pids
                if complete and all(self.accepts(pid) for pid in pids):
                    return pids
                await trio.sleep(POLL_S)

    async def some_there(self) -> list[int]:
        """The workers that serve, once there are any."""
        with trio.fail_after(STUCK_S):
            while not (pids := [pid for pid in self.pids() if self.accepts(pid)]):
                await trio.sleep(POLL_S)
        return pids

    def accepts(self, pid: int) -> bool:
        """Whether a worker waits for connections: it has the listening socket in its epoll."""
        inodes = {_inode(pid, file) for file in _files(pid)}
        listening = {
            row[9] for row in _tcp() if row[3] == "0A" and _port(row[1]) == self.port
        } & inodes
        watched = set[str]()
        for file in _files(pid):
            try:
                info = Path(f"/proc/{pid}/fdinfo/{file}").read_text()
            except OSError:
                continue
            watched |= set(re.findall(r"tfd:\s+(\d+)", info))
        return any(_inode(pid, file) in listening for file in watched)

    def holder(self, local_port: int) -> int | None:
        """The worker that has accepted the connection of a client's port."""
        wanted = {
            row[9] for row in _tcp() if _port(row[1]) == self.port and _port(row[2]) == local_port
        } - {"0"}
        return next(
            (pid for pid in self.pids() if wanted & {_inode(pid, f) for f in _files(pid)}), None
        )

    async def open_stream_to(self, pid: int) -> trio.SocketStream:
        """A connection that this worker has."""
        with stopped(other for other in self.pids() if other != pid):
            stream = await trio.open_tcp_stream("localhost", self.port)
            port = stream.socket.getsockname()[1]
            with trio.fail_after(STUCK_S):
                while self.holder(port) != pid:
                    await trio.sleep(POLL_S)
        return stream


@contextmanager
def stopped(pids: Iterator[int]) -> Iterator[None]:
    halted = list(pids)
    for pid in halted:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in halted:
            os.kill(pid, signal.SIGCONT)


def _children(pid: int) -> list[int]:
    """Of any thread of a process."""
    found = ""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # it has ended
            found += (thread / "children").read_text()
    return list(map(int, found.split()))


def _is_worker(pid: int) -> bool:
    try:
        return WORKER.search(Path(f"/proc/{pid}/cmdline").read_text()) is not None
    except OSError:
        return False


def _files(pid: int) -> list[str]:
    try:
        return [file.name for file in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:
        return []


def _inode(pid: int, file: str) -> str:
    try:
        target = str(Path(f"/proc/{pid}/fd/{file}").readlink())
    except OSError:
        return ""
    return target.removeprefix("socket:[").removesuffix("]")


def _tcp() -> list[list[str]]:
    rows: list[list[str]] = []
    for name in ("tcp", "tcp6"):
        rows += [line.split() for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return rows


def _port(address: str) -> int:
    return int(address.rpartition(":")[2], 16)
