"""The log: `submit`, `read` and `tail` are all that the broker knows of storage.

    async with open_log(path, domain, clock=...) as log:
        outcome = await log.submit(command, app="a1")      # returns once it is on disk
        page = await log.read(stream, Span(reverse=True), limit=100)
        async for records in log.tail(log.position): ...

Used from one trio thread. A read transaction never crosses an await: pages are read on a small
thread pool and are bounded in records and bytes. A cancelled `submit` leaves the outcome unknown;
the command may or may not be on disk.
"""

from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import trio

from storage.engine import Reader
from storage.errors import LogClosed, LogFailed
from storage.feed import Feed
from storage.opening import Opened, open_engine, position_of
from storage.projection import Domain, Outcome
from storage.queue import Done, Job, Result
from storage.reading import EVERYTHING, Page, Span, read_after, read_merged, read_page
from storage.rebuild import ROWS_VERSION, adopt, rebuild
from storage.record import Record, Stream
from storage.retention import Cut, Policy, due, redact_stream, trim
from storage.serial import HybridClock
from storage.settings import LogSettings
from storage.sidefile import SideFile
from storage.transfer import import_lines
from storage.turn import EndOfTurn
from storage.view import View
from storage.writer import Commit, LogWriter, Maintenance, Step

T = TypeVar("T")
COMMAND_COST_BYTES = 256
READ_BYTES = 128 * 1024
SWEEP_STREAMS = 500
REBUILD_RECORDS = 2_000
IMPORT_LINES = 1_000


class Observer(Protocol):
    """Is told of jobs and commits, on the log's thread. Neither raises nor waits."""

    def enqueued(self, job: Job) -> None:
        """A job waits for the writer, which has not seen it yet: its `done` may be replaced."""

    def committed(self, commit: Commit) -> None:
        """A commit is about to be delivered."""


