"""Limits on one request, whatever carried it: an ASGI layer between Hypercorn and the application.

Owns what holds for the first request of a connection, the later ones, and those of HTTP/2 alike:
sizes of target, headers and body, the time a body may take, the time a reply may take to be
accepted, and what is answered when the application fails. Also counts the requests under way.

Invariants: every request gets exactly one whole reply, or its connection is aborted; a reply
begun is never continued by another; the application never sees more than `body_bytes_max`.

Fault model: Hypercorn feeds a bounded queue and never closes it, so a reply may not end while
body is still coming and nobody reads: its reader and its writer would wait for each other for
ever. And a framework that cancels the rest of its request on "http.disconnect" (Quart does) would
cancel the very send that ends the reply, which leaves Hypercorn's connection without an idle
timer or not closed. So while a reply ends, the rest of the body is read and dropped, for a while
(`linger_ms`: a client that still sends would otherwise see a reset instead of the reply), and the
disconnect is held back.

Refuses WebSockets: those go to the realtime handler before Hypercorn sees them.
"""

import logging
import math
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import trio

from api import refusal_forms, refusals
from api.connection import Connection, connection_of
from api.settings import ServerSettings
from broker.errors import BrokerError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

WRITE_CHUNK_BYTES = 64 * 1024  # the unit that write_timeout_ms is about
HEADER_EXTRA_BYTES = len(": \r\n")
HTTP1 = frozenset({"1.0", "1.1"})
VERSIONS = HTTP1 | {"2"}
REPLY_END: Message = {"type": "http.response.body", "body": b"", "more_body": False}

logger = logging.getLogger("tidelog.http")


