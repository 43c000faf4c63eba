"""A log whose writer is in this process: the one that has its directory's lock.

`open_log` opens it. What it can do beside any log (storage.log) is what only the writer can:
maintenance, and taking in an export.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio

from storage.engine import Reader
from storage.errors import LogFailed
from storage.feed import Feed
from storage.log import COMMAND_COST_BYTES, Log
from storage.opening import Opened, open_engine, position_of
from storage.projection import Domain
from storage.queue import Done, Job
from storage.rebuild import ROWS_VERSION, adopt, rebuild
from storage.record import Stream
from storage.retention import Cut, Policy, due, redact_stream, trim
from storage.serial import HybridClock
from storage.settings import LogSettings
from storage.sidefile import SideFile
from storage.transfer import import_lines
from storage.turn import EndOfTurn
from storage.view import View
from storage.writer import Commit, LogWriter, Maintenance, Step, WriterMetrics

SWEEP_STREAMS = 500
REBUILD_RECORDS = 2_000
IMPORT_LINES = 1_000


class LocalLog(Log):
    """Made by `open_log`. `committed`: called on this thread after every commit, behind those who
    are told of their commands. `forgotten`: how often records were taken out of the log."""

    clock: HybridClock

    def __init__(
        self, opened: Opened, domain: Domain, settings: LogSettings, wall: Callable[[], int]
    ) -> None:
        engine, position = opened
        super().__init__(engine, position, domain, settings)
        self.clock = HybridClock(wall, position, settings.serial_lead_ms_max)
        self.committed: set[Callable[[], None]] = set()
        self.forgotten = 0
        self._token = trio.lowlevel.current_trio_token()
        self._closing = False
        self._side = SideFile(engine.path)
        self.writer = LogWriter(engine, domain, settings, self.clock, self._side, self._commit)
        # the writer is woken once for all that the tasks of a turn enqueue, and finds it all
        self._release = EndOfTurn(self.writer.queue.release)

    @property
    def metrics(self) -> WriterMetrics:
        return self.writer.metrics

    @property
    def failed(self) -> LogFailed | None:
        return self.writer.failed

    @property
    def queued(self) -> int:
        return len(self.writer.queue)

    def _commit(self, commit: Commit) -> None:
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
        for told in self.committed:
            told()

    def enqueue(
        self, commands: Sequence[Any], done: Done, *, app: str, cost: int = COMMAND_COST_BYTES
    ) -> None:
        job = Job(commands, app, cost, done)
        self.writer.queue.put(job, hold=True)
        if self.observer is not None:
            self.observer.enqueued(job)
        self._release.soon()

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
            self.forgotten += 1
            for told in self.committed:
                told()
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
) -> AsyncIterator[LocalLog]:
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
        log = LocalLog(opened, domain, settings, wall)
    except BaseException:
        opened.engine.close()
        raise
    log.writer.start()
    try:
        await log.rebuild_if_outdated()
        yield log
    finally:
        await log.aclose()
