"""A log whose writer is in another process: submits to it, and reads LMDB itself.

    async with open_remote(path, domain, codec, stream, wall=...) as log: ...

What is told of a commit is its position: the records are read from the disk's cache and put into
the feed here, before who submitted is answered, so the contract of a log holds (storage.log).

Fault model: the writer's process ends. Then what was submitted and not answered may or may not be
on disk; everybody who waits is told LogFailed, and so is who comes later. There is no other writer
for this log: whoever opened it opens it anew, with a new stream. `on_lost` is called first of all,
for a process that would rather end than say anything.
"""

import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import trio

from storage.alongside import alongside
from storage.engine import Engine
from storage.errors import FormatError, LogClosed, LogFailed, StorageError
from storage.frames import READ_BYTES, Frames, frame
from storage.link import VERSION, Answer, Asked, Codec, Hello, Told, read_answer
from storage.log import COMMAND_COST_BYTES, Log
from storage.opening import position_of
from storage.projection import Domain
from storage.queue import Done, Result, require_room
from storage.reading import read_after
from storage.serial import ms_of
from storage.settings import LogSettings
from storage.writer import WriterMetrics

CATCH_UP_RECORDS = 500
logger = logging.getLogger("tidelog.storage")


class RemoteClock:
    """The time as the log has it, as far as it is known here. `read` tells nobody, so a serial of
    the same millisecond may follow; none that can be seen lies behind it."""

    def __init__(self, wall: Callable[[], int], engine: Engine) -> None:
        self._wall = wall
        self._engine = engine
        self.last = 0

    def now(self) -> int:
        return max(self._wall(), ms_of(self.last))

    def read(self) -> int:
        with self._engine.read() as reader:
            return max(self._wall(), ms_of(position_of(reader)))


class _Sent(msgspec.Struct):
    """`refused`: by their places, those that were not sent."""

    commands: Sequence[Any]
    cost: int
    done: Done
    refused: dict[int, Exception]

    def results(self, codec: Codec, answers: Iterable[Answer]) -> list[Result]:
        given = iter(answers)
        return [
            self.refused[place] if place in self.refused else read_answer(codec, one, next(given))
            for place, one in enumerate(self.commands)
        ]


