"""One HTTP/2 connection to a gateway: each request a stream, many of them at a time.

h2 speaks the protocol; here is who reads, who writes and who waits. What many requests have to say
at one moment is one write, and one TLS record.

Invariants: one task reads a connection and one writes it. A connection that lost its place in the
protocol, said nothing for as long as a request may last while somebody waited, or was told to go
away, fails everyone who waits and takes nobody any more. As many streams are open as the gateway
allows, and none until it has said.

Nothing is Huffman-coded: that would cost more time than all the rest of a request's headers, and
save some sixty bytes (RFC 7541 5.2 leaves it to us).
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import hpack
import httpcore
import trio
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from api.push.network import KEPT_IDLE_S
from api.push.reply import REPLY_BYTES_MAX, Reply
from api.push.trouble import BROKEN, ENDED, SILENT

logger = logging.getLogger("tidelog.push")
_READ_BYTES = 1 << 16
_CONFIG = h2.config.H2Configuration(
    validate_outbound_headers=False,  # they are made here, of what the transports have checked
    normalize_outbound_headers=False,
)

_SETTINGS = {SettingCodes.ENABLE_PUSH: 0, SettingCodes.MAX_HEADER_LIST_SIZE: 1 << 16}


class Lost(Exception):
    """The request may have been seen; the message is fit for a result."""


class Unseen(Exception):
    """The gateway has not seen the request, and will not."""


class _Encoder(hpack.Encoder):
    def encode(self, headers: Any, huffman: bool = False) -> bytes:
        return super().encode(headers, huffman)


class _Exchange:
    """A request, and what came of it. `over`: there is nothing more to wait for."""

    __slots__ = ("body", "error", "headers", "is_answered", "over", "status")

    def __init__(self) -> None:
        self.over = trio.Event()
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.error: Exception | None = None
        self.is_answered = False

    def fail(self, error: Exception) -> None:
        if not self.over.is_set():
            self.error = error
            self.over.set()


class Connection:
    """One connection, for as long as `run` runs."""

    def __init__(self, stream: httpcore.AsyncNetworkStream, silence_s: float) -> None:
        self._stream = stream
        self._silence_s = silence_s
        self._h2 = h2.connection.H2Connection(_CONFIG)
        self._h2.encoder = _Encoder()
        self._h2.local_settings = h2.settings.Settings(client=True, initial_values=_SETTINGS)
        self._h2.initiate_connection()
        self._exchanges: dict[int, _Exchange] = {}
        self._streams_max: int | None = None  # until the gateway has said
        self._room = trio.lowlevel.ParkingLot()  # who waits for a stream, or a window
        self._news = trio.Event()
        self._news.set()
        self._patience = trio.CancelScope()
        self._lost: Exception | None = None

    @property
    def is_open(self) -> bool:
        """Whether it takes another request."""
        return self._lost is None

    async def run(self) -> None:
        """Until it is lost. Never raises for what the gateway does."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, nursery.cancel_scope)
                await self._read()
                nursery.cancel_scope.cancel()
        except Exception:  # a bug here ends a connection, and not the server
            logger.exception("a connection to a gateway failed")
        finally:
            self._lose(Lost(BROKEN))
            with trio.CancelScope(shield=True):  # waits for nobody
                await self._stream.aclose()

    async def post(self, head: Sequence[hpack.HeaderTuple], body: bytes) -> Reply:
        """Raises Lost, Unseen."""
        stream, exchange = await self._begun()
        is_sent = False
        try:
            self._h2.send_headers(stream, head)
            is_sent = await self._send(stream, body, exchange)
            await exchange.over.wait()
        except h2.exceptions.H2Error:  # what h2 refuses on a connection now, it refuses from now on
            self._lose(Lost(ENDED))
            exchange.fail(Lost(ENDED))
        finally:
            self._end(stream, exchange, is_sent)
        if exchange.error is not None:
            raise exchange.error
        return Reply(exchange.status, exchange.headers, bytes(exchange.body[:REPLY_BYTES_MAX]))

    async def _begun(self) -> tuple[int, _Exchange]:
        while self._lost is None and len(self._exchanges) >= (self._streams_max or 0):
            await self._room.park()
        if self._lost is not None:
            raise Unseen
        try:
            stream = self._h2.get_next_available_stream_id()
        except h2.exceptions.NoAvailableStreamIDError:
            self._lose(Lost(BROKEN))
            raise Unseen from None
        if not self._exchanges:
            self._patience.deadline = trio.current_time() + self._silence_s
        exchange = self._exchanges[stream] = _Exchange()
        return stream, exchange

    async def _send(self, stream: int, body: bytes, exchange: _Exchange) -> bool:
        """As the windows allow it. Returns whether it went out whole: some answer before that."""
        left = memoryview(body)
        while not exchange.over.is_set():
            window = self._h2.local_flow_control_window(stream)
            part = left[: max(0, min(window, self._h2.max_outbound_frame_size))]
            left = left[len(part) :]
            if part or not left:
                self._h2.send_data(stream, bytes(part), end_stream=not left)
            self._news.set()
            if not left:
                return True
            if not part:
                await self._room.park()
        return False

    def _end(self, stream: int, exchange: _Exchange, is_sent: bool) -> None:
        del self._exchanges[stream]
        if self._lost is None:
            if not (is_sent and exchange.is_answered):
                with suppress(h2.exceptions.ProtocolError):  # it is closed already
                    self._h2.reset_stream(stream, ErrorCodes.CANCEL)
                self._news.set()
            if not self._exchanges:
                self._patience.deadline = trio.current_time() + KEPT_IDLE_S
        self._room.unpark_all()

    async def _read(self) -> None:
        while self._lost is None:
            is_awaited = self._exchanges or self._streams_max is None
            bound_s = self._silence_s if is_awaited else KEPT_IDLE_S
            data = None
            with trio.CancelScope(deadline=trio.current_time() + bound_s) as self._patience:
                try:
                    data = await self._stream.read(_READ_BYTES)
                except httpcore.ReadError:
                    self._lose(Lost(BROKEN))
                    return
            if data is None:
                self._lose(Lost(SILENT))
            elif not data:
                self._lose(Lost(ENDED))
            else:
                self._received(data)

    def _received(self, data: bytes) -> None:
        try:
            for event in self._h2.receive_data(data):
                happened = _HAPPENED.get(type(event))
                if happened is not None:
                    happened(self, event)
        except (h2.exceptions.H2Error, ValueError):  # a status that is no number
            self._lose(Lost(ENDED))
        self._news.set()
        self._room.unpark_all()  # whatever it was: who waits looks again

    async def _write(self, scope: trio.CancelScope) -> None:
        """All that was said since the last time, at once."""
        while self._lost is None:
            await self._news.wait()
            self._news = trio.Event()
            try:
                await self._stream.write(self._h2.data_to_send())
            except httpcore.WriteTimeout:
                self._lose(Lost(SILENT))
            except httpcore.WriteError:
                self._lose(Lost(BROKEN))
        scope.cancel()

    def _lose(self, error: Exception) -> None:
        if self._lost is None:
            self._lost = error
            self._news.set()
            for exchange in self._exchanges.values():
                exchange.fail(error)
            self._room.unpark_all()

    def _responded(self, event: h2.events.ResponseReceived) -> None:
        exchange = self._exchanges.get(event.stream_id or 0)
        if exchange is not None:
            for name, value in event.headers or ():
                if name == b":status":
                    exchange.status = int(value)
                else:
                    exchange.headers[_text(name)] = _text(value)

    def _got_data(self, event: h2.events.DataReceived) -> None:
        stream = event.stream_id or 0
        self._h2.acknowledge_received_data(event.flow_controlled_length or 0, stream)
        exchange = self._exchanges.get(stream)
        if exchange is not None:
            exchange.body += event.data or b""
            if len(exchange.body) >= REPLY_BYTES_MAX:
                exchange.over.set()

    def _answered(self, event: h2.events.StreamEnded) -> None:
        exchange = self._exchanges.get(event.stream_id or 0)
        if exchange is not None:
            exchange.is_answered = True
            exchange.over.set()

    def _was_reset(self, event: h2.events.StreamReset) -> None:
        exchange = self._exchanges.get(event.stream_id or 0)
        if exchange is not None:
            exchange.fail(Lost(ENDED))

    def _says(self, event: h2.events.Event) -> None:
        self._streams_max = self._h2.remote_settings.max_concurrent_streams

    def _is_left(self, event: h2.events.ConnectionTerminated) -> None:
        """h2 reads nothing more of a connection then, so what was seen is lost."""
        for stream, exchange in self._exchanges.items():
            if stream > (event.last_stream_id or 0):
                exchange.fail(Unseen())
        self._lose(Lost(ENDED))


_HAPPENED: dict[type, Callable[[Connection, Any], None]] = {
    h2.events.ResponseReceived: Connection._responded,
    h2.events.DataReceived: Connection._got_data,
    h2.events.StreamEnded: Connection._answered,
    h2.events.StreamReset: Connection._was_reset,
    h2.events.RemoteSettingsChanged: Connection._says,
    h2.events.ConnectionTerminated: Connection._is_left,
}


def _text(raw: bytes) -> str:
    return raw.decode("latin-1")
