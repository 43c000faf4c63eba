"""One accepted socket as the rest of the server sees it: who it is, what it does, how it ends.

Owns the facts that the limits, the shutdown and the application share about a connection. It has
two ends: `drain` lets requests that were accepted finish, and tells a realtime connection, which
would never finish, to say goodbye; `abort` waits for nothing. Both may be called at any time, from
any task, more than once.

Fault model: the peer may stop reading, and hypercorn writes inside shielded scopes, which no
cancel reaches. So `abort` also shuts the socket down: that makes every pending read and write
fail.

The application reaches its connection through the ASGI scope (`connection_of`), to say that a
request showed valid credentials.
"""

import contextlib
import math
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import trio

STATE_KEY = "tidelog.connection"


class Connection:
    __slots__ = (
        "_on_answered",
        "_on_authenticated",
        "_on_drain",
        "address",
        "draining",
        "is_serving",
        "requests",
        "scope",
        "transport",
    )

    def __init__(
        self,
        transport: trio.SocketStream,
        address: str,
        on_authenticated: Callable[["Connection"], None] = lambda _: None,
        on_answered: Callable[["Connection"], None] = lambda _: None,
    ) -> None:
        self.transport = transport
        self.address = address
        self.scope = trio.CancelScope()
        self.draining = trio.Event()
        self.requests = 0
        self.is_serving = False
        self._on_authenticated = on_authenticated
        self._on_answered = on_answered
        self._on_drain: Callable[[], None] | None = None

    @property
    def on_drain(self) -> Callable[[], None] | None:
        """What a realtime connection does to end early: called once, when it should."""
        return self._on_drain

    @on_drain.setter
    def on_drain(self, callback: Callable[[], None]) -> None:
        self._on_drain = callback
        if self.draining.is_set():
            callback()

    def opening(self, timeout_ms: int) -> None:
        """A WebSocket is being opened: it has this long to be authenticated."""
        self.scope.deadline = trio.current_time() + timeout_ms / 1000

    def authenticated(self) -> None:
        """A request on this connection showed valid credentials; saying so again does nothing."""
        self.scope.deadline = math.inf
        self._on_authenticated(self)
        self.answered()

    def answered(self) -> None:
        """Its WebSocket was opened, or refused: what is left to do is the client's."""
        self._on_answered(self)

    def serving(self) -> None:
        """Its first request was accepted, or HTTP/2 agreed on: from now on a drain waits for it."""
        self.is_serving = True

    @contextlib.contextmanager
    def request(self) -> Iterator[None]:
        self.requests += 1
        try:
            yield
        finally:
            self.requests -= 1

    def drain(self) -> None:
        if not self.is_serving:
            self.abort()
        elif not self.draining.is_set():
            self.draining.set()
            if self._on_drain is not None:
                self._on_drain()

    def abort(self) -> None:
        self.scope.cancel()
        with contextlib.suppress(OSError):  # the peer was faster
            self.transport.socket.shutdown(socket.SHUT_RDWR)


def connection_of(scope: Mapping[str, Any]) -> Connection:
    """The connection that an ASGI scope's request came by."""
    connection = scope["state"][STATE_KEY]
    assert isinstance(connection, Connection)
    return connection
