"""Redis as a contender: `appendfsync always`, XADD, a unix socket, nobody else on it.

Two clients, for there are two ways to have 100 publishes in flight. `Redis`: one blocking socket,
and all of them in one write, which is the best case of Redis; it runs what it has read, syncs its
append-only file once, and replies to all of it. `RedisConnections`: as many connections with one
publish each, which is what 100 publishers are to a server; driven by Redis' own redis-benchmark, in
C, for a Python client would be the bottleneck. Bytes written are the growth of that file, exactly.
"""

import csv
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import trio

from bench.acknowledged import Wrong, number_of, payload
from bench.load.driver import Address
from bench.load.peers.redis import RedisPeer
from bench.measuring import Sample

_READ_BYTES = 1 << 16
_FIRST_GUESS = 2_000  # messages per second


class RedisFailed(Exception):
    """Redis answered with an error."""


def installed() -> bool:
    return bool(shutil.which("redis-server") and shutil.which("redis-benchmark"))


class Server(NamedTuple):
    """Where it listens: nobody else is on it."""

    path: Path
    address: Address


@contextmanager
def server(directory: Path) -> Iterator[Server]:
    """A Redis of our own in `directory`. A unix socket's path is short, so that is in a directory
    of its own."""
    with tempfile.TemporaryDirectory(prefix="tidelog-redis-") as short:
        path = Path(short, "s")
        peer = RedisPeer("redis", "always", (), unixsocket=str(path))
        with peer.start(directory) as address:
            yield Server(path, address)


