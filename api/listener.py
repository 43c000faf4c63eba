"""One port for everything: accept, shake hands, read the first request head, hand the stream over.

Owns the listening sockets, the time before a connection's first request, and the shutdown. A
WebSocket upgrade goes to the realtime handler on the raw stream with the bytes already read;
everything else goes to Hypercorn, which gets them replayed. A stream that agreed on HTTP/2 is
handed over unread.

Invariants: every accepted connection is either in `Admission` or being turned away, in bounded
number; until it is served it has a deadline; no exception of one connection reaches another.
Shutdown, by the event or by cancelling `serve`, goes: stop accepting, cut off what has not sent a
whole request, let the rest finish within the grace, abort what is left, then shut the application
down. Realtime connections, which would all come back at once, are told one after another, within
`drain_window_ms`; until it is told, each is served as ever.

Fault model: clients that send nothing, too slowly, too much or garbage, and those that stop
reading; accept() failing for lack of descriptors (trio.serve_listeners logs and tries again); a
peer that vanishes (TCP_USER_TIMEOUT). Refuses to reply where TLS is not up: there is nobody to
read it.
"""

import contextlib
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import h11
import trio

from api import refusal_forms, refusals
from api.addresses import open_listeners
from api.admission import Admission
from api.connection import Connection
from api.file_descriptors import connections_affordable, raise_limit
from api.hypercorn_bridge import HypercornBridge
from api.request_guard import App
from api.request_head import RequestHead, is_websocket_upgrade
from api.settings import ServerSettings
from api.tls_stream import Stream, TlsStream
from broker.errors import BrokerError

READ_BYTES = 64 * 1024
TURNED_AWAY_MAX = 64  # connections at a time that are told why; more are just closed
HTTP2 = "h2"
DRAIN_PAUSE_S_MAX = 0.01  # between two clients that are told to come back

logger = logging.getLogger("tidelog.listener")


class Upgrade:
    """A WebSocket upgrade request: `received` holds its head and any bytes that came with it.

    Who serves the connection holds this for hours; `forget` lets go of what was read."""

    __slots__ = ("_request", "connection", "received", "stream")

    def __init__(
        self, stream: Stream, request: h11.Request, received: bytes, connection: Connection
    ) -> None:
        self.stream = stream
        self.received = received
        self.connection = connection
        self._request: h11.Request | None = request

    @property
    def request(self) -> h11.Request:
        assert self._request is not None, "it was forgotten"
        return self._request

    def forget(self) -> None:
        self._request = None
        self.received = b""


Realtime = Callable[[Upgrade], Awaitable[None]]


@dataclass(frozen=True)
class Listening:
    """Where the server can be reached, once it is up."""

    addresses: tuple[tuple[str, int], ...]
    admission: Admission

    @property
    def port(self) -> int:
        return self.addresses[0][1]


