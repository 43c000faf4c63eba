"""GET /metrics, on an address of its own: the listener of the server, with one small application.

Not on the server's own port: that is open to clients, and what is told here is the operator's. It
is off unless `server.metrics_port` is set, and on loopback unless `server.metrics_host` says
otherwise; it asks for no credentials, so whoever reaches the address may read. The numbers tell no
tenants apart (api.metrics.catalogue).

The limits on clients are those of the server, but for connections: few, so that whoever reaches the
address cannot take what clients need. One answer is made at a time.
"""

from dataclasses import replace

import trio

from api.listener import Listening
from api.listener import serve as listen
from api.metrics.catalogue import Sources
from api.metrics.exposition import CONTENT_TYPE, exposition
from api.request_guard import Receive, Scope, Send
from api.settings import ServerSettings
from broker import BrokerError

PATH = "/metrics"
CONNECTIONS_MAX = 16
TEXT = "text/plain; charset=utf-8"


async def serve(
    sources: Sources,
    settings: ServerSettings,
    *,
    shutdown: trio.Event,
    task_status: trio.TaskStatus[Listening] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer until `shutdown` is set."""
    own = replace(
        settings,
        host=settings.metrics_host,
        port=settings.metrics_port,
        connections_max=CONNECTIONS_MAX,
        connections_per_address_max=CONNECTIONS_MAX,
        unauthenticated_connections_max=CONNECTIONS_MAX,
    )
    await listen(_Application(sources), own, shutdown=shutdown, task_status=task_status)


class _Application:
    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._turn = trio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for stage in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{stage}.complete"})
            return
        status, content_type, body = await self._answer(scope["method"], scope["path"])
        headers = [
            (b"content-type", content_type.encode()),
            (b"content-length", b"%d" % len(body)),
        ]
        if status == 405:
            headers.append((b"allow", b"GET, HEAD"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        shown = b"" if scope["method"] == "HEAD" else body
        await send({"type": "http.response.body", "body": shown, "more_body": False})

    async def _answer(self, method: str, path: str) -> tuple[int, str, bytes]:
        if path != PATH:
            return 404, TEXT, b"metrics are at /metrics\n"
        if method not in ("GET", "HEAD"):
            return 405, TEXT, b"use GET\n"
        try:
            async with self._turn:
                return 200, CONTENT_TYPE, await exposition(self._sources)
        except BrokerError as error:
            return error.status, TEXT, f"{error.message}\n".encode()
