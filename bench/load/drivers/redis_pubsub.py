"""Redis PUBLISH and SUBSCRIBE: nothing is kept, and who is not there has missed it."""

import asyncio
from contextlib import AbstractAsyncContextManager

from redis.asyncio.connection import Connection as Wire
from redis.exceptions import ConnectionError as WireLost

from bench.load.driver import Ability, Address, Backend, Receive
from bench.load.drivers.answers import Answer, answer, asked, lose
from bench.load.drivers.opened import opened
from bench.load.drivers.redis_pipe import Pipe, connect, reply, wire
from bench.load.drivers.unable import Unable

NAME = "redis-pubsub"


class RedisPubSub:
    name = NAME
    backend: Backend = "asyncio"
    promise = "handed to those who are connected, kept nowhere"
    abilities: frozenset[Ability] = frozenset(("publish", "subscribe", "pause", "pipeline"))

    def __init__(self, address: Address) -> None:
        self._address = address

    def connect(self) -> AbstractAsyncContextManager["PubSubConnection"]:
        return opened(PubSubConnection(self._address))


class PubSubConnection(Unable):
    """Publishes on one connection and is subscribed on another, as RESP2 wants it; each is made
    when it is needed first."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._making = asyncio.Lock()
        self._pipe: Pipe | None = None
        self._subscribed: Wire | None = None
        self._reading: asyncio.Task[None] | None = None
        self._receivers: dict[bytes, Receive] = {}
        self._confirmed: dict[bytes, Answer] = {}
        self._goes_on = asyncio.Event()
        self._goes_on.set()

    async def publish(self, channel: str, body: bytes) -> None:
        if self._pipe is None:
            self._pipe = Pipe(self._address)
        await self._pipe.ask(b"PUBLISH", channel, body)

    async def subscribe(self, channel: str, receive: Receive) -> None:
        name = channel.encode()
        self._receivers[name] = receive
        subscribed = await self._subscribing()
        confirmed = self._confirmed[name] = asked()
        command = subscribed.pack_command(b"SUBSCRIBE", name)
        await subscribed.send_packed_command(command, check_health=False)
        await confirmed

    async def pause(self, is_paused: bool) -> None:
        if is_paused:
            self._goes_on.clear()
        else:
            self._goes_on.set()

    async def aclose(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        if self._subscribed is not None:
            await self._subscribed.disconnect(nowait=True)
        if self._pipe is not None:
            await self._pipe.close()

    async def _subscribing(self) -> Wire:
        async with self._making:
            if self._subscribed is None:
                made = wire(self._address)
                await connect(made)
                self._subscribed = made
                self._reading = asyncio.create_task(self._read(made))
            return self._subscribed

    async def _read(self, subscribed: Wire) -> None:
        try:
            while True:
                await self._goes_on.wait()
                kind, name, said = await reply(subscribed)
                if kind == b"message":
                    self._receivers[name](said)
                else:
                    answer(self._confirmed.pop(name))
        except WireLost:
            lose(self._confirmed.values())
