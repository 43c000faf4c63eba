"""Commands that nobody waits for: attachments, leaves, expiries.

They are facts or deadlines, so none may be dropped because the queue is full: they wait here, in
order, and are handed over when there is room. Bounded by what causes them: connections and their
attachments.
"""

import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from broker.live.timers import Timers
from storage import Log, Outcome, QueueFull, StorageError

RETRY_MS = 100
logger = logging.getLogger("tidelog.background")

Then = Callable[[Outcome], None]


class _Posted(NamedTuple):
    app: str
    commands: tuple[Any, ...]
    then: Then | None


class Background:
    """`post` from anywhere on the broker's thread; the order of posts is the order in the log."""

    def __init__(self, log: Log, timers: Timers) -> None:
        self._log = log
        self._timers = timers
        self._pending: deque[_Posted] = deque()

    def __len__(self) -> int:
        return len(self._pending)

    def post(self, app: str, *commands: Any, then: Then | None = None) -> None:
        """`then` gets each outcome once it is on disk; a refusal is logged as our mistake."""
        posted = _Posted(app, commands, then)
        if self._pending or not self._handed_over(posted):
            if not self._pending:
                self._timers.schedule(RETRY_MS, self._retry)
            self._pending.append(posted)

    def _retry(self) -> None:
        while self._pending and self._handed_over(self._pending[0]):
            self._pending.popleft()
        if self._pending:
            self._timers.schedule(RETRY_MS, self._retry)

    def _handed_over(self, posted: _Posted) -> bool:
        """False when the queue has no room. What a log that takes no writes refuses is lost: the
        next start sees to it."""
        try:
            self._log.enqueue(posted.commands, partial(_done, posted), app=posted.app)
        except QueueFull:
            return False
        except StorageError as error:
            logger.warning("not recorded, the log takes no writes: %s", error)
        return True


def _done(posted: _Posted, results: list[Outcome | Exception]) -> None:
    for command, result in zip(posted.commands, results, strict=True):
        if isinstance(result, StorageError):
            logger.warning("%r was not recorded: %s", command, result)
        elif isinstance(result, Exception):
            logger.error("%r was refused", command, exc_info=result)
        elif posted.then:
            posted.then(result)
