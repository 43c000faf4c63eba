"""A server on a loopback port in front of a tiny ASGI application; clients that speak raw bytes.

Invariant: a server that logged an error fails its test, unless the test said which logger may.
"""

import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import trio

from api.admission import Admission
from api.connection import connection_of
from api.listener import Listening, Realtime, serve
from api.request_guard import Message, Receive, Scope, Send
from api.settings import ServerSettings

LOGGERS = ("tidelog", "trio.serve_listeners")


class TinyApp:
    """Answers by path; records what reached it."""

    def __init__(self) -> None:
        self.lifespan: list[str] = []
        self.requests: list[tuple[str, str, bytes]] = []
        self.entered = trio.Event()
        self.release = trio.Event()
        self.reply_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await getattr(self, scope["path"].strip("/") or "echo")(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        for stage in ("startup", "shutdown"):
            await receive()
            self.lifespan.append(stage)
            await send({"type": f"lifespan.{stage}.complete"})

    async def echo(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(receive)
        self.requests.append((scope["method"], scope["path"], body))
        await reply(send, body)

    async def hold(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.entered.set()
        await self.release.wait()
        await reply(send, b"released")

    async def early(self, scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, b"not for you", 401)

    async def large(self, scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, bytes(self.reply_bytes))

    async def authenticate(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection_of(scope).authenticated()
        await reply(send, b"welcome")

    async def watch(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As Quart-Trio does it: which ends first, the answer or the client, cancels the other."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._until_gone, receive, nursery.cancel_scope)
            await reply(send, b"watched")
            nursery.cancel_scope.cancel()

    async def _until_gone(self, receive: Receive, scope: trio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        scope.cancel()

    async def stumble(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"10")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise RuntimeError("a secret detail")

    async def fail(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("a secret detail")

    async def forget(self, scope: Scope, receive: Receive, send: Send) -> None:
        pass


async def read_body(receive: Receive) -> bytes:
    body = b""
    while True:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            return body
        body += message["body"]
        if not message["more_body"]:
            return body


async def reply(send: Send, body: bytes, status: int = 200) -> None:
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class _Errors(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[logging.LogRecord] = []
        self.seen = trio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.seen.set()


@dataclass
class Served:
    app: TinyApp
    listening: Listening
    stop: trio.Event
    stopped: trio.Event
    errors: _Errors
    cancel: Callable[[], None]
    streams: list[trio.abc.Stream] = field(default_factory=list)

    @property
    def admission(self) -> Admission:
        return self.listening.admission

    @property
    def port(self) -> int:
        return self.listening.port

    async def connect(self) -> "Client":
        """Closed at the latest when the test ends."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        self.streams.append(stream)
        return Client(stream)

    async def ask(self, data: bytes) -> "Reply":
        client = await self.connect()
        async with client.stream:
            await client.send(data)
            return await client.reply()

    async def close_clients(self) -> None:
        for stream in self.streams:
            await trio.aclose_forcefully(stream)


@contextlib.asynccontextmanager
async def serving(
    ssl_context: ssl.SSLContext | None = None,
    *,
    realtime: Realtime | None = None,
    may_log: str | None = None,
    **limits: Any,
) -> AsyncIterator[Served]:
    app, stop, stopped, errors = TinyApp(), trio.Event(), trio.Event(), _Errors()
    settings = ServerSettings(port=0, **limits)

    async def run(task_status: trio.TaskStatus[Listening]) -> None:
        try:
            await serve(
                app,
                settings,
                ssl_context,
                realtime=realtime,
                shutdown=stop,
                task_status=task_status,
            )
        finally:
            stopped.set()

    with _watching(errors):
        async with trio.open_nursery() as nursery:
            listening = await nursery.start(run)
            served = Served(app, listening, stop, stopped, errors, nursery.cancel_scope.cancel)
            try:
                yield served
            finally:
                app.release.set()
                stop.set()
                with trio.CancelScope(shield=True):
                    await served.close_clients()
    assert [r.getMessage() for r in errors.records if r.name != may_log] == []


@contextlib.contextmanager
def _watching(errors: _Errors) -> Iterator[None]:
    for name in LOGGERS:
        logging.getLogger(name).addHandler(errors)
    try:
        yield
    finally:
        for name in LOGGERS:
            logging.getLogger(name).removeHandler(errors)


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """A stream and what was read from it beyond the last reply."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._buffer = b""

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def reply(self) -> Reply:
        head = await self._until(b"\r\n\r\n")
        status_line, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = await self._take(int(headers.get("content-length", "0")))
        return Reply(int(status_line.split()[1]), headers, body)

    async def rest(self) -> bytes:
        """Everything until the server closes, or resets, the connection."""
        with contextlib.suppress(trio.BrokenResourceError):
            while data := await self.stream.receive_some():
                self._buffer += data
        return self._buffer

    async def _until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            await self._more()
        head, _, self._buffer = self._buffer.partition(mark)
        return head

    async def _take(self, length: int) -> bytes:
        while len(self._buffer) < length:
            await self._more()
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return body

    async def _more(self) -> None:
        data = await self.stream.receive_some()
        assert data, f"closed within a reply: {self._buffer!r}"
        self._buffer += data


def get(path: str = "/echo", *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode()


def post(body: bytes, path: str = "/echo", *headers: str) -> bytes:
    length = f"Content-Length: {len(body)}"
    lines = [f"POST {path} HTTP/1.1", "Host: x", length, *headers, "", ""]
    return "\r\n".join(lines).encode() + body