class Log:
    """An open log. Made by `open_log`."""

    def __init__(
        self, opened: Opened, domain: Domain, settings: LogSettings, wall: Callable[[], int]
    ) -> None:
        engine, position = opened
        self.engine = engine
        self.domain = domain
        self.settings = settings
        self.clock = HybridClock(wall, position, settings.serial_lead_ms_max)
        self._feed = Feed(position, settings.tail_records_max)
        self._threads = trio.CapacityLimiter(settings.read_threads)
        self._token = trio.lowlevel.current_trio_token()
        self._closing = False
        self._closed = False
        self.failure = trio.Event()
        self.observer: Observer | None = None
        self._side = SideFile(engine.path)
        self.writer = LogWriter(engine, domain, settings, self.clock, self._side, self._committed)
        # the writer is woken once for all that the tasks of a turn enqueue, and finds it all
        self._release = EndOfTurn(self.writer.queue.release)

    @property
    def position(self) -> int:
        """The serial of the last record that tails have been given."""
        return self._feed.position

    @property
    def failed(self) -> LogFailed | None:
        """Why writing stopped for good, if it did."""
        return self.writer.failed

    @property
    def queued(self) -> int:
        """Commands that wait for the writer."""
        return len(self.writer.queue)

    def _committed(self, commit: Commit) -> None:
        try:
            self._token.run_sync_soon(self._deliver, commit)
        except trio.RunFinishedError:
            return

    def _deliver(self, commit: Commit) -> None:
        if self.observer is not None:
            self.observer.committed(commit)
        self._feed.publish(commit.records)
        for job in commit.jobs:
            job.done(job.results)
        if self.failed:
            self.failure.set()
            self._feed.wake()

    def enqueue(
        self, commands: Sequence[Any], done: Done, *, app: str, cost: int = COMMAND_COST_BYTES
    ) -> None:
        """Hand commands to the writer; `done` gets one result each (Outcome or exception), on this
        thread, once their commit is on disk and in the feed. Raises QueueFull, LogFailed,
        LogClosed; then nothing was taken. `cost`: payload bytes, `app`: whose turn it uses."""
        job = Job(commands, app, cost, done)
        self.writer.queue.put(job, hold=True)
        if self.observer is not None:
            self.observer.enqueued(job)
        self._release.soon()

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

    async def maintain(self, step: Step) -> None:
        """Run `step` on the writer thread, again and again, each time in its own commit, until it
        returns False, whether or not the caller still waits. Raises what it raised."""
        finished = trio.Event()
        errors: list[Exception] = []

        def done(error: Exception | None) -> None:
            if error:
                errors.append(error)
            self._token.run_sync_soon(finish)

        def finish() -> None:
            self._feed.forget()  # what was taken out of the log must not live on in memory
            finished.set()

        self.writer.maintain(Maintenance(step, done))
        await finished.wait()
        if errors:
            raise errors[0]

    async def trim(self, cuts: Sequence[Cut]) -> None:
        """Remove the records that `cuts` cover, leaving snapshots. Paced."""
        await self.maintain(trim(self.domain, cuts, self.settings.maintenance_records))

    async def sweep(self, policy: Policy) -> int:
        """Trim every stream to what `policy` keeps; returns how many streams needed it."""
        now_ms, after, trimmed = self.clock.read(), b"", 0
        while True:
            cuts, after = await self.in_thread(partial(self._due, policy, now_ms, after))
            if cuts:
                await self.trim(cuts)
                trimmed += len(cuts)
            if not after:
                return trimmed

    def _due(
        self, policy: Policy, now_ms: int, after: bytes, reader: Reader
    ) -> tuple[list[Cut], bytes]:
        return due(
            reader, View(reader, self.domain, self.settings), policy, now_ms, after, SWEEP_STREAMS
        )

    async def redact(self, stream: Stream, last: int, matches: Callable[[Any], bool]) -> None:
        """Take the bodies of matching events up to serial `last` out of a stream, for good."""
        limit = self.settings.maintenance_records
        await self.maintain(redact_stream(self.domain, stream, last, matches, limit))

    async def rebuild(self) -> None:
        """Fold every projection again from the log, beside live traffic, and swap."""
        await self.maintain(rebuild(self.domain, REBUILD_RECORDS))

    async def rebuild_if_outdated(self) -> None:
        """Rebuild projections that another version of the domain wrote."""
        written_by = await self.in_thread(lambda reader: reader.number(ROWS_VERSION))
        if written_by == self.domain.version:
            return
        if self.position:
            await self.rebuild()
        else:
            await self.maintain(adopt(self.domain))

    async def import_lines(self, lines: Iterable[str]) -> None:
        """Write an export into this log, which must be empty. Tails begin behind it."""
        await self.maintain(import_lines(self.domain, lines, IMPORT_LINES))
        position = await self.in_thread(position_of)
        self.clock.advance(position)
        self._feed = Feed(position, self.settings.tail_records_max)

    def _close(self) -> None:
        self.writer.close()
        self._side.close()
        self.engine.close()

    async def aclose(self) -> None:
        """Commit what was accepted, then close. Later calls raise LogClosed."""
        if self._closing:
            return
        self._closing = True
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._close)
            delivered = trio.Event()
            self._token.run_sync_soon(delivered.set)
            await delivered.wait()
        self._closed = True
        self._release.close()
        self._feed.wake()


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


@asynccontextmanager
async def open_log(
    path: Path,
    domain: Domain,
    *,
    wall: Callable[[], int],
    settings: LogSettings | None = None,
    accept_loss: bool = False,
    sync: bool = True,
    metasync: bool = True,
) -> AsyncIterator[Log]:
    """Open a data directory for writing, creating it if need be.

    `wall` returns milliseconds since the epoch. Raises LogLocked (another process writes),
    LogBehind (acknowledged commits are missing; `accept_loss` goes on without them), Damaged,
    FormatError.
    `sync` and `metasync` are for tests that prove what they protect.
    """
    settings = settings or LogSettings()
    opened = await trio.to_thread.run_sync(
        lambda: open_engine(path, settings, accept_loss, sync=sync, metasync=metasync)
    )
    try:
        log = Log(opened, domain, settings, wall)
    except BaseException:
        opened.engine.close()
        raise
    log.writer.start()
    try:
        await log.rebuild_if_outdated()
        yield log
    finally:
        await log.aclose()


__all__ = ["Log", "LogClosed", "open_log"]