class RemoteLog(Log):
    """Made by `open_remote`. `greeting`: what the writer's process said."""

    clock: RemoteClock

    def __init__(
        self,
        engine: Engine,
        hello: Hello,
        domain: Domain,
        codec: Codec,
        stream: trio.abc.Stream,
        settings: LogSettings,
        wall: Callable[[], int],
        on_lost: Callable[[], None],
    ) -> None:
        super().__init__(engine, hello.position, domain, settings)
        self.clock = RemoteClock(wall, engine)
        self.clock.last = hello.position
        self.greeting = hello.greeting
        self._codec = codec
        self._stream = stream
        self._on_lost = on_lost
        self._failed: LogFailed | None = None
        self._waiting: dict[int, _Sent] = {}
        self._number = 0
        self._commands = self._bytes = 0
        self._outgoing: list[bytes] = []
        self._news = trio.Event()
        self._answered = trio.lowlevel.ParkingLot()
        self._closing = False

    @property
    def metrics(self) -> WriterMetrics:
        return WriterMetrics()

    @property
    def failed(self) -> LogFailed | None:
        return self._failed

    @property
    def queued(self) -> int:
        """Commands that were not answered yet."""
        return self._commands

    def enqueue(
        self, commands: Sequence[Any], done: Done, *, app: str, cost: int = COMMAND_COST_BYTES
    ) -> None:
        if self._closing:
            raise LogClosed("the log is closed")
        if self._failed:
            raise self._failed
        require_room(self.settings, self._commands, self._bytes, len(commands), cost)
        self._number += 1
        encoded, refused = self._encoded(commands)
        self._outgoing.append(frame(Asked(self._number, app, cost, encoded)))
        self._waiting[self._number] = _Sent(commands, cost, done, refused)
        self._commands += len(commands)
        self._bytes += cost
        self._news.set()

    def _encoded(self, commands: Sequence[Any]) -> tuple[list[bytes], dict[int, Exception]]:
        """What is no command is refused alone, as `decide` would; by its place."""
        encoded: list[bytes] = []
        refused: dict[int, Exception] = {}
        for place, command in enumerate(commands):
            try:
                encoded.append(self._codec.command(command))
            except Exception as error:
                refused[place] = error
        return encoded, refused

    async def run(self) -> None:
        """Talk to the writer until its process ends, or this is cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send)
                await self._receive()
                nursery.cancel_scope.cancel()
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        except* (StorageError, ValueError) as group:
            logger.critical("the log cannot be followed", exc_info=group)
        if not self._closed:
            self._on_lost()
            self._fail("the process that writes the log has ended")

    async def _send(self) -> None:
        while True:
            if not self._outgoing:
                self._news = trio.Event()
                await self._news.wait()
            outgoing, self._outgoing = self._outgoing, []
            await self._stream.send_all(b"".join(outgoing))

    async def _receive(self) -> None:
        frames = Frames(Told)
        while data := await self._stream.receive_some(READ_BYTES):
            for told in frames.feed(data):
                await self._told(told)

    async def _told(self, told: Told) -> None:
        while self._feed.position < told.position:
            self._read_on(told.position)
            if self._feed.position < told.position:
                await trio.lowlevel.checkpoint()
        if told.forgets:
            self._feed.forget()
        for number, answers in told.answers:
            sent = self._waiting.pop(number)
            self._commands -= len(sent.commands)
            self._bytes -= sent.cost
            sent.done(sent.results(self._codec, answers))
        if told.failure is not None:
            self._fail(told.failure)
        self._answered.unpark_all()

    def _read_on(self, target: int) -> None:
        """In the loop, a bounded number: what was just written is in memory."""
        with self.engine.read() as reader:
            records = read_after(
                reader, self._feed.position, CATCH_UP_RECORDS, self.domain.decode, self.settings
            )
        if records:
            self._feed.publish(records)
        else:  # taken out of the log before they were read
            self._feed.skip(target)
        self.clock.last = max(self.clock.last, self._feed.position)

    def _fail(self, reason: str) -> None:
        """Writing is over: for what waits, and for what comes."""
        if self._failed is None:
            self._failed = LogFailed(reason)
        waiting, self._waiting = list(self._waiting.values()), {}
        self._commands = self._bytes = 0
        for sent in waiting:
            sent.done([self._failed] * len(sent.commands))
        self.failure.set()
        self._feed.wake()
        self._answered.unpark_all()

    async def aclose(self) -> None:
        if self._closing:
            return
        self._closing = True
        with trio.CancelScope(shield=True):
            while self._waiting:
                await self._answered.park()
            self._closed = True
            await self._stream.aclose()
            await trio.to_thread.run_sync(self.engine.close)
        self._feed.wake()


@asynccontextmanager
async def open_remote(
    path: Path,
    domain: Domain,
    codec: Codec,
    stream: trio.abc.Stream,
    *,
    wall: Callable[[], int],
    settings: LogSettings | None = None,
    on_lost: Callable[[], None] = lambda: None,
) -> AsyncIterator[RemoteLog]:
    """Open a data directory whose writer is at the other end of `stream` (`serve_link`).

    Raises LogClosed if nobody is there, FormatError for another version of it, Damaged."""
    settings = settings or LogSettings()
    hello = await _hello(stream)
    engine = await trio.to_thread.run_sync(lambda: Engine(path, settings))
    log = RemoteLog(engine, hello, domain, codec, stream, settings, wall, on_lost)
    try:
        async with alongside(log.run, log.aclose):
            yield log
    finally:
        await log.aclose()


async def _hello(stream: trio.abc.Stream) -> Hello:
    """However long it takes to open the log. Reads no further: what follows is the log's."""
    frames = Frames(Hello)
    found: list[Hello] = []
    while not found and (data := await stream.receive_some(1)):
        found += frames.feed(data)
    if not found:
        raise LogClosed("the process that writes the log says nothing")
    if found[0].version != VERSION:
        raise FormatError("the process that writes the log is of another version of Tidelog")
    return found[0]
