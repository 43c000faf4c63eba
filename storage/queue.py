"""The commands that wait for the writer: bounded in number and bytes, fair between apps.

While one commit syncs, everything that arrives waits here and becomes the next batch. An app that
floods the queue delays itself: a batch takes one job of each app in turn.
"""

from collections import deque
from collections.abc import Callable, Sequence
from threading import Condition
from typing import Any

from storage.errors import LogClosed, QueueFull, StorageError
from storage.projection import Outcome
from storage.settings import LogSettings

Result = Outcome | Exception
Done = Callable[[list[Result]], None]


class Job:
    """Commands that one caller submitted together. `results` has one entry per command."""

    __slots__ = ("app", "commands", "cost", "done", "results")

    def __init__(self, commands: Sequence[Any], app: str, cost: int, done: Done) -> None:
        self.commands = commands
        self.app = app
        self.cost = cost
        self.done = done
        self.results: list[Result] = []

    def fail(self, error: Exception) -> None:
        self.results = [error] * len(self.commands)


class CommitQueue:
    """`put` from any thread, `take` from the writer's."""

    def __init__(self, settings: LogSettings) -> None:
        self._settings = settings
        self._apps: dict[str, deque[Job]] = {}
        self._waiting = Condition()
        self._commands = 0
        self._bytes = 0
        self._woken = False
        self._refusal: StorageError | None = None

    def __len__(self) -> int:
        return self._commands

    def put(self, job: Job) -> None:
        """Raises QueueFull at the bound, or what `refuse` was given."""
        with self._waiting:
            if self._refusal is not None:
                raise self._refusal
            commands = self._commands + len(job.commands)
            size = self._bytes + job.cost
            if self._commands and (
                commands > self._settings.queue_commands_max
                or size > self._settings.queue_bytes_max
            ):
                raise QueueFull(f"{self._commands} commands wait for the disk already")
            self._commands, self._bytes = commands, size
            self._apps.setdefault(job.app, deque()).append(job)
            self._waiting.notify()

    def take(self, wait: bool) -> list[Job]:
        """The next batch. Empty when there is none and the caller does not wait, was woken, or the
        queue takes no more."""
        with self._waiting:
            if wait:
                self._waiting.wait_for(lambda: self._commands or self._refusal or self._woken)
            self._woken = False
            return self._batch()

    def wake(self) -> None:
        """Let a waiting `take` return without a batch."""
        with self._waiting:
            self._woken = True
            self._waiting.notify()

    def _batch(self) -> list[Job]:
        batch: list[Job] = []
        commands = size = 0
        while self._apps:
            app, jobs = next(iter(self._apps.items()))
            job = jobs[0]
            commands, size = commands + len(job.commands), size + job.cost
            full = commands > self._settings.batch_commands_max or (
                size > self._settings.batch_bytes_max
            )
            if batch and full:
                break
            batch.append(jobs.popleft())
            self._commands -= len(job.commands)
            self._bytes -= job.cost
            del self._apps[app]
            if jobs:
                self._apps[app] = jobs
        return batch

    def refuse(self, error: StorageError) -> None:
        """Take no more jobs; those that wait are still handed out."""
        with self._waiting:
            self._refusal = self._refusal or error
            self._waiting.notify()

    @property
    def closed(self) -> bool:
        return isinstance(self._refusal, LogClosed)
