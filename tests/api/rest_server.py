"""The whole server on a loopback port, and clients for it: broker, application and listener."""

import base64
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import jwt
import msgpack
import trio

import broker
from api.app import create_app
from api.listener import Listening, serve
from api.push.transports import Transports
from api.settings import ServerSettings
from broker.auth.credentials import Key
from broker.clock import Clock, wall_clock
from tests import met

JSON = "application/json"
MSGPACK = "application/x-msgpack"
TYPES = (JSON, MSGPACK)
_LINK = re.compile(r'^\s*<(.+)>;\s*rel="(\w+)"$')
_RELATIVE = re.compile(r"^\./(\w+)\?(.*)$")
_UNUSED = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # httpx would make one for each client: 20 ms


def encode(value: Any, content_type: str) -> bytes:
    if content_type == MSGPACK:
        return bytes(msgpack.packb(value, use_bin_type=True))
    return httpx.Request("POST", "http://x", json=value).content


def decode(reply: httpx.Response) -> Any:
    """The body of a reply, whose content type must be exactly one that we speak."""
    if reply.headers["content-type"] == MSGPACK:
        return msgpack.unpackb(reply.content)
    assert reply.headers["content-type"] == JSON
    return reply.json()


def error_of(reply: httpx.Response) -> tuple[int, int]:
    """(status, code) of an error reply, whose envelope and headers must agree (TI1-TI5)."""
    body = decode(reply)
    assert body.keys() == {"error"}
    error = body["error"]
    assert error.keys() - {"serverId"} == {"message", "code", "statusCode", "href"}
    assert error.get("serverId") == reply.headers.get("x-ably-serverid")
    assert isinstance(error["message"], str)
    assert error["message"]
    assert error["statusCode"] == reply.status_code
    assert error["href"].endswith(f"/{error['code']}")
    assert reply.headers["x-ably-errorcode"] == str(error["code"])
    assert reply.headers["x-ably-errormessage"]
    return reply.status_code, error["code"]


def links(reply: httpx.Response, word: str) -> dict[str, str]:
    """Relation -> query string of the Link headers, read the way both SDKs do (reference 1.4)."""
    found = {}
    for element in reply.headers["link"].split(","):
        match = _LINK.match(element)
        assert match, element
        relative = _RELATIVE.match(match[1])
        assert relative, match[1]
        assert relative[1] == word
        found[match[2]] = relative[2]
    return found


def basic(key: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(key.encode()).decode()}"}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {base64.b64encode(token.encode()).decode()}"}


def messages_path(channel: str) -> str:
    return f"/channels/{quote(channel, safe='')}/messages"


@dataclass
class RestServer:
    broker: broker.Broker
    key: Key
    listening: Listening
    base_url: str
    verify: ssl.SSLContext
    stack: AsyncExitStack
    client: httpx.AsyncClient = field(init=False)
    serial: str = ""  # what SERIAL in a path stands for

    @property
    def app(self) -> str:
        return self.key.app_id

    async def connect(
        self, auth: Mapping[str, str] | None = None, **options: Any
    ) -> httpx.AsyncClient:
        """A client with a root key's credentials, or others; closed when the server ends."""
        headers = basic(self.key.string) if auth is None else auth
        client = httpx.AsyncClient(
            base_url=self.base_url,
            headers=headers,
            verify=self.verify,
            timeout=30,
            event_hooks={"request": [self._name_message], "response": [_note]},
            **options,
        )
        return await self.stack.enter_async_context(client)

    async def _name_message(self, request: httpx.Request) -> None:
        if "SERIAL" in request.url.path:
            named = str(request.url).replace("SERIAL", quote(self.serial, safe=""))
            request.url = httpx.URL(named)

    def token(self, *, key: Key | None = None, lifetime_s: int = 3600, **claims: Any) -> str:
        """A JWT of a key; claims override what is in it by default, None leaves one out."""
        key = key or self.key
        now_s = self.broker.clock() // 1000
        merged = {"iat": now_s, "exp": now_s + lifetime_s, **claims}
        kept = {name: value for name, value in merged.items() if value is not None}
        return jwt.encode(kept, key.secret, "HS256", headers={"kid": key.name})

    async def publish(self, channel: str, messages: Any, kind: str = JSON) -> httpx.Response:
        return await self.client.post(
            messages_path(channel),
            content=encode(messages, kind),
            headers={"Content-Type": kind, "Accept": kind},
        )

    async def history(self, channel: str, kind: str = JSON, **params: Any) -> httpx.Response:
        return await self.client.get(
            messages_path(channel), params=params, headers={"Accept": kind}
        )

    async def stored(self, channel: str, kind: str = JSON, **params: Any) -> list[dict[str, Any]]:
        """A page of history that must be served."""
        reply = await self.history(channel, kind, **params)
        assert reply.status_code == 200, reply.text
        found: list[dict[str, Any]] = decode(reply)
        return found


def _begun_minute() -> Clock:
    """A clock that begins with a minute: usage is recorded at the end of each, and tests that look
    at what was appended want to see what they did."""
    late_ms = wall_clock() % 60_000
    return lambda: wall_clock() - late_ms


async def _note(response: httpx.Response) -> None:
    if not met.is_wanted():
        return
    await response.aread()
    request = response.request
    path = request.url.raw_path.decode().partition("?")[0]
    said = response.text[: met.SAID_MAX]
    met.note(met.Met(request.method, path, response.status_code, said))


@asynccontextmanager
async def rest_server(
    path: Path,
    *,
    settings: broker.BrokerSettings | None = None,
    clock: Clock | None = None,
    ssl_context: ssl.SSLContext | None = None,
    verify: ssl.SSLContext = _UNUSED,
    sandbox: bool = False,
    transports: Transports | None = None,
    **limits: Any,
) -> AsyncIterator[RestServer]:
    server_settings = ServerSettings(port=0, **limits)
    async with (
        broker.open(
            path,
            settings=settings,
            clock=clock or _begun_minute(),
            transports=transports.by_type if transports else None,
        ) as opened,
        trio.open_nursery() as nursery,
        AsyncExitStack() as stack,
    ):
        application = create_app(opened, server_settings, sandbox=sandbox, transports=transports)
        stop = trio.Event()
        stack.callback(stop.set)
        start = await nursery.start(_serve, application, server_settings, ssl_context, stop)
        scheme = "https" if ssl_context else "http"
        key = opened.apps.keys(opened.default_app())[0]
        base_url = (
            f"{scheme}://localhost:{start.port}"
            if ssl_context
            else (f"{scheme}://127.0.0.1:{start.port}")
        )
        server = RestServer(opened, key, start, base_url, verify, stack)
        server.client = await server.connect()
        yield server


async def _serve(
    application: Any,
    settings: ServerSettings,
    ssl_context: ssl.SSLContext | None,
    stop: trio.Event,
    task_status: trio.TaskStatus[Listening],
) -> None:
    await serve(application, settings, ssl_context, shutdown=stop, task_status=task_status)


def on_disk(server: RestServer) -> bytes:
    """Whatever the files of its data directory hold."""
    directory = server.broker.log.engine.path
    return b"".join(file.read_bytes() for file in directory.iterdir() if file.is_file())
