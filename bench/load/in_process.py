"""Tidelog as a library: the broker is opened in the load generator's own process.

So processor time cannot be told apart, and both share an interpreter lock: it shows what an
embedding program gets, not what the broker could do alone.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

import broker
from bench.load.driver import Ability, Backend, Connection, Receive, Refused, Unknown
from bench.load.drivers.unable import Unable
from broker import BadRequest, Broker, BrokerError, HistoryQuery

_PAGE_MAX = 1_000


class InProcess:
    """The first connection opens the broker, and must be the last that is closed."""

    name = "in-process"
    promise = "fsynced"
    backend: Backend = "trio"
    abilities: frozenset[Ability] = frozenset(("publish", "subscribe", "history", "pipeline"))

    def __init__(self, data: Path) -> None:
        self._data = data
        self._opened: Broker | None = None

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection]:
        if self._opened is not None:
            async with _connection(self._opened) as made:
                yield made
            return
        async with broker.open(self._data) as opened:
            self._opened = opened
            try:
                async with _connection(opened) as made:
                    yield made
            finally:
                self._opened = None


@asynccontextmanager
async def _connection(opened: Broker) -> AsyncIterator[Connection]:
    async with trio.open_nursery() as nursery:
        yield _InProcessConnection(opened, nursery)
        nursery.cancel_scope.cancel()


class _InProcessConnection(Unable):
    def __init__(self, opened: Broker, nursery: trio.Nursery) -> None:
        self._broker = opened
        self._nursery = nursery

    async def publish(self, channel: str, body: bytes) -> None:
        try:
            await self._broker.channel(channel).publish(data=body.decode())
        except BadRequest as error:
            raise Refused(str(error)) from error
        except BrokerError as error:
            raise Unknown(str(error)) from error

    async def subscribe(self, channel: str, receive: Receive) -> None:
        await self._nursery.start(self._deliver, channel, receive)

    async def _deliver(
        self, channel: str, receive: Receive, task_status: trio.TaskStatus[None]
    ) -> None:
        async with self._broker.channel(channel).subscribe() as messages:
            task_status.started()
            async for message in messages:
                receive(str(message.data).encode())

    async def history(self, channel: str, limit: int) -> list[bytes]:
        found: list[bytes] = []
        query: HistoryQuery | None = HistoryQuery(limit=min(limit, _PAGE_MAX))
        while query is not None and len(found) < limit:
            page = await self._broker.channel(channel).history_page(query)
            found += [str(message.data).encode() for message in page.messages]
            query = page.next
        return found[:limit]

    async def aclose(self) -> None:
        self._nursery.cancel_scope.cancel()
