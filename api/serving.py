"""A broker behind one port, in whatever trio program has it open: HTTP and realtime connections.

    async with broker.open("./data") as b, trio.open_nursery() as nursery:
        server = await serve_in(nursery, b)
        ...
        server.stop()

The nursery is inside the broker's block, for the server needs the broker until it has stopped.
Stopping, by `stop` or by cancelling the nursery, lets accepted requests finish within the grace.
Touches no signal, prints nothing and ends no process: that is `api.server`'s, which is one process.
What it does to the process is raise the soft limit of file descriptors, up to the hard one.
"""

import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import trio

from api import listener
from api.addresses import CannotListen, named
from api.app import create_app
from api.listener import Listening
from api.metrics import served
from api.metrics import service as metrics
from api.metrics.catalogue import Sources
from api.metrics.loop_lag import LoopLag
from api.push.transports import Transports
from api.realtime.server import realtime
from api.request_guard import App
from api.settings import ServerSettings
from api.tracing.off import tracing
from broker import Broker


@dataclass(frozen=True)
class Server:
    """A server that accepts requests. `stop`: no new connection, and what was accepted is finished;
    the nursery ends when it is."""

    port: int
    stop: Callable[[], None]


async def serve_in(
    nursery: trio.Nursery,
    broker: Broker,
    settings: ServerSettings | None = None,
    *,
    ssl_context: ssl.SSLContext | None = None,
    transports: Transports | None = None,
) -> Server:
    """Start to serve a broker; returns once it accepts requests. `transports`: those whose
    `by_type` the broker was opened with, if it delivers notifications. Raises CannotListen, and
    ConfigError for traces without OpenTelemetry."""
    stopping = trio.Event()
    start = partial(serve, ssl_context=ssl_context, transports=transports, shutdown=stopping)
    listening: Listening = await nursery.start(start, broker, settings or ServerSettings())
    return Server(listening.port, stopping.set)


async def serve(
    broker: Broker,
    settings: ServerSettings,
    *,
    ssl_context: ssl.SSLContext | None,
    transports: Transports | None,
    shutdown: trio.Event,
    sandbox: bool = False,
    sockets: Sequence[socket.socket] = (),
    layer: Callable[[App], App] = lambda app: app,
    task_status: trio.TaskStatus[Listening] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `shutdown` is set or it is cancelled. Raises CannotListen, ConfigError.
    `sockets`: bound already; `layer`: what is put around the application."""
    made = create_app(broker, settings, sandbox=sandbox, transports=transports)
    refused: CannotListen | None = None
    async with (
        tracing(broker, settings) as traces,
        realtime(broker, settings) as connections,
        trio.open_nursery() as nursery,
    ):
        app = traces.wrap(layer(cast("App", made)))  # Quart types the same messages more closely
        listen = partial(listener.serve, realtime=connections, shutdown=shutdown, sockets=sockets)
        try:
            with named(settings.host, settings.port):
                listening = await nursery.start(listen, app, settings, ssl_context)
            sources = Sources(broker, listening.admission, connections, LoopLag(), traces.outcomes)
            await nursery.start(served.tell, sources, shutdown)
            if settings.metrics_port:
                await _measure(nursery, sources, settings, shutdown)
        except CannotListen as error:  # raised further down, or it would come in a group
            refused = error
            nursery.cancel_scope.cancel()
        else:
            task_status.started(listening)
    if refused is not None:
        raise refused


async def _measure(
    nursery: trio.Nursery, sources: Sources, settings: ServerSettings, shutdown: trio.Event
) -> None:
    with named(settings.metrics_host, settings.metrics_port):
        await nursery.start(partial(metrics.serve, shutdown=shutdown), sources, settings)
    nursery.start_soon(sources.loop_lag.run, shutdown)


__all__ = ["CannotListen", "Server", "serve", "serve_in"]
