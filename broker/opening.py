"""Opening a broker: its log and keys, its first app, and what it does by itself while it is open.

`open` is how the library is entered. A broker on another process' log is opened by broker.sharing.
"""

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import trio

from broker import administration, randomness, tenancy
from broker.broker import Broker
from broker.clock import Clock, wall_clock
from broker.domain import broker_domain
from broker.errors import BrokerError
from broker.push.transport import Transport
from broker.settings import BrokerSettings
from broker.storage_errors import mapped
from storage import Log, open_log
from storage.alongside import alongside
from storage.keyfile import KeyFile

logger = logging.getLogger("tidelog.broker")
SERIES_CHARS = 10


@asynccontextmanager
async def open(  # noqa: A001 - the library's verb: broker.open(...)
    path: str | Path,
    *,
    settings: BrokerSettings | None = None,
    clock: Clock = wall_clock,
    accept_loss: bool = False,
    create_app: bool = True,
    hold_connections: bool = True,
    transports: Mapping[str, Transport] | None = None,
    delivers: trio.Event | None = None,
) -> AsyncIterator[Broker]:
    """Open a data directory, creating it if need be; one without an app gets an app with a root
    key, unless `create_app` is false. With `hold_connections` it takes over from the process that
    had it open before, sees off the connections that one left (broker.live.epoch), and delivers
    notifications, through `transports` by transportType (broker.push.outbox): at once, or when
    `delivers` is set.

    Raises Unavailable if another process writes it, if acknowledged records are missing
    (`accept_loss` goes on without them), or if it is damaged.
    """
    settings = settings or BrokerSettings()
    async with AsyncExitStack() as stack:
        with mapped():
            opened = open_log(
                Path(path),
                broker_domain(),
                wall=clock,
                settings=settings.log,
                accept_loss=accept_loss,
            )
            log = await stack.enter_async_context(opened)
            keys = await trio.to_thread.run_sync(KeyFile, log.engine.path)
            stack.callback(keys.close)
            broker = Broker(log, keys, settings, clock, await _series(log))
            broker.outbox.attempts.transports.update(transports or {})
        if create_app:
            await _ensure_app(broker)
        if hold_connections:
            await broker.push.forget_strangers()
            await _begin_epoch(broker)
        if delivers is None:
            delivers = trio.Event()
            delivers.set()
        async with running(broker, delivers if hold_connections else None):
            yield broker


def running(broker: Broker, delivers: trio.Event | None) -> AbstractAsyncContextManager[None]:
    """A broker does its own work (see Broker.run) until the caller's is over."""
    return alongside(partial(broker.run, delivers=delivers), lambda: broker.epoch.finish())


async def _series(log: Log) -> str:
    """The log's series; a full log is opened without writing to it."""
    for _ in range(2):
        with log.view() as rows:
            series = tenancy.series(rows)
        if series is not None:
            return series
        await log.submit(administration.CreateLog(randomness.new_id()[:SERIES_CHARS]), app="")
    raise AssertionError("the log has no series")


async def _begin_epoch(broker: Broker) -> None:
    """A full log is opened without writing to it; the first connection tries again."""
    try:
        await broker.epoch.start()
    except BrokerError as error:
        logger.warning("connections cannot be held yet: %s", error)


async def _ensure_app(broker: Broker) -> None:
    if not broker.apps.list():
        await broker.apps.create(with_root_key=True)