class Connection:
    """RESP, as far as we need it: commands out in one write, replies counted or read."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(str(path))
        self._received = b""

    def close(self) -> None:
        self._socket.close()

    def send(self, commands: list[bytes]) -> None:
        self._socket.sendall(b"".join(commands))

    def bulk_replies(self) -> int:
        """Wait; how many whole bulk replies have come. Raises RedisFailed for an error reply."""
        received = self._received + self._socket.recv(_READ_BYTES)
        if received[:1] == b"-" or b"\r\n-" in received:
            raise RedisFailed(received[:200].decode(errors="replace"))
        replies = received.count(b"\r\n") // 2
        end = 0
        for _ in range(2 * replies):
            end = received.index(b"\r\n", end) + 2
        self._received = received[end:]
        return replies

    def integers(self, commands: list[bytes]) -> list[int]:
        """Commands whose replies are integers, in one write."""
        self.send(commands)
        received = b""
        while received.count(b"\r\n") < len(commands):
            received += self._socket.recv(_READ_BYTES)
        if received[:1] == b"-" or b"\r\n-" in received:
            raise RedisFailed(received[:200].decode(errors="replace"))
        return [int(line[1:]) for line in received.split(b"\r\n")[:-1]]

    def ask(self, *arguments: bytes) -> list[bytes]:
        """One command; the lines of its reply, sizes and counts left out."""
        self.send([command(*arguments)])
        while (lines := _whole_reply(self._received)) is None:
            self._received += self._socket.recv(_READ_BYTES)
        self._received = b""
        return lines


def command(*arguments: bytes) -> bytes:
    parts = [b"*%d\r\n" % len(arguments)]
    parts += [b"$%d\r\n%b\r\n" % (len(argument), argument) for argument in arguments]
    return b"".join(parts)


def _whole_reply(received: bytes) -> list[bytes] | None:
    """The strings and numbers of one reply, None while it is not complete."""
    lines = received.split(b"\r\n")
    strings: list[bytes] = []
    wanted, at = 1, 0
    while wanted:
        if at + 1 >= len(lines):
            return None
        kind, rest = lines[at][:1], lines[at][1:]
        wanted += int(rest) - 1 if kind == b"*" else -1
        if kind == b"-":
            raise RedisFailed(rest.decode(errors="replace"))
        if kind == b"$":
            at += 1
            if at + 1 >= len(lines):
                return None
            strings.append(lines[at])
        elif kind != b"*":
            strings.append(rest)
        at += 1
    return strings


class Redis:
    """One connection, pipelined. `channels` streams; the messages are the same as ours."""

    name = "redis, pipelined"

    def __init__(self, path: Path, directory: Path, channels: int) -> None:
        self._connection = Connection(path)
        self._files = directory
        self._streams = [b"bench:%d" % number for number in range(channels)]
        self._next = 0

    async def turn(self, publishers: int, seconds: float) -> Sample:
        await trio.lowlevel.checkpoint()
        sample = self._turn(publishers, seconds)
        self._check()
        return sample

    def _turn(self, publishers: int, seconds: float) -> Sample:
        latencies: list[float] = []
        written, began = _file_bytes(self._files), perf_counter()
        waiting: list[float] = []  # when each command that is in flight was sent
        free, now = publishers, began
        while free or waiting:
            if free and now < began + seconds:
                self._send(free)
                waiting += [now] * free
            if not waiting:
                break
            free = self._connection.bulk_replies()
            now = perf_counter()
            latencies += [now - sent for sent in waiting[:free]]
            del waiting[:free]
        return Sample(
            messages=len(latencies),
            seconds=perf_counter() - began,
            written_bytes=_file_bytes(self._files) - written,
            latencies=latencies,
        )

    def _send(self, count: int) -> None:
        numbers = range(self._next, self._next + count)
        self._next += count
        streams = self._streams
        self._connection.send(
            [
                command(b"XADD", streams[n % len(streams)], b"*", b"data", payload(n).encode())
                for n in numbers
            ]
        )

    def _check(self) -> None:
        """Every message that was sent was acknowledged, for a turn waits for that: so the streams
        hold them all, in order. Raises Wrong."""
        asked = [command(b"XLEN", name) for name in self._streams]
        held = sum(self._connection.integers(asked))
        if held != self._next:
            raise Wrong(f"redis holds {held} of {self._next} messages")
        reply = self._connection.ask(b"XREVRANGE", self._streams[0], b"+", b"-", b"COUNT", b"100")
        numbers = [number_of(data) for data in reply[2::3]]
        if numbers != sorted(set(numbers), reverse=True):
            raise Wrong("redis holds messages out of order")

    def close(self) -> None:
        self._connection.close()


class RedisConnections:
    """One connection per publisher. redis-benchmark is told how many messages to send, not how
    long: as many as its last turn would have sent in the time."""

    name = "redis, connections"

    def __init__(self, path: Path, directory: Path, channels: int) -> None:
        self._path = path
        self._files = directory
        self._channels = channels
        self._connection = Connection(path)
        self._per_second: float = _FIRST_GUESS

    async def turn(self, publishers: int, seconds: float) -> Sample:
        count = max(publishers, int(self._per_second * seconds))
        written, held = _file_bytes(self._files), self._held()
        report = await trio.to_thread.run_sync(self._benchmark, publishers, count)
        self._per_second, p50, p99 = report
        if self._held() - held != count:
            raise Wrong(f"redis holds {self._held() - held} of {count} messages")
        return Sample(
            messages=count,
            seconds=count / self._per_second,
            written_bytes=_file_bytes(self._files) - written,
            latencies=[p50] * 98 + [p99] * 2,  # all that it tells us; enough for p50 and p99
        )

    def _benchmark(self, publishers: int, count: int) -> tuple[float, float, float]:
        """(messages per second, p50 and p99 in seconds)."""
        options = f"-s {self._path} -c {publishers} -n {count} -r {self._channels} --csv"
        add = ["XADD", "many:__rand_int__", "*", "data", payload(0)]
        ran = subprocess.run(
            ["redis-benchmark", *options.split(), *add], capture_output=True, text=True, check=True
        )
        columns = next(csv.DictReader(ran.stdout.splitlines()[-2:]))
        p50, p99 = (float(columns[f"p{number}_latency_ms"]) / 1e3 for number in (50, 99))
        return float(columns["rps"]), p50, p99

    def _held(self) -> int:
        """redis-benchmark names its streams by twelve digits."""
        streams = [b"many:%012d" % number for number in range(self._channels)]
        return sum(self._connection.integers([command(b"XLEN", name) for name in streams]))

    def close(self) -> None:
        self._connection.close()


PEERS = (Redis, RedisConnections)


def _file_bytes(directory: Path) -> int:
    return sum(file.stat().st_size for file in directory.rglob("*.aof"))


@contextmanager
def redis(directory: Path, channels: int) -> Iterator[tuple[Redis, RedisConnections]]:
    with server(directory) as running:
        contenders = (
            Redis(running.path, directory, channels),
            RedisConnections(running.path, directory, channels),
        )
        try:
            yield contenders
        finally:
            for contender in contenders:
                contender.close()
