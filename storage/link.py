"""What a log and its writer say to each other when they are in different processes.

Frames (storage.frames) over a stream that only the two of them have. The side that submits sends
`Asked`, the writer's side `Hello` once and then `Told`, one after each commit that somebody waits
for or that tails have to hear of; while a frame is being sent, what comes meanwhile becomes the
next. Records are not sent: who is told of a position reads them from LMDB.

What commands, replies and refusals look like is the domain's business (`Codec`); the log's own
errors go by their names. Both ends are of one version of Tidelog, as `Hello` says: a frame is never
stored. A frame that cannot be read ends the link.
"""

import logging
from collections import deque
from contextlib import suppress
from typing import Any, Protocol

import msgspec
import trio

from storage import errors
from storage.errors import QueueFull, StorageError
from storage.frames import READ_BYTES, Frames, frame
from storage.local import LocalLog
from storage.projection import Outcome
from storage.queue import Result

VERSION = 1
_ERRORS = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, StorageError)
}
logger = logging.getLogger("tidelog.storage")


class Codec(Protocol):
    """A domain's commands, what is replied to them, and what they are refused with, as bytes."""

    def command(self, command: Any) -> bytes: ...

    def read_command(self, data: bytes) -> Any: ...

    def reply(self, command: Any, reply: Any) -> bytes: ...

    def read_reply(self, command: Any, data: bytes) -> Any: ...

    def error(self, error: Exception) -> bytes: ...

    def read_error(self, data: bytes) -> Exception: ...


class Hello(msgspec.Struct, frozen=True, array_like=True):
    """`position`: where the log stands. `greeting`: what the writer's process tells this one."""

    version: int
    position: int
    greeting: int


class Asked(msgspec.Struct, frozen=True, array_like=True):
    """Commands that were submitted together. `number`: what their answer has, too."""

    number: int
    app: str
    cost: int
    commands: list[bytes]


class Answer(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What became of one command: an outcome, or an error. `failed`: the name of one of the log's
    own errors, "-" for one of the domain's; `data`: the reply, or the error."""

    serials: tuple[int | None, ...]
    duplicate: bool
    failed: str
    data: bytes


class Told(msgspec.Struct, frozen=True, array_like=True):
    """`position`: of the last commit. `forgets`: records were taken out of the log. `failure`: why
    writing has stopped for good."""

    position: int
    forgets: bool
    answers: list[tuple[int, list[Answer]]]
    failure: str | None = None


def answer(codec: Codec, command: Any, result: Result) -> Answer:
    if isinstance(result, Outcome):
        data = b"" if result.reply is None else codec.reply(command, result.reply)
        return Answer(result.serials, result.duplicate, "", data)
    if isinstance(result, StorageError):
        return Answer((), False, type(result).__name__, str(result).encode())
    return Answer((), False, "-", codec.error(result))


def read_answer(codec: Codec, command: Any, given: Answer) -> Result:
    if not given.failed:
        reply = codec.read_reply(command, given.data) if given.data else None
        return Outcome(given.serials, given.duplicate, reply)
    if given.failed == "-":
        return codec.read_error(given.data)
    return _ERRORS[given.failed](given.data.decode())


async def serve_link(
    log: LocalLog, stream: trio.abc.Stream, codec: Codec, *, greeting: int = 0
) -> None:
    """Write for a log in another process until it closes its end, or this is cancelled."""
    link = _Link(log, stream, codec)
    await stream.send_all(frame(Hello(VERSION, log.position, greeting)))
    log.committed.add(link.committed)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.tell)
            await link.listen()
            nursery.cancel_scope.cancel()
    except* (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # it is gone
    except* ValueError as group:
        logger.error("a process that submits sent no frame", exc_info=group)
    finally:
        log.committed.discard(link.committed)
        with suppress(StorageError):
            await trio.to_thread.run_sync(log.engine.clear_dead_readers, abandon_on_cancel=True)


class _Link:
    """The writer's end."""

    def __init__(self, log: LocalLog, stream: trio.abc.Stream, codec: Codec) -> None:
        self._log = log
        self._stream = stream
        self._codec = codec
        self._answers: list[tuple[int, list[Answer]]] = []
        self._held: deque[Asked] = deque()
        self._told = log.position
        self._forgotten = log.forgotten
        self._failed = False
        self._news = trio.Event()

    def committed(self) -> None:
        self._news.set()
        while self._held and self._taken(self._held[0]):
            self._held.popleft()

    async def listen(self) -> None:
        frames = Frames(Asked)
        while data := await self._stream.receive_some(READ_BYTES):
            for asked in frames.feed(data):
                if self._held or not self._taken(asked):
                    self._held.append(asked)

    def _taken(self, asked: Asked) -> bool:
        """False where the queue is full now: the other side has a bound of its own, and was told
        there that it is not. What it holds waits here, in order."""
        commands: list[Any] = asked.commands

        def done(results: list[Result]) -> None:
            told = [answer(self._codec, *pair) for pair in zip(commands, results, strict=True)]
            self._answers.append((asked.number, told))

        try:
            commands = [self._codec.read_command(data) for data in asked.commands]
            self._log.enqueue(commands, done, app=asked.app, cost=asked.cost)
        except QueueFull:
            return False
        except Exception as error:  # the log is closed, or it is no command: nothing was taken
            done([error] * len(asked.commands))
            self._news.set()
        return True

    async def tell(self) -> None:
        """A task of its own: who reads slowly delays nobody else, and hears of several commits at
        once. `_answers` is bounded by what the other side may have under way."""
        while True:
            if not self._is_news():
                self._news = trio.Event()
                await self._news.wait()
            answers, self._answers = self._answers, []
            log = self._log
            forgets, self._forgotten = log.forgotten != self._forgotten, log.forgotten
            self._told, failed = log.position, log.failed
            self._failed = failed is not None
            failure = str(failed) if failed is not None else None
            await self._stream.send_all(frame(Told(self._told, forgets, answers, failure)))

    def _is_news(self) -> bool:
        log = self._log
        return (
            bool(self._answers)
            or log.position != self._told
            or log.forgotten != self._forgotten
            or (log.failed is not None) != self._failed
        )
