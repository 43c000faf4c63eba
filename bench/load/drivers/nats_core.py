"""NATS core: at most once, and nothing is acknowledged.

So that its publishes can be compared with others', one is over when the server has read it: when a
message to ourselves that was sent behind it has come back. One follows all publishes of a turn of
the event loop. That says nothing of whoever is subscribed.
"""

import asyncio
from contextlib import AbstractAsyncContextManager

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error

from bench.load.driver import Ability, Address, Backend, Receive, Refused
from bench.load.drivers import nats_client
from bench.load.drivers.opened import opened
from bench.load.drivers.unable import Unable

NAME = "nats-core"


class NatsCore:
    name = NAME
    backend: Backend = "asyncio"
    promise = "read by the server (NATS itself acknowledges nothing), kept nowhere"
    abilities: frozenset[Ability] = frozenset(("publish", "subscribe", "pause", "pipeline"))

    def __init__(self, address: Address) -> None:
        self._address = address

    def connect(self) -> AbstractAsyncContextManager["CoreConnection"]:
        return opened(CoreConnection(self._address))


class CoreConnection(Unable):
    def __init__(self, address: Address) -> None:
        self._address = address
        self._client = Client()
        self._echo = nats_client.Echo()
        self._next: asyncio.Task[None] | None = None  # of this turn of the event loop

    async def open(self) -> None:
        self._client = await nats_client.connected(self._address, self._echo.lose)
        await self._echo.open(self._client)

    async def publish(self, channel: str, body: bytes) -> None:
        try:
            await self._client.publish(channel, body)
        except Error as error:
            raise Refused(str(error)) from error
        if self._next is None:
            self._next = asyncio.create_task(self._read())
            self._next.add_done_callback(_told)
        await asyncio.shield(self._next)

    async def subscribe(self, channel: str, receive: Receive) -> None:
        async def received(message: Msg) -> None:
            receive(message.data)

        await nats_client.subscribe(self._client, channel, received)
        await self._echo.back()

    async def pause(self, is_paused: bool) -> None:
        nats_client.pause(self._client, is_paused)

    async def aclose(self) -> None:
        if self._client.is_connected:
            await self._client.close()

    async def _read(self) -> None:
        self._next = None  # what is published from now on needs another one
        await self._echo.back()


def _told(task: asyncio.Task[None]) -> None:
    """Whoever waited may have gone: nobody needs to hear of its error then."""
    if not task.cancelled():
        task.exception()
