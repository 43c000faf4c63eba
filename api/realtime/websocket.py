"""One accepted WebSocket over the listener's stream: messages in, an outbox out, and its end.

Owns the reading of the stream; the outbox owns the writing. Every end goes one way: the outbox is
sealed behind the close frame, what is queued is written, the peer's close frame awaited, the
stream closed, all within `linger_ms`.

Invariants: one task reads at a time. Messages come in the order they were sent; what arrived
before a violation is still given. A peer that does not read its replies is not read from either:
pings and requests cannot fill the memory.

Fault model: `receive` returns [] for every end that a peer can cause (close, EOF, reset,
violation, silence), never an exception. Refuses to know what is in a message.
"""

import contextlib
import socket
from collections.abc import Awaitable

import trio

from api.listener import Upgrade
from api.realtime import handshake
from api.realtime.framing import Frame, FrameReader, binary_frame, text_frame
from api.realtime.outbox import Budget, Outbox
from api.request_head import HEAD_END
from api.settings import ServerSettings
from api.sockets import READ_BYTES, receive
from api.tls_stream import Stream, TlsStream

__all__ = ["Budget", "Frame", "Outbox", "WebSocket", "binary_frame", "text_frame"]

REPLIES_BYTES_MAX = 256 * 1024  # queued replies beyond which nothing more is read
UNSENT_BYTES_MAX = 128 * 1024  # in the system's buffer of one socket
GONE = (trio.BrokenResourceError, trio.ClosedResourceError)


class WebSocket:
    __slots__ = (
        "_connection",
        "_early",
        "_ended",
        "_is_closing",
        "_is_reading",
        "_linger_s",
        "_reader",
        "_stream",
        "headers",
        "outbox",
        "query",
    )

    def __init__(
        self, upgrade: Upgrade, settings: ServerSettings, budget: Budget, nursery: trio.Nursery
    ) -> None:
        self.query = handshake.query(upgrade.request)
        self.headers = handshake.headers(upgrade.request)
        self._is_closing = False
        self._stream: Stream = upgrade.stream
        self._connection = upgrade.connection
        self._linger_s = settings.linger_ms / 1000
        self._reader = FrameReader(settings.frame_bytes_max)
        self._early = _behind_head(upgrade.received)
        self._is_reading = False
        self._ended: trio.Event | None = None  # exists while `close` waits for who reads
        self.outbox = Outbox(upgrade.stream, settings, budget, nursery, upgrade.connection.abort)

    @classmethod
    async def accept(
        cls, upgrade: Upgrade, settings: ServerSettings, budget: Budget, nursery: trio.Nursery
    ) -> "WebSocket":
        """Answer the handshake. Raises BadRequest, for the listener to answer, where it is bad, and
        trio.BrokenResourceError where the peer is gone."""
        await trio.lowlevel.checkpoint()
        accepted = handshake.answer(upgrade.request)
        _tune(upgrade.connection.transport, settings)
        websocket = cls(upgrade, settings, budget, nursery)
        websocket.outbox.send(accepted)
        upgrade.forget()
        if websocket.outbox.is_broken:
            raise trio.BrokenResourceError("the peer is gone")
        return websocket

    async def receive(self) -> list[Frame]:
        """The messages of one read, in order; [] when there will be no more."""
        if self._is_closing:
            return []
        self._is_reading = True
        try:
            while True:
                self._answer()
                if self._reader.is_finished or not (data := await self._read()):
                    return []
                found = self._reader.feed(data)
                if found and not self._is_closing:
                    return found
        except GONE:
            return []
        finally:
            self._is_reading = False
            if self._ended is not None:
                self._ended.set()

    def forget_request(self) -> None:
        """Let go of query and headers: a connection lasts for hours."""
        self.query, self.headers = {}, {}

    async def close(self, code: int = 1000) -> None:
        """Write what is queued, shake hands, and close the stream. The peer has `linger_ms`. What
        it still sends is not given to anybody."""
        self._is_closing = True
        self._connection.answered()
        self._reader.close(code)
        self._answer()
        with trio.move_on_after(self._linger_s):
            await self.outbox.wait_below(1)
            await self._wait_for_peer()
        self.outbox.close()
        await trio.aclose_forcefully(self._stream)

    def abort(self) -> None:
        """End the connection at once, and what runs in its scope."""
        self.outbox.abort()

    def _answer(self) -> None:
        """Pongs, behind the replies to what came before; and the close frame: nothing may follow
        it."""
        if due := self._reader.to_send():
            self.outbox.send(due)
        if not self._reader.is_open:
            self.outbox.seal()

    def _read(self) -> Awaitable[bytes]:
        """b"" at the end. No coroutine of its own: thousands wait here for hours."""
        if self._early:
            return self._read_early()
        if self.outbox.is_broken or self.outbox.control_bytes > REPLIES_BYTES_MAX:
            return self._read_when_room()
        return self._receive_some()

    async def _read_early(self) -> bytes:
        await trio.lowlevel.checkpoint()
        early, self._early = self._early, b""
        return early

    async def _read_when_room(self) -> bytes:
        await self.outbox.wait_below(REPLIES_BYTES_MAX)
        return b"" if self.outbox.is_broken else await self._receive_some()

    def _receive_some(self) -> Awaitable[bytes]:
        stream = self._stream
        if isinstance(stream, TlsStream):
            return stream.receive_some(READ_BYTES)
        return receive(stream.socket)

    async def _wait_for_peer(self) -> None:
        """Until its close frame came, or its EOF."""
        if self._is_reading:  # another task, which will see it
            self._ended = trio.Event()
            await self._ended.wait()
        with contextlib.suppress(*GONE):
            while not self._reader.is_finished and (data := await self._read()):
                self._reader.feed(data)
                self._answer()
            if not self._reader.peer_closed:
                await self._drain()

    async def _drain(self) -> None:
        """It broke the rules, and may still be sending: closing a socket with bytes unread resets
        the connection, and may lose the close frame that says why."""
        with contextlib.suppress(OSError):
            self._connection.transport.socket.shutdown(socket.SHUT_WR)
        while await self._read():
            pass


def _behind_head(received: bytes) -> bytes:
    end = HEAD_END.search(received)
    assert end is not None
    return received[end.end() :]


def _tune(transport: trio.SocketStream, settings: ServerSettings) -> None:
    """The system gives up on a silent peer no sooner than we do, and holds little for a slow one:
    what waits in an outbox can still be dropped."""
    options = {
        "TCP_NODELAY": 1,
        "TCP_USER_TIMEOUT": settings.stalled_timeout_ms,
        "TCP_NOTSENT_LOWAT": UNSENT_BYTES_MAX,
    }
    with contextlib.suppress(OSError):  # the peer is gone: the first write says so
        for name, value in options.items():
            if hasattr(socket, name):  # not every system has all of them
                transport.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
