"""A broker in a thread of its own, for callers that do not run on trio.

`call` hands a coroutine function to that thread and returns a future; cancelling the future cancels
what it does there. What was asked when the broker closes, or its thread ends for any reason, is
told Unavailable 80017: no future is left without an answer. A publish that was cancelled or told
this may be on disk or not, and is safe to repeat with its id.

The thread is no reason for a process to live: one that ends closes its brokers. Refuses to be used
from the broker's own thread, which would wait for itself, and from a process that was forked off,
which has no such thread.
"""

import atexit
import contextlib
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, TypedDict, TypeVar, Unpack

import trio

from broker.broker import Broker
from broker.clock import Clock
from broker.errors import Unavailable
from broker.opening import open as open_broker
from broker.push.transport import Transport
from broker.settings import BrokerSettings
from broker.storage_errors import CLOSED

T = TypeVar("T")
logger = logging.getLogger("tidelog.broker")


class Options(TypedDict, total=False):
    """What `broker.open` takes beside the path."""

    settings: BrokerSettings | None
    clock: Clock
    accept_loss: bool
    create_app: bool
    hold_connections: bool
    transports: Mapping[str, Transport] | None


class TrioThread:
    """`opened` and `ended` are settled once each: with the error if it could not open, or if the
    broker's own work failed."""

    def __init__(self, path: str | Path, **options: Unpack[Options]) -> None:
        self.opened: Future[None] = Future()
        self.ended: Future[None] = Future()
        self._open = partial(open_broker, path, **options)
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._is_closed = False
        self._unsettled: set[Future[Any]] = set()
        self._token: trio.lowlevel.TrioToken | None = None
        self._broker: Broker | None = None
        self._nursery: trio.Nursery | None = None
        self._opening = trio.CancelScope()
        self._closing = trio.Event()
        self._thread = threading.Thread(target=self._run, name="tidelog broker", daemon=True)
        atexit.register(self.close)
        self._thread.start()

    def call(self, function: Callable[[Broker], Awaitable[T]]) -> Future[T]:
        """Await `function(broker)` in the broker's thread. Raises Unavailable 80017 once closed."""
        future: Future[T] = Future()
        self._start(function, future)
        return future

    def wait(self, function: Callable[[Broker], Awaitable[T]], timeout: float | None = None) -> T:
        """What came of a `call`. Whatever interrupts this, at any point, cancels it there. Raises
        TimeoutError."""
        future: Future[T] = Future()
        try:
            self._start(function, future)
            return future.result(timeout)
        finally:
            future.cancel()

    def _start(self, function: Callable[[Broker], Awaitable[T]], future: Future[T]) -> None:
        self._require_usable()
        future.add_done_callback(self._unsettled.discard)
        with self._lock:
            if self._is_closed:
                raise _closed()
            self._unsettled.add(future)
        self._soon(self._begin, function, future)

    def stop(self) -> None:
        """Have it closed; `ended` says when it is."""
        with self._lock:
            self._is_closed = True
        self._soon(self._end_run)

    def close(self) -> None:
        """Close the broker and wait until it is; again and again does no harm. Raises what the
        broker's own work failed with."""
        if os.getpid() != self._process:
            return
        self._require_usable()
        self.stop()
        self._thread.join()
        self.ended.result()

    def _require_usable(self) -> None:
        if threading.current_thread() is self._thread:
            raise RuntimeError("the broker's own thread would wait for itself")
        if os.getpid() != self._process:
            raise Unavailable("the broker was opened before this process was forked", CLOSED)

    def _soon(self, function: Callable[..., object], *arguments: Any) -> None:
        """Where the thread has ended, or has not begun, it sees for itself that it is closed."""
        if self._token is not None:
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(function, *arguments)

    def _end_run(self) -> None:
        self._closing.set()
        if self._broker is None:
            self._opening.cancel()

    def _begin(self, function: Callable[[Broker], Awaitable[T]], future: Future[T]) -> None:
        if self._nursery is not None and not self._closing.is_set():
            with contextlib.suppress(RuntimeError):  # it has just closed, for an error
                self._nursery.start_soon(self._serve, function, future)

    async def _serve(self, function: Callable[[Broker], Awaitable[T]], future: Future[T]) -> None:
        assert self._broker is not None
        with trio.CancelScope() as scope:
            future.add_done_callback(partial(self._cancel_with, scope))
            try:
                result = await function(self._broker)
            except Exception as error:
                _fail(future, error)
            else:
                if future.set_running_or_notify_cancel():
                    future.set_result(result)

    def _cancel_with(self, scope: trio.CancelScope, future: "Future[Any]") -> None:
        if future.cancelled():
            self._soon(scope.cancel)

    def _run(self) -> None:
        failure: BaseException | None = None
        try:
            trio.run(self._main)
        except BaseException as error:
            failure = error
        with self._lock:
            self._is_closed = True
        atexit.unregister(self.close)
        for future in tuple(self._unsettled):
            _fail(future, _closed())
        self._report(failure)

    def _report(self, failure: BaseException | None) -> None:
        if not self.opened.done():
            _fail(self.opened, failure or _closed())
            failure = None  # told once, to whoever opens it
        if failure is None:
            self.ended.set_result(None)
        else:
            logger.critical("the broker's own work has failed", exc_info=failure)
            self.ended.set_exception(failure)

    async def _main(self) -> None:
        with self._lock:
            self._token = trio.lowlevel.current_trio_token()
            if self._is_closed:
                return
        with self._opening:
            async with self._open() as self._broker, trio.open_nursery() as self._nursery:
                if self.opened.set_running_or_notify_cancel():
                    self.opened.set_result(None)
                    await self._closing.wait()
                self._nursery.cancel_scope.cancel()


def _fail(future: Future[Any], error: BaseException) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(error)


def _closed() -> Unavailable:
    return Unavailable("the broker is closed", CLOSED)
