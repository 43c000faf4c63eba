"""Redis Streams: XADD, and every subscriber reads on from the last id it has.

A subscriber is a position, not a registration: `subscribe` looks up the last id of the stream and
is in force from then on, though nothing reads yet. One XREAD waits for all channels of a
connection. It cannot be told of another one while it waits, so it waits for a stream of the
connection's own too, and an entry there makes it begin again.
"""

import asyncio
from contextlib import AbstractAsyncContextManager
from itertools import count
from typing import Any

from redis.asyncio.connection import Connection as Wire
from redis.exceptions import ConnectionError as WireLost

from bench.load.driver import Ability, Address, Backend, Receive
from bench.load.drivers.opened import opened
from bench.load.drivers.redis_pipe import Pipe, connect, reply, wire
from bench.load.drivers.unable import Unable

NAME = "redis-streams"
PROMISES = {
    "always": "fsynced",
    "everysec": "in the page cache, fsynced within a second",
}
_FIELD = b"b"
_START = b"0-0"
_ENTRIES_MAX = 1_000  # of each stream in one reply
_numbers = count(1)


class RedisStreams:
    """appendfsync: as the server is configured."""

    backend: Backend = "asyncio"
    abilities: frozenset[Ability] = frozenset(
        ("publish", "subscribe", "history", "resume", "pause", "pipeline")
    )

    def __init__(self, name: str, address: Address, appendfsync: str) -> None:
        self.name = name
        self.promise = PROMISES[appendfsync]
        self._address = address

    def connect(self) -> AbstractAsyncContextManager["StreamsConnection"]:
        return opened(StreamsConnection(self._address))


class StreamsConnection(Unable):
    def __init__(self, address: Address) -> None:
        self._address = address
        self._pipe: Pipe | None = None
        self._reading: asyncio.Task[None] | None = None
        self._receivers: dict[bytes, Receive] = {}
        self._last: dict[bytes, bytes] = {}  # the id that was received last, by channel
        self._begin_again = b"bench:wake:%d" % next(_numbers)
        self._goes_on = asyncio.Event()
        self._goes_on.set()

    async def publish(self, channel: str, body: bytes) -> None:
        await self._asking.ask(b"XADD", channel, b"*", _FIELD, body)

    async def subscribe(self, channel: str, receive: Receive) -> None:
        name = channel.encode()
        newest = await self._asking.ask(b"XREVRANGE", name, b"+", b"-", b"COUNT", 1)
        self._last[name] = newest[0][0] if newest else _START
        self._receivers[name] = receive
        if self._reading is None:
            self._last[self._begin_again] = _START
            self._reading = asyncio.create_task(self._read())
        else:
            await self._asking.ask(b"XADD", self._begin_again, b"MAXLEN", 1, b"*", _FIELD, b"")

    async def history(self, channel: str, limit: int) -> list[bytes]:
        found = await self._asking.ask(b"XREVRANGE", channel, b"+", b"-", b"COUNT", limit)
        return [fields[1] for _, fields in found]

    async def pause(self, is_paused: bool) -> None:
        """What is not asked for stays in the stream."""
        if is_paused:
            self._goes_on.clear()
        else:
            self._goes_on.set()

    async def cut(self) -> None:
        await self.aclose()

    async def open(self) -> None:
        await self.resume()

    async def resume(self) -> None:
        self._pipe = Pipe(self._address)
        await self._pipe.connected()
        if self._receivers:
            self._reading = asyncio.create_task(self._read())

    async def aclose(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        if self._pipe is not None:
            await self._pipe.close()

    @property
    def _asking(self) -> Pipe:
        assert self._pipe is not None
        return self._pipe

    async def _read(self) -> None:
        waiting = wire(self._address)
        try:
            await connect(waiting)
            while True:
                await self._goes_on.wait()
                self._take(await self._next(waiting))
        except WireLost:
            pass  # until it is resumed
        finally:
            await waiting.disconnect(nowait=True)

    async def _next(self, waiting: Wire) -> Any:
        names = list(self._last)
        positions = list(self._last.values())
        waits = (b"XREAD", b"COUNT", _ENTRIES_MAX, b"BLOCK", 0, b"STREAMS")
        await waiting.send_packed_command(waiting.pack_command(*waits, *names, *positions))
        return await reply(waiting)

    def _take(self, streams: Any) -> None:
        for name, entries in streams:
            self._last[name] = entries[-1][0]
            receive = self._receivers.get(name)
            if receive is not None:
                for _, fields in entries:
                    receive(fields[1])
