"""The writer: the one thread that changes the log.

LMDB write transactions belong to a thread, so every write happens on this one. It commits in
groups: what waited while the last sync ran is the next batch. Between batches it runs maintenance
(trims, rebuilds) in small steps, each its own commit, so that neither starves the other.

Fault model: no room refuses the batch and goes on; the first I/O error of a commit is final: every
waiter gets it, later writes are refused, reads go on. A caller hears of success only after the
commit is on disk and noted in the side file.
"""

import logging
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Thread
from time import monotonic
from typing import Any

from storage.chain import Heads
from storage.engine import Engine, EngineError, Writer, free_disk_bytes
from storage.errors import LogClosed, LogFailed, LogFull, StorageError
from storage.projection import Domain
from storage.queue import CommitQueue, Job
from storage.record import Record
from storage.rows import RowCache
from storage.serial import HybridClock
from storage.settings import LogSettings
from storage.sidefile import SideFile
from storage.stage import AppendStage

logger = logging.getLogger("tidelog.storage")

Step = Callable[[Writer], bool]
"""One bounded piece of maintenance in a transaction of its own; True while there is more."""


@dataclass(slots=True)
class Commit:
    """A commit that is on disk: its records in order, and the jobs to answer. `took_s`: how long it
    took, from the first command until it was synced."""

    records: list[Record]
    jobs: list[Job]
    took_s: float = 0.0


@dataclass(slots=True)
class Maintenance:
    step: Step
    done: Callable[[Exception | None], None]


@dataclass(slots=True)
class WriterMetrics:
    """`sync_s`: how long it took, over all commits, until what was written was on disk."""

    commits: int = 0
    sync_s: float = 0.0
    commands: int = 0
    records: int = 0
    duplicates: int = 0
    refused: int = 0
    full: int = 0