async def serve(
    app: App,
    settings: ServerSettings,
    ssl_context: ssl.SSLContext | None = None,
    *,
    realtime: Realtime | None = None,
    shutdown: trio.Event | None = None,
    sockets: Sequence[socket.socket] = (),
    task_status: trio.TaskStatus[Listening] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `shutdown` is set or we are cancelled; accepted requests finish either way.
    `sockets`: those to accept from, if they are bound already."""
    descriptors = raise_limit(settings.file_descriptors_min)
    admission = Admission(settings, _connections_max(settings, descriptors))
    for one in sockets:
        one.listen(settings.backlog)
    listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(one)) for one in sockets]
    listeners = listeners or await open_listeners(settings)
    _prepare(listeners, settings)
    server = _Server(app, settings, admission, ssl_context, realtime)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run, listeners)
        try:
            await server.started.wait()
            task_status.started(Listening(_addresses(listeners), admission))
            await (trio.Event() if shutdown is None else shutdown).wait()
        finally:
            server.stopping.set()


def _connections_max(settings: ServerSettings, descriptors: int) -> int:
    affordable = connections_affordable(descriptors, settings.connections_max)
    if affordable < settings.connections_max:
        logger.warning("file descriptors allow %d connections only", affordable)
    return affordable


def _prepare(listeners: list[trio.SocketListener], settings: ServerSettings) -> None:
    for listener in listeners:  # accepted sockets inherit both
        listener.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            limit_ms = settings.write_timeout_ms
            listener.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limit_ms)


def _addresses(listeners: list[trio.SocketListener]) -> tuple[tuple[str, int], ...]:
    return tuple(listener.socket.getsockname()[:2] for listener in listeners)


class _Paced(trio.abc.Listener[trio.SocketStream]):
    """Hands over who comes next when it is its turn; the system's queue holds the others."""

    def __init__(self, listener: trio.SocketListener, admission: Admission) -> None:
        self._listener = listener
        self._admission = admission

    async def accept(self) -> trio.SocketStream:
        stream = await self._listener.accept()
        try:
            await self._admission.wait_for_turn()
        except trio.Cancelled:
            await trio.aclose_forcefully(stream)
            raise
        return stream

    async def aclose(self) -> None:
        await self._listener.aclose()


class _Server:
    def __init__(
        self,
        app: App,
        settings: ServerSettings,
        admission: Admission,
        ssl_context: ssl.SSLContext | None,
        realtime: Realtime | None,
    ) -> None:
        self.started = trio.Event()
        self.stopping = trio.Event()
        self._http = HypercornBridge(app, settings)
        self._settings = settings
        self._admission = admission
        self._ssl_context = ssl_context
        self._realtime = realtime
        self._accepting = trio.CancelScope()
        self._turned_away = 0

    async def run(self, listeners: list[trio.SocketListener]) -> None:
        """Shielded: a cancel from outside arrives here as `stopping`, so requests can finish."""
        with trio.CancelScope(shield=True):
            async with self._http.lifespan(), trio.open_nursery() as nursery:
                nursery.start_soon(self._accept, listeners, nursery)
                self.started.set()
                await self.stopping.wait()
                self._accepting.cancel()
                await self._drain()
                nursery.cancel_scope.cancel()

    async def _accept(
        self, listeners: list[trio.SocketListener], connections: trio.Nursery
    ) -> None:
        paced = [_Paced(listener, self._admission) for listener in listeners]
        with self._accepting:
            await trio.serve_listeners(self._handle, paced, handler_nursery=connections)

    async def _drain(self) -> None:
        open_ones = list(self._admission.connections)
        realtime = [connection for connection in open_ones if connection.on_drain is not None]
        for connection in open_ones:
            if connection.on_drain is None:
                connection.drain()
        with trio.move_on_after(self._settings.shutdown_grace_ms / 1000):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send_off, realtime)
                await self._admission.wait_empty()
                nursery.cancel_scope.cancel()
        left = list(self._admission.connections)
        if left:
            requests = sum(connection.requests for connection in left)
            logger.warning("shutdown: cut off %d connections, %d requests", len(left), requests)
        for connection in left:
            connection.abort()

    async def _send_off(self, realtime: list[Connection]) -> None:
        """Few are told in no time; of many, the last have half the grace left to go."""
        settings = self._settings
        window_s = min(settings.drain_window_ms, settings.shutdown_grace_ms / 2) / 1000
        pause_s = min(DRAIN_PAUSE_S_MAX, window_s / max(1, len(realtime)))
        began = trio.current_time()
        for number, connection in enumerate(realtime):
            if number and pause_s:
                await trio.sleep_until(began + number * pause_s)
            if connection in self._admission.connections:
                connection.drain()

    async def _handle(self, stream: trio.SocketStream) -> None:
        try:
            host = stream.socket.getpeername()[0]
        except OSError:  # gone already
            return
        try:
            connection = self._admission.admit(stream, host)
        except BrokerError as refusal:
            await self._turn_away(stream, refusal)
            return
        try:
            with connection.scope:
                await self._converse(connection)
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the peer went away, or we aborted the connection
        except* Exception:
            logger.exception("a connection failed")
        finally:
            self._admission.release(connection)

    async def _turn_away(self, stream: trio.SocketStream, refusal: BrokerError) -> None:
        if self._ssl_context is not None or self._turned_away >= TURNED_AWAY_MAX:
            return
        self._turned_away += 1
        try:
            with contextlib.suppress(trio.BrokenResourceError):
                await self._refuse(stream, refusal)
        finally:
            self._turned_away -= 1

    async def _converse(self, connection: Connection) -> None:
        stream: Stream = connection.transport
        if self._ssl_context is not None:
            stream = await self._shake_hands(connection.transport, self._ssl_context)
            if stream.selected_alpn_protocol() == HTTP2:
                connection.serving()
                await self._http.serve(stream, connection)
                return
        head = RequestHead(self._settings)
        try:
            upgrade = await self._serve_http11(stream, connection, head)
            if upgrade is not None:
                await self._open_websocket(upgrade)
        except BrokerError as refusal:
            connection.answered()
            await self._refuse(stream, refusal, head.received)

    async def _shake_hands(
        self, transport: trio.SocketStream, context: ssl.SSLContext
    ) -> TlsStream:
        stream = TlsStream(transport, context)
        try:
            with trio.fail_after(self._settings.tls_handshake_timeout_ms / 1000):
                await stream.do_handshake()
        except trio.TooSlowError as error:
            raise trio.BrokenResourceError("no TLS handshake in time") from error
        return stream

    async def _serve_http11(
        self, stream: Stream, connection: Connection, head: RequestHead
    ) -> Upgrade | None:
        """Returns the request to upgrade, if that is what came."""
        request = await self._read_head(stream, head)
        if request is None:
            return None
        connection.serving()
        if is_websocket_upgrade(request):
            return Upgrade(stream, request, head.received, connection)
        await self._http.serve(stream, connection, head.received)
        return None

    async def _read_head(self, stream: Stream, head: RequestHead) -> h11.Request | None:
        """None where the client closed, or said nothing at all: browsers connect in advance."""
        with trio.move_on_after(self._settings.header_timeout_ms / 1000):
            while data := await stream.receive_some(READ_BYTES):
                if request := head.feed(bytes(data)):
                    return request
            return None
        if not head.received:
            return None
        raise refusals.head_too_slow(self._settings.header_timeout_ms)

    def _open_websocket(self, upgrade: Upgrade) -> Awaitable[None]:
        if self._realtime is None:
            raise refusals.no_realtime()
        self._admission.open_websocket(upgrade.connection)
        return self._realtime(upgrade)

    async def _refuse(self, stream: Stream, refusal: BrokerError, head: bytes = b"") -> None:
        """Closing a socket with unread bytes resets it and may lose the reply: read on a while."""
        body = refusal_forms.body(refusal, refusal_forms.asked_of(head), self._settings)
        with trio.move_on_after(self._settings.linger_ms / 1000):
            await stream.send_all(refusals.http11_reply(refusal, body))
            if isinstance(stream, trio.SocketStream):
                await stream.send_eof()
            while await stream.receive_some(READ_BYTES):
                pass
