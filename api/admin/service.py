"""The admin socket's server: beside a running broker, for whoever may open the socket.

Invariants: connections, and the bytes of a request, are bounded; requests of a connection are
answered in order, a stream is the last thing on its connection; an exception of one operation is
one error reply, and logged.

Shutdown, by cancelling: no new connection, no new request, streams end; operations under way finish
within the grace, and their replies are sent.

Fault model: garbage, lines without end, clients that vanish or stop reading. A client ends a stream
by closing its side; so does anything else that it sends meanwhile.
"""

import logging
from contextlib import aclosing, suppress
from pathlib import Path

import trio

from api import refusals
from api.admin import audit, operations, protocol, socket_file
from api.admin.audit import SOCKET, Actor
from api.admin.protocol import Request
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
        service = _Service(broker)
        async with trio.open_nursery() as connections:
            listener = trio.SocketListener(listening)
            task_status.started()
            try:
                await trio.serve_listeners(service.handle, [listener], handler_nursery=connections)
            finally:
                service.finish_within(grace_s)


class _Service:
    """What all connections share."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self._connections = 0
        self._running: set[trio.CancelScope] = set()

    def finish_within(self, grace_s: float) -> None:
        for scope in self._running:
            scope.deadline = trio.current_time() + grace_s

    async def handle(self, stream: trio.SocketStream) -> None:
        self._connections += 1
        try:
            async with stream:
                await self._converse(_Conversation(self, stream))
        except* (trio.BrokenResourceError, trio.TooSlowError):
            pass  # the client went away, or reads nothing
        finally:
            self._connections -= 1

    async def _converse(self, conversation: "_Conversation") -> None:
        try:
            if self._connections > CONNECTIONS_MAX:
                raise Overloaded(f"more than {CONNECTIONS_MAX} admin connections")
            await conversation.run()
        except BrokerError as error:  # about the conversation itself: it ends
            await conversation.send(protocol.write_error(error))

    async def answer(self, request: Request, actor: Actor) -> bytes:
        """The reply to a request. Shielded: what was begun is finished, within the grace."""
        with trio.CancelScope(shield=True) as scope:
            self._running.add(scope)
            try:
                result = await audit.run(self.broker, actor, request.operation, request.arguments)
                return protocol.write_result(result)
            except Exception as error:
                return _error_line(request.operation, error)
            finally:
                self._running.discard(scope)
        raise trio.TooSlowError  # the grace is over


class _Conversation:
    """One connection: requests in, replies out."""

    def __init__(self, service: _Service, stream: trio.SocketStream) -> None:
        self._service = service
        self._stream = stream
        self._lines = protocol.Lines(protocol.REQUEST_BYTES_MAX)
        self._actor = Actor(socket_file.peer_uid(stream.socket), SOCKET)

    async def run(self) -> None:
        """Answer until the client closes its side or has had a stream."""
        while (line := await self._line()) is not None:
            await trio.lowlevel.checkpoint_if_cancelled()  # no new request in a shutdown
            try:
                request = protocol.read_request(line)
            except BrokerError as error:
                await self.send(protocol.write_error(error))
                continue
            if operations.is_stream(request.operation):
                await self._stream_items(request)
                return
            await self.send(await self._service.answer(request, self._actor))

    async def send(self, data: bytes) -> None:
        with trio.CancelScope(shield=True), trio.fail_after(WRITE_TIMEOUT_S):
            await self._stream.send_all(data)

    async def _line(self) -> bytes | None:
        while (line := self._lines.next()) is None:
            data = await self._stream.receive_some(READ_BYTES)
            if not data:
                return None
            self._lines.feed(bytes(data))
        return line

    async def _stream_items(self, request: Request) -> None:
        """No time limit on writing here: a client may look at what it has for as long as it likes,
        for what waits for it is bounded by its subscription."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._end_when_heard, nursery.cancel_scope)
            await self.send(await self._send_items(request))
            nursery.cancel_scope.cancel()

    async def _send_items(self, request: Request) -> bytes:
        """Send the items; returns the line to end with."""
        arguments = request.arguments
        items = operations.stream(self._service.broker, request.operation, arguments)
        try:
            async with aclosing(items):
                async for item in items:
                    await self._stream.send_all(protocol.write_item(item))
        except trio.BrokenResourceError:
            raise
        except Exception as error:
            return _error_line(request.operation, error)
        return protocol.write_end()

    async def _end_when_heard(self, scope: trio.CancelScope) -> None:
        with suppress(trio.BrokenResourceError):
            await self._stream.receive_some(1)
        scope.cancel()


def _error_line(operation: str, error: Exception) -> bytes:
    if isinstance(error, BrokerError):
        return protocol.write_error(error)
    logger.error("the operation %s failed", operation, exc_info=error)
    return protocol.write_error(refusals.internal_error())