@dataclass(slots=True)
class LogWriter:
    """Runs until `close`. `committed` is called on the writer thread after each commit."""

    engine: Engine
    domain: Domain
    settings: LogSettings
    clock: HybridClock
    side: SideFile
    committed: Callable[[Commit], None]
    failed: LogFailed | None = None
    metrics: WriterMetrics = field(default_factory=WriterMetrics)
    queue: CommitQueue = field(init=False)
    _heads: Heads = field(init=False)
    _rows: RowCache = field(init=False)
    _maintenance: deque[Maintenance] = field(default_factory=deque)
    _thread: Thread = field(init=False)
    _rest_until: float = 0.0

    def __post_init__(self) -> None:
        self.queue = CommitQueue(self.settings)
        self._heads = Heads(self.settings.heads_max)
        self._rows = RowCache(self.settings.cached_rows_max)
        self._thread = Thread(target=self._run, name="tidelog-writer", daemon=True)
        if self.settings.switch_interval_us:
            interval = self.settings.switch_interval_us / 1e6
            sys.setswitchinterval(min(sys.getswitchinterval(), interval))

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Finish what was accepted, then stop the thread. Blocks."""
        self.queue.refuse(LogClosed("the log is closed"))
        self._thread.join()

    def maintain(self, maintenance: Maintenance) -> None:
        """Run a maintenance job's steps between batches, after those that wait already."""
        if self.failed or self.queue.closed:
            raise self.failed or LogClosed("the log is closed")
        self._maintenance.append(maintenance)
        self.queue.wake()

    def _run(self) -> None:
        while True:
            batch = self.queue.take(wait=not self._maintenance)
            if batch:
                self._commit(batch)
            elif self.queue.closed:
                break
            if self._maintenance and (not batch or monotonic() >= self._rest_until):
                self._maintain()
        while self._maintenance:
            self._maintenance.popleft().done(LogClosed("the log is closed"))

    def _commit(self, batch: list[Job]) -> None:
        if self.failed:
            return self._refuse(batch, self.failed)
        began_s = monotonic()
        try:
            stage = self._apply(batch)
        except StorageError as error:
            return self._commit_failed(batch, error)
        except Exception as error:  # a bug; the transaction was aborted, so later batches are safe
            logger.exception("a commit met a bug")
            return self._refuse(batch, error)
        self._heads.update(stage.links)
        self._rows.update(stage.overlay.accepted)
        self.metrics.commits += 1
        self.metrics.records += len(stage.records)
        self._note(stage.records)
        self.committed(Commit(stage.records, batch, monotonic() - began_s))
        return None

    def _apply(self, batch: list[Job]) -> AppendStage:
        with self.engine.write() as writer:
            self._check_room(writer)
            stage = AppendStage(writer, self.domain, self.clock, self._heads, self._rows)
            for job in batch:
                self.metrics.commands += len(job.commands)
                job.results = [self._outcome(stage, command) for command in job.commands]
            stage.write()
            staged = monotonic()
        self.metrics.sync_s += monotonic() - staged
        return stage

    def _note(self, records: list[Record]) -> None:
        """Tell the side file. The commit stands whether or not that works."""
        last = records[-1].link if records else None
        if last is None:
            return
        try:
            self.side.note(self.engine.committed(), (last.serial, last.hash))
        except OSError as error:
            self._fail(LogFailed(f"the side file cannot be written: {error}"))

    def _outcome(self, stage: AppendStage, command: Any) -> Any:
        try:
            outcome = stage.run(command)
        except EngineError:
            raise  # the transaction is broken, not the command
        except Exception as error:  # a refusal, or a bug: either way only this command's
            self.metrics.refused += 1
            return error
        self.metrics.duplicates += outcome.duplicate
        return outcome

    def _check_room(self, writer: Writer) -> None:
        limit = self.settings.max_bytes
        if limit and writer.used_bytes() >= limit:
            raise LogFull(f"the log holds {limit} bytes, its max_bytes")
        free, size = free_disk_bytes(self.engine.path)
        reserve = min(self.settings.disk_reserve_bytes, size // 20)
        if free < reserve and free + writer.free_bytes() < reserve + self.settings.batch_bytes_max:
            raise LogFull(f"{free} bytes are free on the disk, {reserve} are kept in reserve")

    def _commit_failed(self, batch: list[Job], error: StorageError) -> None:
        if isinstance(error, LogFull):
            self.metrics.full += 1
            error = self._still_alive(error)
        if isinstance(error, LogFailed):
            self._fail(error)
        self._refuse(batch, error)

    def _still_alive(self, error: LogFull) -> StorageError:
        """A full disk at the meta page (on a file system that copies on write) ends LMDB's work."""
        try:
            with self.engine.read():
                return error
        except LogFailed as failure:
            return failure

    def _fail(self, error: LogFailed) -> None:
        """Final. Reads go on from a fresh, read-only environment."""
        logger.critical("a commit failed, writing stops: %s", error)
        self.failed = error
        self.queue.refuse(error)
        try:
            self.engine.reopen_readonly()
        except Exception:
            logger.critical("the log cannot be reopened for reading", exc_info=True)
        self.committed(Commit([], []))

    def _refuse(self, batch: list[Job], error: Exception) -> None:
        for job in batch:
            job.fail(error)
        self.committed(Commit([], batch))

    def _maintain(self) -> None:
        job = self._maintenance[0]
        began = monotonic()
        try:
            if self.failed:
                raise self.failed
            more, error = self._step(job.step), None
        except Exception as failure:  # its caller gets it; the writer goes on
            more, error = False, failure
            if isinstance(failure, LogFailed) and not self.failed:
                self._fail(failure)
        if not more:
            self._maintenance.popleft()
            job.done(error)
        now = monotonic()
        self._rest_until = now + (now - began) * self.settings.maintenance_rest

    def _step(self, step: Step) -> bool:
        self._rows.clear()  # a step may write rows of its own
        with self.engine.write() as writer:
            more = step(writer)
        self.side.note(self.engine.committed())
        return more
