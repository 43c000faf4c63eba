"""Everything we know of Hypercorn: one stream in, its HTTP/1.1 and HTTP/2 requests to an ASGI app.

Hypercorn's trio `TCPServer` takes any stream, and that is what lets one port serve WebSockets and
HTTP. It is not a documented API. All use of it, and every repair of it, is in this file, which
was written against hypercorn 0.18 and is why pyproject.toml pins that version range. Each repair
names its reason:

- extended CONNECT is not announced: a browser would open its WebSockets over HTTP/2, where
  Hypercorn, not our realtime handler, would get them. Nor is a switch to cleartext HTTP/2
  offered.
- writes are shielded from cancellation: a client that does not read would pin its task for ever,
  so the stream we hand over gives each 64 KiB a deadline of its own.
- `read_timeout` is left alone: it runs while the application works and cuts slow replies off.
- one bad HTTP/2 frame sequence raises KeyError, and a non-ASCII path a UnicodeDecodeError,
  through the whole connection: such requests are reset before Hypercorn sees them.
- a body that does not parse is refused in three steps, and an application that answers between
  them breaks the reply off: here it is one.
- the idle timer is a task that starts and ends with each reply: here it is one (api.idle_timer). It
  closes without looking: here it looks whether a request has just arrived. And it kept the socket
  of a client that went away until it fired: here it ends with the reading.
- each part of a reply is a write, also the empty one at its end: here the head of a reply that says
  its length goes out with its body, and nothing is not written.
- the reader that waits for a reply to end may begin to wait just after that, and for ever, where
  the connection is not used again: closing the connection also ends the reading.

Invariant: no more than one read of bytes is held for replay, and they come first. Refuses to log
tracebacks for what a client did; what is left as an exception is a bug and reaches the caller.
"""

import contextlib
import logging
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import h11
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol import ProtocolWrapper
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework, ConnectionState, H11SendableEvent, LifespanState

from api import cross_origin, refusal_forms, refusals
from api.connection import STATE_KEY, Connection, connection_of
from api.idle_timer import IdleTimer
from api.request_guard import WRITE_CHUNK_BYTES, App, RequestGuard
from api.request_head import head_bytes_max
from api.request_id import identified
from api.settings import ServerSettings
from api.tls_stream import Stream
from broker.errors import BrokerError

H2_RESETS_MAX = 1_000  # requests that one connection may open and take back (CVE-2023-44487)

logger = logging.getLogger("tidelog.http")


class HypercornBridge:
    """Runs one ASGI application: its lifespan, and any number of connections."""

    def __init__(self, app: App, settings: ServerSettings) -> None:
        self._settings = settings
        self._config = _config(settings)
        layers = identified(cross_origin.readable(RequestGuard(app, settings)))
        self._app = ASGIWrapper(cast("ASGIFramework", layers))
        self._state: LifespanState = {}

    @contextlib.asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """The application is started within, and shut down at the end, however that comes."""
        lifespan = Lifespan(self._app, self._config, self._state)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lifespan.handle_lifespan)
            await lifespan.wait_for_startup()
            try:
                yield
            finally:
                await lifespan.wait_for_shutdown()
                nursery.cancel_scope.cancel()

    async def serve(self, stream: Stream, connection: Connection, replay: bytes = b"") -> None:
        """Serve until the connection ends; `replay` was read already and comes first."""
        state = ConnectionState(LifespanState({**self._state, STATE_KEY: connection}))
        replaying = ReplayStream(stream, connection, replay, self._settings)
        await _Server(self._app, self._config, connection, state, replaying).run()


