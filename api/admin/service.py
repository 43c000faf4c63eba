"""The admin socket's server: beside a running broker, for whoever may open the socket.

Invariants: connections, and the bytes of a request, are bounded; requests of a connection are
answered in order; an exception of one operation is one error reply, and logged.

Shutdown, by cancelling: no new connection, no new request, streams end; operations under way finish
within the grace and their replies are sent.

Fault model: garbage, lines without end, clients that vanish or stop reading. A client ends a stream
by closing its side; anything else it sends meanwhile ends the stream as well.
"""

import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import trio

from api import refusals
from api.admin import operations, protocol, socket_file
from broker import Broker, BrokerError, Overloaded

CONNECTIONS_MAX = 64
READ_BYTES = 64 * 1024
WRITE_TIMEOUT_S = 30

logger = logging.getLogger("tidelog.admin")


async def serve(
    broker: Broker,
    directory: Path,
    *,
    grace_s: float,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled, and then until what was asked is answered."""
    with socket_file.listening(directory) as listening:
        listener = trio.SocketListener(listening)
        service = _Service(broker, grace_s)
        async with trio.open_nursery() as connections:
            task_status.started()
            try:
                await trio.serve_listeners(service.handle, [listener], handler_nursery=connections)
            finally:
                service.stop()


class _Service:
    """What all connections share."""

    def __init__(self, broker: Broker, grace_s: float) -> None:
        self._broker = broker
        self._grace_s = grace_s
        self._idle: set[trio.CancelScope] = set()
        self._busy: set[trio.CancelScope] = set()

    def stop(self) -> None:
        """Idle connections and streams end with the nursery; shielded operations have the grace."""
        for scope in self._busy:
            scope.deadline = trio.current_time() + self._grace_s

    async def handle(self, stream: trio.SocketStream) -> None:
        ...
