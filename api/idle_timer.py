"""Closing a connection that has been idle for too long, with one task for as long as it lives.

Stands where Hypercorn has a task that each request cancels and each reply starts again: `restart`
and `stop` say when the connection is idle, and start nothing. `end` is for one that is gone.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import trio

Action = Callable[[], Awaitable[None]]


class Tasks(Protocol):
    def spawn(self, func: Callable[..., Any], *args: Any) -> None: ...


class IdleTimer:
    """Does what it was given when a connection was idle for `timeout_s`, or is while it drains."""

    def __init__(self, timeout_s: float, draining: trio.Event) -> None:
        self._timeout_s = timeout_s
        self._draining = draining
        self._idle_since: float | None = None
        self._running: trio.CancelScope | None = None
        self._is_gone = False

    async def restart(self, tasks: Tasks, action: Action) -> None:
        self._idle_since = trio.current_time()
        if self._running is None and not self._is_gone:
            self._running = trio.CancelScope()
            tasks.spawn(self._run, self._running, action)

    async def stop(self) -> None:
        self._idle_since = None

    def end(self) -> None:
        self._is_gone = True
        if self._running is not None:
            self._running.cancel()

    async def _run(self, scope: trio.CancelScope, action: Action) -> None:
        with scope:
            while not (self._draining.is_set() or self._is_over()):
                with trio.move_on_at(self._next_look()):
                    await self._draining.wait()
            self._running = None
            if self._idle_since is not None:
                await action()

    def _is_over(self) -> bool:
        return self._idle_since is not None and trio.current_time() >= self._next_look()

    def _next_look(self) -> float:
        """No sooner than a timeout from now while the connection is in use."""
        since = trio.current_time() if self._idle_since is None else self._idle_since
        return since + self._timeout_s