class ReplayStream:
    """A stream that first gives what was already read, and whose writes cannot last for ever."""

    def __init__(
        self, stream: Stream, connection: Connection, replay: bytes, settings: ServerSettings
    ) -> None:
        self.pending = replay
        self._stream = stream
        self._connection = connection
        self._write_timeout_s = settings.write_timeout_ms / 1000

    def __getattr__(self, name: str) -> Any:
        """Hypercorn asks for the socket, or for TLS, by trying attributes."""
        return getattr(self._stream, name)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if not self.pending:
            return bytes(await self._stream.receive_some(max_bytes))
        await trio.lowlevel.checkpoint()  # first: once taken, bytes must reach the parser
        taken, self.pending = self.pending[:max_bytes], self.pending[max_bytes or sys.maxsize :]
        return taken

    async def send_all(self, data: bytes) -> None:
        view = memoryview(data)
        for begin in range(0, len(view), WRITE_CHUNK_BYTES):
            with self._deadline():
                await self._stream.send_all(view[begin : begin + WRITE_CHUNK_BYTES])

    async def aclose(self) -> None:
        with trio.move_on_after(self._write_timeout_s):  # TLS says goodbye, and may have to wait
            await self._stream.aclose()

    @contextlib.contextmanager
    def _deadline(self) -> Iterator[None]:
        with trio.move_on_after(self._write_timeout_s) as timeout:
            yield
        if timeout.cancelled_caught:
            self._connection.abort()
            raise trio.BrokenResourceError("the client does not read")


class _Terminated:
    """Hypercorn's event interface over the connection's own `draining`."""

    def __init__(self, draining: trio.Event) -> None:
        self._draining = draining

    async def wait(self) -> None:
        await self._draining.wait()

    async def set(self) -> None:
        self._draining.set()

    async def clear(self) -> None:
        raise NotImplementedError("a connection that drains goes on draining")

    def is_set(self) -> bool:
        return self._draining.is_set()


class _Server(TCPServer):
    def __init__(
        self,
        app: ASGIWrapper,
        config: Config,
        connection: Connection,
        state: ConnectionState,
        stream: ReplayStream,
    ) -> None:
        context = WorkerContext(max_requests=None)
        context.terminated = _Terminated(connection.draining)
        super().__init__(app, config, context, state, cast("Any", stream))
        self._idle = IdleTimer(config.keep_alive_timeout, connection.draining)
        self.idle_task = cast("Any", self._idle)
        self._replay = stream
        self._reading = trio.CancelScope()

    @property
    def protocol(self) -> ProtocolWrapper:
        return self._wrapper

    @protocol.setter
    def protocol(self, wrapper: ProtocolWrapper) -> None:
        """Hypercorn assigns this once, before it sends anything: time to put ours in place."""
        ours = _H2 if isinstance(wrapper.protocol, H2Protocol) else _H11
        wrapper.protocol = ours(
            wrapper.app,
            wrapper.config,
            wrapper.context,
            wrapper.task_group,
            wrapper.state,
            wrapper.ssl,
            wrapper.client,
            wrapper.server,
            wrapper.send,
        )
        self._wrapper = wrapper

    async def protocol_send(self, event: Event) -> None:
        await super().protocol_send(event)
        if isinstance(event, Closed):
            self._reading.cancel()

    async def _read_data(self) -> None:
        with self._reading:
            await super()._read_data()
        self._idle.end()

    async def _idle_timeout(self) -> None:
        protocol = cast("_H2 | _H11", self.protocol.protocol)
        if protocol.idle and not self._replay.pending:
            await self._initiate_server_close()


class _H11(H11Protocol):
    _held = b""
    """The head of a reply whose body is about to come."""

    @property
    def idle(self) -> bool:
        """h11 leaves IDLE the moment it has parsed a head, before anything is awaited."""
        return self.connection.their_state is h11.IDLE

    async def _send_h11_event(self, event: H11SendableEvent) -> None:
        unsent = self._held + self._encoded(event)
        if isinstance(event, h11.Response) and _has_length(event):
            self._held = unsent
            return
        self._held = b""
        if unsent:
            await self.send(RawData(data=unsent))

    def _encoded(self, event: H11SendableEvent) -> bytes:
        try:
            return self.connection.send(event) or b""
        except h11.LocalProtocolError:  # as Hypercorn: what follows an error is not said
            if self.connection.their_state != h11.ERROR:
                raise
            return b""

    async def _check_protocol(self, event: h11.Request) -> None:
        """No switch to cleartext HTTP/2: `Upgrade` may be ignored, and version 2.0 gets a 505."""

    async def _send_error_response(self, status_code: int) -> None:
        error = _parse_error(status_code, self.config)
        scope = getattr(self.stream, "scope", None)  # of the request whose body does not parse
        asked = refusal_forms.asked_in(scope) if scope else refusal_forms.Asked()
        body = refusal_forms.body(error, asked, cast("_Config", self.config).settings)
        headers = [*refusals.reply_headers(error, body), *cross_origin.FOR_ANYBODY]
        headers.append((b"connection", b"close"))
        headers += self.config.response_headers("h11")
        events = (
            h11.Response(status_code=status_code, headers=headers),
            h11.Data(data=body),
            h11.EndOfMessage(),
        )
        whole = b"".join(self.connection.send(event) or b"" for event in events)
        await self.send(RawData(data=whole))


