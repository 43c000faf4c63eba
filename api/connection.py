"""One accepted socket as the rest of the server sees it: who it is, what it does, how it ends.

Owns the facts that the limits, the shutdown and the application share about a connection. It has
two ends: `drain` lets requests that were accepted finish, `abort` does not. Both may be called at
any time, from any task, more than once.

Fault model: the peer may stop reading, and hypercorn writes inside shielded scopes, which no
cancel reaches. So `abort` also shuts the socket down: that makes every pending read and write
fail.

The application reaches its connection through the ASGI scope (`connection_of`), to say that a
request showed valid credentials.
"""

import contextlib
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import trio

STATE_KEY = "tidelog.connection"


class Connection:
    def __init__(
        self,
        transport: trio.SocketStream,
        address: str,
        on_authenticated: Callable[["Connection"], None] = lambda _: None,
    ) -> None:
        self.transport = transport
        self.address = address
        self.scope = trio.CancelScope()
        self.draining = trio.Event()
        self.requests = 0
        self.is_serving = False
        self._on_authenticated = on_authenticated

    def authenticated(self) -> None:
        """A request on this connection showed valid credentials; saying so again does nothing."""
        self._on_authenticated(self)

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
        if self.is_serving:
            self.draining.set()
        else:
            self.abort()

    def abort(self) -> None:
        self.scope.cancel()
        with contextlib.suppress(OSError):  # the peer was faster
            self.transport.socket.shutdown(socket.SHUT_RDWR)


def connection_of(scope: Mapping[str, Any]) -> Connection:
    """The connection that an ASGI scope's request came by."""
    connection = scope["state"][STATE_KEY]
    assert isinstance(connection, Connection)
    return connection
