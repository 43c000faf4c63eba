"""A directory served over every API at a moment that stands still, and what it answers.

A question is a request, or an operation of the admin table, with its answer. Asked again, by
whatever version, everything that was in an answer must be in the new one; fields may be added. Of a
refusal only the status and the code count: words may get better.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import msgspec
import trio

import broker
from api.admin import operations
from api.push.settings import PushSettings
from api.push.transports import build_transports
from api.realtime.protocol import Action
from api.serving import serve_in
from api.settings import ServerSettings
from broker import Broker, BrokerSettings
from tests.api.matrix.asking import HOST
from tests.api.realtime_server import RealtimeClient
from tests.api.websocket_client import WebSocketClient

STUCK_S = 120  # only ever passes when something hangs
HOUR_MS = 3_600_000
# Nothing happens by itself while a test asks, however slow it is.
STILL = BrokerSettings(
    connection_state_ttl_ms=HOUR_MS,
    presence_leave_delay_ms=HOUR_MS,
    channel_idle_ms=HOUR_MS,
    sweep_interval_ms=HOUR_MS,
)


SERVED = ServerSettings(
    port=0, drain_window_ms=0, matrix_hosts=(HOST["Host"],), matrix_requests_max=0
)


class Question(msgspec.Struct, omit_defaults=True):
    """`sealed`: its answer needs a key, and an export leaves keys where they are."""

    method: str
    path: str
    headers: dict[str, str] = {}
    body: Any = None
    operation: bool = False
    sealed: bool = False
    status: int = 0
    answer: Any = None


class Directory:
    """A data directory that is open, and served."""

    def __init__(self, opened: Broker, client: httpx.AsyncClient, port: int) -> None:
        self.broker = opened
        self.client = client
        self._port = port
        self._streams: list[trio.SocketStream] = []

    async def hang_up(self) -> None:
        """As a client that vanishes; one that did is passed over."""
        for stream in self._streams:
            await trio.aclose_forcefully(stream)

    async def until(self, *events: type) -> None:
        """Until the log has such events."""
        missing = set(events)
        with trio.fail_after(STUCK_S):
            async with aclosing(self.broker.log.tail(0)) as tail:
                async for records in tail:
                    missing -= {type(record.event) for record in records}
                    if not missing:
                        return

    async def ask(self, question: Question) -> tuple[int, Any]:
        if question.operation:
            result = await operations.run(self.broker, question.path, question.body or {})
            return 0, msgspec.json.decode(msgspec.json.encode(result))
        reply = await self.client.request(
            question.method, question.path, headers=question.headers, json=question.body
        )
        is_json = reply.headers.get("content-type") == "application/json"
        return reply.status_code, _what_counts(reply.json() if is_json else reply.text)

    async def connect(self, **query: str) -> RealtimeClient:
        """A realtime client that heard CONNECTED."""
        stream = await trio.open_tcp_stream("127.0.0.1", self._port)
        self._streams.append(stream)
        client = WebSocketClient(stream, f"/?{urlencode({'format': 'json', **query})}")
        assert (await client.open()).status_code == 101
        connection = RealtimeClient(client, binary=False)
        connection.connected = await connection.hears(Action.CONNECTED)
        return connection


def _what_counts(content: Any) -> Any:
    if isinstance(content, dict) and isinstance(content.get("error"), dict):
        return {"error": {"code": content["error"]["code"]}}
    return content


def lacks(answer: Any, found: Any, where: str = "") -> list[str]:
    """What of an answer is not in another one."""
    if isinstance(answer, dict) and isinstance(found, dict):
        gone = [f"{where}.{name} is gone" for name in answer.keys() - found.keys()]
        both = answer.keys() & found.keys()
        return gone + [
            text for name in both for text in lacks(answer[name], found[name], f"{where}.{name}")
        ]
    if isinstance(answer, list) and isinstance(found, list) and len(answer) == len(found):
        pairs = enumerate(zip(answer, found, strict=True))
        return [text for n, pair in pairs for text in lacks(*pair, f"{where}[{n}]")]
    return [] if answer == found else [f"{where}: {answer!r} became {found!r}"]


@asynccontextmanager
async def served(
    path: Path, now_ms: int, settings: BrokerSettings = STILL, *, delivers: bool = False
) -> AsyncIterator[Directory]:
    """`delivers`: what can be delivered in process; nothing leaves it in any case."""
    begins = trio.Event()
    if delivers:
        begins.set()
    path.mkdir(exist_ok=True)
    async with (
        build_transports(PushSettings(), path) as transports,
        broker.open(path, settings=settings, clock=lambda: now_ms, delivers=begins) as b,
        trio.open_nursery() as nursery,
    ):
        server = await serve_in(nursery, b, SERVED, transports=transports)
        base = f"http://127.0.0.1:{server.port}"
        async with httpx.AsyncClient(base_url=base, timeout=60) as client:
            directory = Directory(b, client, server.port)
            yield directory
            await directory.hang_up()
        server.stop()
