"""An Ably endpoint as a driver: all over a WebSocket, or publishing over REST."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bench.load.ably.endpoint import Endpoint
from bench.load.ably.realtime import ABILITIES, RealtimeConnection, connect
from bench.load.ably.rest import Rest, rest
from bench.load.driver import Ability, Backend, Connection

_READS_AT_ONCE = 8


@dataclass(frozen=True)
class OverWebSocket:
    name: str
    promise: str
    endpoint: Endpoint
    backend: Backend = "trio"
    abilities: frozenset[Ability] = ABILITIES

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection]:
        async with (
            rest(self.endpoint, _READS_AT_ONCE) as client,
            connect(self.endpoint, client) as made,
        ):
            yield made


@dataclass(frozen=True)
class OverRest:
    """Requests of one connection that are under way together have no order, so each waits for the
    one before it. Subscribing is over a WebSocket all the same."""

    name: str
    promise: str
    endpoint: Endpoint
    backend: Backend = "trio"
    abilities: frozenset[Ability] = ABILITIES - {"pipeline"}

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection]:
        async with (
            rest(self.endpoint, _READS_AT_ONCE) as client,
            connect(self.endpoint, client) as made,
        ):
            yield _PublishingOverRest(made, client)


class _PublishingOverRest:
    def __init__(self, realtime: RealtimeConnection, client: Rest) -> None:
        self.publish = client.publish
        self.subscribe = realtime.subscribe
        self.history = realtime.history
        self.enter = realtime.enter
        self.leave = realtime.leave
        self.watch = realtime.watch
        self.when_synced = realtime.when_synced
        self.members = realtime.members
        self.pause = realtime.pause
        self.cut = realtime.cut
        self.resume = realtime.resume
        self.aclose = realtime.aclose
