"""The log: `submit`, `read` and `tail` are all that the broker knows of storage.

    async with open_log(path, domain, clock=...) as log:
        outcome = await log.submit(command, app="a1")      # returns once it is on disk
        page = await log.read(stream, Span(reverse=True), limit=100)
        async for records in log.tail(log.position): ...

Used from one trio thread. A read transaction never crosses an await: pages are read on a small
thread pool and are bounded in records and bytes. A cancelled `submit` leaves the outcome unknown;
the command may or may not be on disk.

Here is what a log is wherever its writer runs: in this process (storage.local) or in another one
(storage.remote). Both read LMDB themselves.
"""

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import trio

from storage.engine import Engine, Reader
from storage.errors import LogFailed
from storage.feed import Feed
from storage.projection import Domain, Outcome
from storage.queue import Done, Job, Result
from storage.reading import EVERYTHING, Page, Span, read_after, read_merged, read_page
from storage.record import Record, Stream
from storage.settings import LogSettings
from storage.view import View
from storage.writer import Commit, WriterMetrics

T = TypeVar("T")
COMMAND_COST_BYTES = 256
READ_BYTES = 128 * 1024


class LogClock(Protocol):
    """See storage.serial.HybridClock."""

    def now(self) -> int: ...

    def read(self) -> int: ...


class Observer(Protocol):
    """Is told of jobs and commits, on the log's thread. Neither raises nor waits."""

    def enqueued(self, job: Job) -> None:
        """A job waits for the writer, which has not seen it yet: its `done` may be replaced."""

    def committed(self, commit: Commit) -> None:
        """A commit is about to be delivered."""


class Log:
    """An open log. Made by `open_log`, or by `open_remote`. `observer`: told of what this process
    writes."""

    clock: LogClock

    def __init__(
        self, engine: Engine, position: int, domain: Domain, settings: LogSettings
    ) -> None:
        self.engine = engine
        self.domain = domain
        self.settings = settings
        self.failure = trio.Event()
        self.observer: Observer | None = None
        self._feed = Feed(position, settings.tail_records_max)
        self._threads = trio.CapacityLimiter(settings.read_threads)
        self._closed = False

    @property
    def position(self) -> int:
        """The serial of the last record that tails have been given."""
        return self._feed.position

    @property
    def metrics(self) -> WriterMetrics:
        """What this process has written; nothing, where another one does."""
        raise NotImplementedError

    @property
    def failed(self) -> LogFailed | None:
        """Why writing stopped for good, if it did."""
        raise NotImplementedError

    @property
    def queued(self) -> int:
        """Commands that wait for the writer."""
        raise NotImplementedError

    def enqueue(
        self, commands: Sequence[Any], done: Done, *, app: str, cost: int = COMMAND_COST_BYTES
    ) -> None:
        """Hand commands to the writer; `done` gets one result each (Outcome or exception), on this
        thread, once their commit is on disk and in the feed. Raises QueueFull, LogFailed,
        LogClosed; then nothing was taken. `cost`: payload bytes, `app`: whose turn it uses."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """Commit what was accepted, then close. Later calls raise LogClosed."""
        raise NotImplementedError

    async def submit(self, command: Any, *, app: str, cost: int = COMMAND_COST_BYTES) -> Outcome:
        """Decide, append and fold one command; returns once it is on disk. Raises what `decide`
        raised."""
        (result,) = await self.submit_all((command,), app=app, cost=cost)
        if isinstance(result, Exception):
            raise result
        return result

    async def submit_all(
        self, commands: Sequence[Any], *, app: str, cost: int = COMMAND_COST_BYTES
    ) -> list[Result]:
        """Like `submit`, for several commands in one commit, each with its own result."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if not commands:
            return []
        waiter = _Waiter()
        self.enqueue(commands, waiter.done, app=app, cost=cost)
        await trio.lowlevel.wait_task_rescheduled(waiter.abort)
        return waiter.results

    async def read(self, stream: Stream, span: Span = EVERYTHING, *, limit: int) -> Page:
        """A page of a stream. Raises Damaged rather than serve what was not written."""

        def page(reader: Reader) -> Page:
            return read_page(reader, stream, span, limit, self.domain.decode, self.settings)

        return await self.in_thread(page)

    async def read_merged(
        self, spans: Mapping[Stream, Span], *, limit: int, size: int = READ_BYTES
    ) -> Page:
        """A page of several streams in one serial order, oldest first. `size`: its bytes, about."""

        def page(reader: Reader) -> Page:
            return read_merged(reader, spans, limit, size, self.domain.decode, self.settings)

        return await self.in_thread(page)

    async def query(self, ask: Callable[[View], T]) -> T:
        """Ask the projections, in one read transaction on a thread."""

        def answer(reader: Reader) -> T:
            return ask(View(reader, self.domain, self.settings))

        return await self.in_thread(answer)

    @contextmanager
    def view(self) -> Iterator[View]:
        """The projections, for a few point reads on this thread (about a microsecond each)."""
        with self.engine.read() as reader:
            yield View(reader, self.domain, self.settings)

    async def in_thread(self, work: Callable[[Reader], T]) -> T:
        """Run `work` with a read transaction on the pool; it must be bounded."""

        def run() -> T:
            with self.engine.read() as reader:
                return work(reader)

        return await trio.to_thread.run_sync(run, limiter=self._threads)

    async def tail(self, position: int) -> AsyncGenerator[list[Record], None]:
        """Everything committed behind `position`, in order, for ever: first from disk, then live.
        Ends when the log is closed; raises LogFailed when writing has failed."""
        while not self._closed:
            records = self._feed.since(position)
            if records is None:
                known = self._feed.position
                records = await self._catch_up(position)
                if not records:  # what came meanwhile woke nobody
                    position = known
                    continue
            if records:
                position = records[-1].serial
                yield records
            elif self.failed:
                raise self.failed
            else:
                await self._feed.wait()

    async def _catch_up(self, position: int) -> list[Record]:
        def read(reader: Reader) -> list[Record]:
            limit = self.settings.read_records_max
            return read_after(reader, position, limit, self.domain.decode, self.settings)

        return await self.in_thread(read)


class _Waiter:
    """A task that sleeps until its commands are decided, or until it is cancelled."""

    __slots__ = ("_task", "results")

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = trio.lowlevel.current_task()
        self.results: list[Result] = []

    def done(self, results: list[Result]) -> None:
        self.results = results
        if self._task is not None:
            trio.lowlevel.reschedule(self._task)

    def abort(self, _: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED
