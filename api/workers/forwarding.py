"""Requests that only the leader can answer: a follower passes them on, whole, and their replies.

Those are about what one process alone has: the keys of devices (push, Beams, Matrix), usage up to
this moment, the time that no message shares, and apps that are made and deleted. Everything else a
follower answers itself.

The follower's listener has held the request to its limits before it is passed on; body and reply
are whole, so their bounds bound what is in memory, times REQUESTS_MAX. A client that goes away does
not end what was passed on.

Fault model: a leader that ends takes its followers along. Neither side trusts the other less than
itself, for they are one server.
"""

import logging
from contextlib import suppress
from typing import Any, cast

import msgspec
import trio

from api.application import path_of
from api.beams.paths import PREFIXES as BEAMS
from api.connection import STATE_KEY, Connection, connection_of
from api.matrix.paths import BASE as MATRIX
from api.matrix.paths import PREFIXES as MATRIX_PREFIXES
from api.mounts import bare_host, is_below
from api.request_guard import App, Message, Receive, Scope, Send
from api.settings import ServerSettings
from broker.sharing import READ_BYTES, Frames, frame

REQUESTS_MAX = 256
LEADERS = ("/time", "/stats", "/apps", "/push", MATRIX, *MATRIX_PREFIXES, *BEAMS)
logger = logging.getLogger("tidelog.http")


class Passed(msgspec.Struct, frozen=True, array_like=True):
    """A request. `address`: of its connection, "" behind a trusted proxy."""

    number: int
    method: str
    scheme: str
    http_version: str
    raw_path: bytes
    query_string: bytes
    headers: list[tuple[bytes, bytes]]
    client: tuple[str, int] | None
    server: tuple[str, int | None] | None
    address: str
    body: bytes


class Replied(msgspec.Struct, frozen=True, array_like=True):
    """`authenticated`: it showed valid credentials."""

    number: int
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    authenticated: bool


class Forwarding:
    """The follower's application, around its own. `run` talks to the leader."""

    def __init__(self, app: App, stream: trio.SocketStream, settings: ServerSettings) -> None:
        self._app = app
        self._stream = stream
        self._hosts = frozenset(host.lower() for host in settings.matrix_hosts)
        self._room = trio.CapacityLimiter(REQUESTS_MAX)
        self._sending = trio.Lock()
        self._waiting: dict[int, tuple[trio.Event, list[Replied]]] = {}
        self._number = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._is_leaders(scope):
            await self._app(scope, receive, send)
            return
        replied = await self._ask(scope, await _body(receive))
        if replied.authenticated:
            connection_of(scope).authenticated()
        await send(
            {
                "type": "http.response.start",
                "status": replied.status,
                "headers": replied.headers,
            }
        )
        await send({"type": "http.response.body", "body": replied.body, "more_body": False})

    def _is_leaders(self, scope: Scope) -> bool:
        path = path_of(scope["raw_path"])
        if any(is_below(path, prefix) for prefix in LEADERS):
            return True
        return bool(self._hosts) and bare_host(dict(scope["headers"]).get(b"host", b"")) in (
            self._hosts
        )

    async def _ask(self, scope: Scope, body: bytes) -> Replied:
        async with self._room:
            self._number += 1
            passed = _passed(self._number, scope, body)
            answered, found = self._waiting[passed.number] = trio.Event(), []
            try:
                with trio.CancelScope(shield=True):  # half a frame would be the end of all
                    async with self._sending:
                        await self._stream.send_all(frame(passed))
                await answered.wait()
            finally:
                del self._waiting[passed.number]
        return found[0]

    async def run(self) -> None:
        """Until the leader is gone, or this is cancelled."""
        frames = Frames(Replied)
        with suppress(trio.BrokenResourceError):
            while data := await self._stream.receive_some(READ_BYTES):
                for replied in frames.feed(data):
                    answered, found = self._waiting.get(replied.number, (trio.Event(), []))
                    found.append(replied)
                    answered.set()


def _passed(number: int, scope: Scope, body: bytes) -> Passed:
    return Passed(
        number,
        scope["method"],
        scope["scheme"],
        scope["http_version"],
        scope["raw_path"],
        scope["query_string"],
        [(bytes(name), bytes(value)) for name, value in scope["headers"]],
        scope.get("client"),
        scope.get("server"),
        connection_of(scope).address,
        body,
    )


async def _body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b"".join(parts)
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


async def answer(app: App, stream: trio.SocketStream) -> None:
    """The leader's side: answer what a follower passes on, until it closes the stream."""
    frames, sending = Frames(Passed), trio.Lock()

    async def one(passed: Passed) -> None:
        replied = await _Exchange(passed).run(app)
        async with sending:
            await stream.send_all(frame(replied))

    try:
        async with trio.open_nursery() as nursery:
            while data := await stream.receive_some(READ_BYTES):
                for passed in frames.feed(data):
                    nursery.start_soon(one, passed)
            nursery.cancel_scope.cancel()
    except* (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # the follower is gone


class _Exchange:
    """One request that was passed on, as the application sees it."""

    def __init__(self, passed: Passed) -> None:
        self._passed = passed
        self._taken = False
        self._authenticated = False
        self._status = 500
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []

    async def run(self, app: App) -> Replied:
        try:
            await app(self._scope(), self._receive, self._send)
        except Exception:
            logger.exception("a request that was passed on failed")
            self._status, self._headers, self._body = 500, [], []
        body = b"".join(self._body)
        number = self._passed.number
        return Replied(number, self._status, self._headers, body, self._authenticated)

    def _scope(self) -> Scope:
        passed = self._passed
        connection = Connection(cast("Any", None), passed.address, self._note_authenticated)
        return {
            "type": "http",
            "asgi": {"spec_version": "2.3", "version": "3.0"},
            "http_version": passed.http_version,
            "method": passed.method,
            "scheme": passed.scheme,
            "path": path_of(passed.raw_path),
            "raw_path": passed.raw_path,
            "query_string": passed.query_string,
            "root_path": "",
            "headers": passed.headers,
            "client": passed.client,
            "server": passed.server,
            "extensions": {},
            "state": {STATE_KEY: connection},
        }

    def _note_authenticated(self, _: Connection) -> None:
        self._authenticated = True

    async def _receive(self) -> Message:
        if self._taken:
            await trio.sleep_forever()
        self._taken = True
        return {"type": "http.request", "body": self._passed.body, "more_body": False}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = [(bytes(n), bytes(v)) for n, v in message.get("headers", [])]
        elif message["type"] == "http.response.body":
            self._body.append(bytes(message.get("body", b"")))
