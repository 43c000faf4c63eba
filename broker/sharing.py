"""Several processes on one data directory: one writes the log, the others submit to it.

    the writer:  async with broker.open(path) as b: await admit(b, stream)
    a worker:    async with join(path, stream) as b: ...

Each has an epoch of its own, so what a process held can be told from what others hold, and is lost
with that process alone. A worker's broker publishes, reads, holds connections and delivers to them
as any other; what has to be done once (retention, purges, notifications, counting usage, closing
channels) is done by the writer's. The keys of devices are the writer's, too: what seals or opens
addresses, purges, or asks for usage raises Unavailable or knows nothing in a worker, so whoever
serves requests passes those on (api.workers).

Fault model: a worker that ends is noticed by its stream; everything it held counts as lost then. A
writer that ends is the end of its workers' logs (storage.remote).
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import trio

from broker import tenancy
from broker.broker import Broker, running
from broker.clock import Clock, wall_clock
from broker.command_codec import CommandCodec
from broker.domain import broker_domain
from broker.errors import Unavailable
from broker.live.connection_log import StartWorker
from broker.settings import BrokerSettings
from broker.storage_errors import mapped
from storage import LocalLog, open_remote, serve_link
from storage.frames import READ_BYTES, Frames, frame
from storage.keyfile import NoKeyFile

__all__ = ["READ_BYTES", "Frames", "admit", "frame", "join"]

END_S = 10


async def admit(broker: Broker, stream: trio.abc.Stream) -> None:
    """Write for a worker, until it closes its end of the stream or this is cancelled. Raises what
    the log refuses with."""
    log = broker.log
    assert isinstance(log, LocalLog)
    connections = broker.epoch.connections
    await connections.started()
    epoch = (await broker.submit(StartWorker(), app="")).reply
    try:
        codec = CommandCodec(log.domain.decide)
        await serve_link(log, stream, codec, greeting=epoch)
    finally:
        with trio.CancelScope(shield=True), trio.move_on_after(END_S):
            await trio.aclose_forcefully(stream)
            await connections.worker_ended(epoch)


@asynccontextmanager
async def join(
    path: str | Path,
    stream: trio.abc.Stream,
    *,
    settings: BrokerSettings | None = None,
    clock: Clock = wall_clock,
    on_lost: Callable[[], None] = lambda: None,
) -> AsyncIterator[Broker]:
    """A broker on a directory that another process writes; `stream` leads to its `admit`.
    `on_lost`: called when that process ends, before anybody is told. Raises Unavailable."""
    settings = settings or BrokerSettings()
    domain = broker_domain()
    async with AsyncExitStack() as stack:
        with mapped():
            opening = open_remote(
                Path(path),
                domain,
                CommandCodec(domain.decide),
                stream,
                wall=clock,
                settings=settings.log,
                on_lost=on_lost,
            )
            log = await stack.enter_async_context(opening)
        with log.view() as rows:
            series = tenancy.series(rows)
        if series is None:
            raise Unavailable("the log that is to be shared is empty")
        broker = Broker(log, NoKeyFile(), settings, clock, series)
        broker.epoch.join(log.greeting)
        async with running(broker, None):
            yield broker