def _has_length(response: h11.Response) -> bool:
    return any(name == b"content-length" for name, _ in response.headers)


def _parse_error(status_code: int, config: Config) -> BrokerError:
    if status_code == 431:
        return refusals.headers_too_large(config.h11_max_incomplete_size)
    return refusals.malformed("it does not parse", status_code)


class _H2(H2Protocol):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        codes = h2.settings.SettingCodes
        self.connection.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                codes.MAX_CONCURRENT_STREAMS: self.config.h2_max_concurrent_streams,
                codes.MAX_HEADER_LIST_SIZE: self.config.h2_max_header_list_size,
            },
        )
        self._receiving: set[int] = set()  # streams whose request is not whole yet
        self._resets = 0

    async def handle(self, event: Event) -> None:
        """Replies to a client that went away would wait for a sender that has ended."""
        await super().handle(event)
        if isinstance(event, Closed):
            for buffer in self.stream_buffers.values():
                await buffer.close()

    async def _handle_events(self, events: list[h2.events.Event]) -> None:
        for event in events:
            if self._is_servable(event):
                await super()._handle_events([event])
        await self._flush()
        if self._resets > H2_RESETS_MAX:
            self.connection.close_connection(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)
            await self._flush()
            connection_of({"state": self.connection_state}).abort()

    def _is_servable(self, event: h2.events.Event) -> bool:
        if isinstance(event, h2.events.RequestReceived):
            return self._accept(event)
        if isinstance(event, h2.events.DataReceived):
            return self._accept_data(event)
        if isinstance(event, h2.events.StreamEnded | h2.events.StreamReset):
            self._receiving.discard(event.stream_id)
            self._resets += isinstance(event, h2.events.StreamReset)
        return True

    def _accept(self, request: h2.events.RequestReceived) -> bool:
        headers = dict(request.headers)
        method, path = headers.get(b":method", b""), headers.get(b":path", b"")
        if method.isascii() and method != b"CONNECT" and path.isascii() and path:
            self._receiving.add(request.stream_id)
            return True
        self.connection.reset_stream(request.stream_id, h2.errors.ErrorCodes.PROTOCOL_ERROR)
        self._resets += 1
        return False

    def _accept_data(self, data: h2.events.DataReceived) -> bool:
        """Body of a request that was answered already: give its window back and drop it."""
        if data.stream_id in self.streams:
            return True
        with contextlib.suppress(h2.exceptions.ProtocolError):
            self.connection.acknowledge_received_data(data.flow_controlled_length, data.stream_id)
        return False

    async def _send_data(self, stream_id: int) -> None:
        """RFC 9113 8.1: a reply that is whole before its request ends with RST_STREAM(NO_ERROR)."""
        await super()._send_data(stream_id)
        if stream_id in self._receiving and stream_id not in self.stream_buffers:
            self._receiving.discard(stream_id)
            with contextlib.suppress(h2.exceptions.ProtocolError):
                self.connection.reset_stream(stream_id, h2.errors.ErrorCodes.NO_ERROR)
            await self._flush()


class _Config(Config):
    """Hands our own settings to protocols, which Hypercorn makes."""

    settings: ServerSettings


def _config(settings: ServerSettings) -> Config:
    config = _Config()
    config.settings = settings
    config.accesslog = None
    config.errorlog = logger
    config.include_server_header = False
    config.h11_max_incomplete_size = head_bytes_max(settings)
    config.h2_max_header_list_size = head_bytes_max(settings)
    config.h2_max_concurrent_streams = settings.h2_streams_max
    config.keep_alive_timeout = settings.idle_timeout_ms / 1000
    # Beyond it, Hypercorn ends HTTP/2 connections before it sends the replies that are due.
    config.keep_alive_max_requests = sys.maxsize
    config.read_timeout = None
    return config
