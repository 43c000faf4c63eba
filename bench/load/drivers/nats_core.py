"""NATS core: at most once, and nothing is acknowledged.

So that its publishes can be compared with others', one is over when the server has read it: when it
has answered a PING that was sent behind it. One PING follows all publishes of a turn of the event
loop. That says nothing of whoever is subscribed.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error

from bench.load.driver import Ability, Address, Backend, Receive, Refused, Unknown
from bench.load.drivers import nats_client
from bench.load.drivers.unable import Unable

NAME = "nats-core"


class NatsCore:
    name = NAME
    backend: Backend = "asyncio"
    promise = "read by the server (a PONG: NATS itself acknowledges nothing), kept nowhere"
    abilities: frozenset[Ability] = frozenset(("publish", "subscribe", "pause", "pipeline"))

    def __init__(self, address: Address) -> None:
        self._address = address

    @asynccontextmanager
    async def connect(self) -> AsyncIterator["CoreConnection"]:
        connection = CoreConnection()
        await connection.open(self._address)
        try:
            yield connection
        finally:
            await connection.aclose()


class CoreConnection(Unable):
    def __init__(self) -> None:
        self._client = Client()
        self._next: asyncio.Task[None] | None = None  # of this turn of the event loop
        self._pings: set[asyncio.Task[None]] = set()

    async def open(self, address: Address) -> None:
        self._client = await nats_client.connected(address, self._lost)

    async def publish(self, channel: str, body: bytes) -> None:
        try:
            await self._client.publish(channel, body)
        except Error as error:
            raise Refused(str(error)) from error
        if self._next is None:
            self._next = asyncio.create_task(self._ping())
            self._pings.add(self._next)
            self._next.add_done_callback(self._pinged)
        await asyncio.shield(self._next)

    async def subscribe(self, channel: str, receive: Receive) -> None:
        async def received(message: Msg) -> None:
            receive(message.data)

        await nats_client.subscribe(self._client, channel, received)
        await self._client.flush(nats_client.FOR_EVER_S)

    async def pause(self, is_paused: bool) -> None:
        nats_client.pause(self._client, is_paused)

    async def aclose(self) -> None:
        await self._client.close()

    async def _ping(self) -> None:
        self._next = None  # what is published from now on needs another one
        try:
            await self._client.flush(nats_client.FOR_EVER_S)
        except (Error, asyncio.CancelledError) as error:
            raise Unknown("the connection was lost before this was answered") from error

    def _pinged(self, ping: asyncio.Task[None]) -> None:
        self._pings.discard(ping)
        ping.cancelled() or ping.exception()  # whoever waited may have gone

    def _lost(self) -> None:
        """nats-py waits for PONGs of a lost connection until its timeout."""
        for ping in list(self._pings):
            ping.cancel()
