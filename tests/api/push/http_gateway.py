"""A server on a loopback port that gives every request to one function: HTTP/2 and HTTP/1.1.

What a gateway does to a request is a Reply, or an Act: gateways also go away, hang up and stall.
`connections` counts those that were opened, `arrived` lets a test wait for a request.
"""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import h2.config
import h2.connection
import h2.events
import h11
import msgspec
import trio

CHUNK_BYTES = 16_384


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    http_version: str


@dataclass(frozen=True)
class Reply:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Act(Enum):
    GOAWAY = "says that the connection ends, perhaps after this request, and ends it"
    GOAWAY_UNSEEN = "says that it ends without this request, and ends it"
    HANG_UP = "ends the connection"
    STALL = "never answers"
    NONSENSE = "answers with what is no HTTP"


Answer = Reply | Act
Handle = Callable[[Request], Awaitable[Answer]]


def json_reply(status: int, document: Any, **headers: str) -> Reply:
    return Reply(status, msgspec.json.encode(document), headers)


@dataclass
class Gateway:
    """port: where it is. requests: all that came, whatever was answered."""

    port: int = 0
    scheme: str = "https"
    connections: int = 0
    requests: list[Request] = field(default_factory=list)
    arrived: trio.Event = field(default_factory=trio.Event)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def note(self, request: Request) -> None:
        self.requests.append(request)
        self.arrived.set()


@asynccontextmanager
async def serving(handle: Handle, context: ssl.SSLContext | None = None) -> AsyncIterator[Gateway]:
    gateway = Gateway(scheme="https" if context else "http")

    async def serve(stream: trio.SocketStream) -> None:
        gateway.connections += 1
        try:
            await _serve(stream, handle, context, gateway)
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client left
        finally:
            await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        gateway.port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        yield gateway
        nursery.cancel_scope.cancel()


async def _serve(
    raw: trio.SocketStream, handle: Handle, context: ssl.SSLContext | None, gateway: Gateway
) -> None:
    if context is None:
        await _Http1(raw, handle, gateway).run()
        return
    stream = trio.SSLStream(raw, context, server_side=True, https_compatible=True)
    await stream.do_handshake()
    kind = _Http2 if stream.selected_alpn_protocol() == "h2" else _Http1
    await kind(stream, handle, gateway).run()


class _Http2:
    def __init__(self, stream: trio.abc.Stream, handle: Handle, gateway: Gateway) -> None:
        self.stream = stream
        self.handle = handle
        self.gateway = gateway
        self.lock = trio.Lock()
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        self.h2 = h2.connection.H2Connection(config)
        self.is_over = False
        self.heads: dict[int, dict[str, str]] = {}
        self.bodies: dict[int, bytearray] = {}

    async def run(self) -> None:
        self.h2.initiate_connection()
        await self.flush()
        async with trio.open_nursery() as nursery:
            while data := await self.stream.receive_some():
                if self.is_over:
                    break
                for event in self.h2.receive_data(bytes(data)):
                    if self.takes(event):
                        nursery.start_soon(self.answer, event.stream_id, nursery.cancel_scope)
                await self.flush()
            nursery.cancel_scope.cancel()

    def takes(self, event: Any) -> bool:
        """Whether a request is complete now."""
        if isinstance(event, h2.events.RequestReceived):
            self.heads[event.stream_id] = dict(event.headers)
            self.bodies[event.stream_id] = bytearray()
        elif isinstance(event, h2.events.DataReceived):
            self.bodies[event.stream_id] += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        return isinstance(event, h2.events.StreamEnded)

    async def answer(self, stream_id: int, scope: trio.CancelScope) -> None:
        head = self.heads.pop(stream_id)
        body = bytes(self.bodies.pop(stream_id))
        request = Request(head[":method"], head[":path"], head, body, "2")
        self.gateway.note(request)
        answer = await self.handle(request)
        if isinstance(answer, Reply):
            await self.reply(stream_id, answer)
            return
        if answer is Act.STALL:
            await trio.sleep_forever()
        if answer in (Act.GOAWAY, Act.GOAWAY_UNSEEN):
            self.is_over = True
            seen = stream_id if answer is Act.GOAWAY else max(0, stream_id - 2)
            self.h2.close_connection(last_stream_id=seen)
            await self.flush()
        if answer is Act.NONSENSE:
            async with self.lock:
                await self.stream.send_all(b"\xff" * 100)
        scope.cancel()

    async def reply(self, stream_id: int, reply: Reply) -> None:
        headers = [(":status", str(reply.status)), *reply.headers.items()]
        self.h2.send_headers(stream_id, headers, end_stream=not reply.body)
        chunks = range(0, len(reply.body), CHUNK_BYTES)
        for begin in chunks:
            is_last = begin == chunks[-1]
            part = reply.body[begin : begin + CHUNK_BYTES]
            self.h2.send_data(stream_id, part, end_stream=is_last)
            await self.flush()
        await self.flush()

    async def flush(self) -> None:
        async with self.lock:
            await self.stream.send_all(self.h2.data_to_send())


class _Http1:
    def __init__(self, stream: trio.abc.Stream, handle: Handle, gateway: Gateway) -> None:
        self.stream = stream
        self.handle = handle
        self.gateway = gateway
        self.h11 = h11.Connection(h11.SERVER)

    async def run(self) -> None:
        while (request := await self.request()) is not None:
            self.gateway.note(request)
            answer = await self.handle(request)
            if not isinstance(answer, Reply):
                await self.act(answer)
                return
            await self.reply(answer)
            self.h11.start_next_cycle()

    async def request(self) -> Request | None:
        head: h11.Request | None = None
        body = b""
        while True:
            event = self.h11.next_event()
            if event is h11.NEED_DATA:
                self.h11.receive_data(bytes(await self.stream.receive_some()))
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None
                headers = {name.decode(): value.decode() for name, value in head.headers}
                return Request(head.method.decode(), head.target.decode(), headers, body, "1.1")
            else:
                return None

    async def act(self, act: Act) -> None:
        if act is Act.STALL:
            await trio.sleep_forever()
        if act is Act.NONSENSE:
            await self.stream.send_all(b"HTTP?\r\n\r\n")

    async def reply(self, reply: Reply) -> None:
        headers = [*reply.headers.items(), ("content-length", str(len(reply.body)))]
        head = h11.Response(status_code=reply.status, headers=headers)
        for event in (head, h11.Data(data=reply.body), h11.EndOfMessage()):
            await self.stream.send_all(self.h11.send(event) or b"")
