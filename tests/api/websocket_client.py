"""A WebSocket client over any trio stream, and a server whose handler a test writes.

The client is `websockets`' own sans-I/O one, so our framing is judged by another implementation;
`raw` sends what no client library would.
"""

import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import trio
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.uri import parse_uri

from api.listener import Upgrade
from api.realtime.outbox import Budget
from api.realtime.websocket import WebSocket, binary_frame, text_frame
from api.settings import ServerSettings
from tests.api.served import Served, serving

Session = Callable[[WebSocket], Awaitable[None]]


class WebSocketClient:
    def __init__(self, stream: trio.abc.Stream, target: str = "/") -> None:
        self.stream = stream
        self.protocol = ClientProtocol(parse_uri(f"ws://localhost{target}"), max_size=None)
        self._events: list[Any] = []

    async def open(self) -> Response:
        self.protocol.send_request(self.protocol.connect())
        await self.flush()
        response = await self.event()
        assert isinstance(response, Response)
        return response

    async def send(self, data: bytes, *, text: bool = False) -> None:
        (self.protocol.send_text if text else self.protocol.send_binary)(data)
        await self.flush()

    async def raw(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def flush(self) -> None:
        for data in self.protocol.data_to_send():
            if data:
                await self.stream.send_all(data)

    async def event(self) -> Any:
        """The next response or frame; None at the end of the stream."""
        while not self._events:
            try:
                data = await self.stream.receive_some(65_536)
            except trio.BrokenResourceError:
                return None
            if not data:
                return None
            self.protocol.receive_data(bytes(data))
            self._events += self.protocol.events_received()
        return self._events.pop(0)

    async def message(self) -> bytes:
        frame = await self.event()
        assert isinstance(frame, Frame), frame
        assert frame.opcode in (Opcode.TEXT, Opcode.BINARY), frame
        return bytes(frame.data)

    async def close_code(self) -> int | None:
        """Of the close frame that ends what the server sends; None without one."""
        while (frame := await self.event()) is not None:
            if frame.opcode is Opcode.CLOSE:
                return int.from_bytes(frame.data[:2], "big") if frame.data else 1005
        return None


def masked(opcode: int, data: bytes, *, fin: bool = True) -> bytes:
    return Frame(Opcode(opcode), data, fin).serialize(mask=True)


async def echo(websocket: WebSocket) -> None:
    """Answers every message with itself, and closes when the client does."""
    while frames := await websocket.receive():
        for frame in frames:
            encode = binary_frame if frame.binary else text_frame
            websocket.outbox.send(encode(frame.data))
    await websocket.close()


class WebSocketServer:
    """The listener with a handler that accepts every WebSocket and runs a session on it."""

    def __init__(self, served: Served, budget: Budget) -> None:
        self.served = served
        self.budget = budget
        self.context: ssl.SSLContext | None = None

    async def stream(self) -> trio.abc.Stream:
        stream: trio.abc.Stream = await trio.open_tcp_stream("127.0.0.1", self.served.port)
        if self.context is not None:
            stream = trio.SSLStream(
                stream, self.context, server_hostname="localhost", https_compatible=True
            )
        self.served.streams.append(stream)
        return stream

    async def connect(self, target: str = "/") -> WebSocketClient:
        client = WebSocketClient(await self.stream(), target)
        assert (await client.open()).status_code == 101
        return client


@contextlib.asynccontextmanager
async def websockets_served(
    session: Session = echo,
    ssl_context: ssl.SSLContext | None = None,
    *,
    authenticate: bool = True,
    may_log: str | None = None,
    **limits: Any,
) -> AsyncIterator[WebSocketServer]:
    settings = ServerSettings(port=0, **limits)
    budget = Budget(settings.outboxes_bytes_max)
    async with trio.open_nursery() as flushers:

        async def realtime(upgrade: Upgrade) -> None:
            websocket = await WebSocket.accept(upgrade, settings, budget, flushers)
            if authenticate:
                upgrade.connection.authenticated()
            await session(websocket)

        async with serving(ssl_context, realtime=realtime, may_log=may_log, **limits) as served:
            yield WebSocketServer(served, budget)
        flushers.cancel_scope.cancel()
