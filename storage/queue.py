"""The commands that wait for the writer: bounded in number and bytes, fair between apps.

While one commit syncs, everything that arrives waits here and becomes the next batch. An app that
floods the queue delays itself: a batch takes one job of each app in turn.

Callers share one short list with the writer under the lock; how it is split by app is the writer's
own business, so that putting never waits for a batch being made.
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


def require_room(settings: LogSettings, waiting: int, size: int, commands: int, cost: int) -> None:
    """For so many commands more, of `cost` bytes. Whatever is alone has room. Raises QueueFull."""
    if waiting and (
        waiting + commands > settings.queue_commands_max or size + cost > settings.queue_bytes_max
    ):
        raise QueueFull(f"{waiting} commands wait for the disk already")


class CommitQueue:
    """`put` from any thread, `take` from the writer's."""

    def __init__(self, settings: LogSettings) -> None:
        self._settings = settings
        self._changed = Condition()
        self._held: list[Job] = []
        self._arrived: list[Job] = []
        self._commands = 0
        self._bytes = 0
        self._woken = False
        self._closed = False
        self._refusal: StorageError | None = None
        self._apps: dict[str, deque[Job]] = {}

    def __len__(self) -> int:
        return self._commands

    def put(self, job: Job, *, hold: bool = False) -> None:
        """Raises QueueFull at the bound, or what `refuse` was given. With `hold` the writer sees
        the job at the next `release`: callers that come together go into one commit together."""
        with self._changed:
            if self._refusal is not None:
                raise self._refusal
            require_room(self._settings, self._commands, self._bytes, len(job.commands), job.cost)
            self._commands += len(job.commands)
            self._bytes += job.cost
            if hold:
                self._held.append(job)
            else:
                self._arrived.append(job)
                self._changed.notify()

    def release(self) -> None:
        """Show the writer the jobs that were held back."""
        with self._changed:
            self._arrived += self._held
            self._held = []
            self._changed.notify()

    def take(self, wait: bool) -> list[Job]:
        """The next batch. Empty when there is none and the caller does not wait, was woken, or the
        queue was closed."""
        with self._changed:
            if wait and not self._apps:
                self._changed.wait_for(lambda: self._arrived or self._woken or self._closed)
            self._woken = False
            arrived, self._arrived = self._arrived, []
        for job in arrived:
            self._apps.setdefault(job.app, deque()).append(job)
        batch, commands, size = self._batch()
        with self._changed:
            self._commands -= commands
            self._bytes -= size
        return batch

    def _batch(self) -> tuple[list[Job], int, int]:
        batch: list[Job] = []
        commands = size = 0
        while self._apps:
            app, jobs = next(iter(self._apps.items()))
            more = commands + len(jobs[0].commands), size + jobs[0].cost
            if batch and (
                more[0] > self._settings.batch_commands_max
                or more[1] > self._settings.batch_bytes_max
            ):
                break
            batch.append(jobs.popleft())
            commands, size = more
            if len(self._apps) > 1 or not jobs:
                del self._apps[app]
                if jobs:
                    self._apps[app] = jobs
        return batch, commands, size

    def wake(self) -> None:
        """Let a waiting `take` return without a batch."""
        with self._changed:
            self._woken = True
            self._changed.notify()

    def refuse(self, error: StorageError) -> None:
        """Take no more jobs; those that wait are still handed out. LogClosed also ends waiting."""
        with self._changed:
            self._refusal = self._refusal or error
            self._closed = self._closed or isinstance(error, LogClosed)
            self._arrived += self._held
            self._held = []
            self._changed.notify()

    @property
    def closed(self) -> bool:
        return self._closed