class RequestGuard:
    """An ASGI application around another one."""

    def __init__(self, app: App, settings: ServerSettings) -> None:
        self._app = app
        self._settings = settings
        self._serve: dict[str, App] = {
            "http": self._http,
            "websocket": self._websocket,
            "lifespan": app,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._serve[scope["type"]](scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = connection_of(scope)
        exchange = _Exchange(scope, receive, send, self._settings, connection)
        with connection.request():
            error = head_refusal(scope, self._settings) or await exchange.run(self._app)
            if error is not None:
                await exchange.refuse(error)
            if not exchange.is_finished:
                connection.abort()

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = refusals.websocket_not_first()
        body = refusals.envelope(error)
        headers = refusals.reply_headers(error, body)
        start = {"type": "websocket.http.response.start", "status": error.status}
        await send({**start, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": body})


class _Exchange:
    """One request and its reply, with the limits applied to `receive` and `send`."""

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        settings: ServerSettings,
        connection: Connection,
    ) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._settings = settings
        self._connection = connection
        self._app_scope = trio.CancelScope()
        self._breach: BrokerError | None = None
        self._body_deadline = trio.current_time() + settings.body_timeout_ms / 1000
        self._body_bytes = 0
        self._body_over = trio.Event()  # whole, or the client is gone
        self._is_gone = False
        self._is_started = False
        self._is_ending = False
        self._ended = trio.Event()

    @property
    def is_finished(self) -> bool:
        return self._ended.is_set() or self._is_gone

    async def run(self, app: App) -> BrokerError | None:
        """Let the application answer; returns the error to answer where it may not or did not."""
        try:
            with self._app_scope:
                await app(self._scope, self.receive, self.send)
        except Exception:
            logger.exception("the application failed: %s", self._scope["method"])
            return refusals.internal_error()
        if self._breach is None and not self._is_started and not self._is_gone:
            logger.error("the application did not answer: %s", self._scope["method"])
            return refusals.internal_error()
        return self._breach

    async def refuse(self, error: BrokerError) -> None:
        if self._is_started:  # too late for words; the caller aborts
            return
        asked = refusal_forms.asked_in(self._scope)
        body = refusal_forms.body(error, asked, self._settings)
        headers = refusals.reply_headers(error, body)
        if not self._body_over.is_set() and self._scope["http_version"] in HTTP1:
            headers.append((b"connection", b"close"))
        await self.send({"type": "http.response.start", "status": error.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body, "more_body": False})

    async def receive(self) -> Message:
        message: Message | None = None
        with trio.move_on_at(self._body_deadline):
            message = await self._receive()
        if message is None:
            return await self._stop_app(refusals.body_too_slow(self._settings.body_timeout_ms))
        self._note(message)
        if self._body_bytes > self._settings.body_bytes_max:
            return await self._stop_app(refusals.body_too_large(self._settings.body_bytes_max))
        if self._is_gone and self._is_ending:
            await self._ended.wait()
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            await self._send_body(message)
        elif message["type"] == "http.response.start":
            self._is_started = True
            await self._put(self._closing(message))
        else:
            await self._put(message)

    def _note(self, message: Message) -> None:
        self._is_gone = self._is_gone or message["type"] == "http.disconnect"
        self._body_bytes += len(message.get("body", b""))
        if not message.get("more_body", False):
            self._body_deadline = math.inf
            self._body_over.set()

    async def _stop_app(self, breach: BrokerError) -> Message:
        """Cancel the application from within its own call: it cannot mistake this for a message."""
        self._breach = self._breach or breach
        self._app_scope.cancel()
        await trio.sleep_forever()
        raise AssertionError("cancelled above")

    def _closing(self, start: Message) -> Message:
        """While the server drains, HTTP/1.1 clients are told not to use the connection again."""
        if not self._connection.draining.is_set() or self._scope["http_version"] not in HTTP1:
            return start
        return {**start, "headers": [*start.get("headers", []), (b"connection", b"close")]}

    async def _send_body(self, message: Message) -> None:
        body = memoryview(message.get("body", b""))
        for begin in range(0, len(body), WRITE_CHUNK_BYTES):
            chunk = bytes(body[begin : begin + WRITE_CHUNK_BYTES])
            await self._put({"type": "http.response.body", "body": chunk, "more_body": True})
        if not message.get("more_body", False):
            await self._end()

    async def _end(self) -> None:
        if self._body_over.is_set():
            self._is_ending = True
            await self._put(REPLY_END)
        else:
            await self._end_early()
        self._ended.set()

    async def _end_early(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._drop_body)
            with trio.move_on_after(self._settings.linger_ms / 1000):
                await self._body_over.wait()
            self._is_ending = True
            await self._put(REPLY_END)
            nursery.cancel_scope.cancel()

    async def _drop_body(self) -> None:
        while not self._is_gone:
            self._note(await self._receive())

    async def _put(self, message: Message) -> None:
        with trio.move_on_after(self._settings.write_timeout_ms / 1000) as timeout:
            await self._send(message)
        if timeout.cancelled_caught:
            self._connection.abort()
            await trio.lowlevel.checkpoint()


def head_refusal(scope: Scope, settings: ServerSettings) -> BrokerError | None:
    """What is wrong with a request's head, if anything."""
    if scope["http_version"] not in VERSIONS:
        return refusals.version_not_supported()
    if len(scope["raw_path"]) + len(scope["query_string"]) > settings.url_bytes_max:
        return refusals.url_too_long(settings.url_bytes_max)
    sizes = (len(name) + len(value) + HEADER_EXTRA_BYTES for name, value in scope["headers"])
    if sum(sizes) > settings.header_bytes_max:
        return refusals.headers_too_large(settings.header_bytes_max)
    declared = max(
        (_length(value) for name, value in scope["headers"] if name == b"content-length"), default=0
    )
    if declared > settings.body_bytes_max:
        return refusals.body_too_large(settings.body_bytes_max)
    return None


def _length(value: bytes) -> int:
    """A Content-Length that is no number is for the HTTP parser to refuse."""
    return int(value) if value.isdigit() else 0
