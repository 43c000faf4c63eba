"""A connection to Redis on which commands do not wait for each other.

redis-py gives each command that is under way a connection of its own, and pipelines what is known
beforehand only. Publishers that do not know of each other share one connection here, as they would
with a client that pipelines by itself: what is asked within one turn of the event loop leaves in
one write, and replies belong to commands in the order in which those were sent. Connection, packing
and parsing are redis-py's, with hiredis.
"""

import asyncio
import math
from collections import deque
from typing import Any

from redis.asyncio.connection import Connection as Wire
from redis.exceptions import ConnectionError as WireLost
from redis.exceptions import ResponseError

from bench.load.driver import Address, Refused
from bench.load.drivers.answers import Answer, answer, asked, lose

Argument = bytes | str | int


def wire(address: Address) -> Wire:
    """A connection that is not open yet, for the RESP that every Redis speaks."""
    return Wire(host=address.host, port=address.port, protocol=2, socket_timeout=None)


async def connect(made: Wire) -> None:
    await made.connect()  # type: ignore[no-untyped-call]


async def reply(connected: Wire) -> Any:
    """The next one, however long it takes. Raises ResponseError, WireLost."""
    return await connected.read_response(disable_decoding=True, timeout=math.inf)


class Pipe:
    """It connects by itself: what is asked before it has keeps its order."""

    def __init__(self, address: Address) -> None:
        self._wire = wire(address)
        self._unsent: list[bytes] = []
        self._has_unsent = asyncio.Event()
        self._unanswered: deque[Answer] = deque()
        self._is_lost = False
        self._connected = asyncio.create_task(connect(self._wire))
        self._tasks = [asyncio.create_task(self._send()), asyncio.create_task(self._receive())]

    async def connected(self) -> None:
        """Raises what redis-py does when there is nobody."""
        await asyncio.shield(self._connected)

    def ask(self, *command: Argument) -> Answer:
        """Its reply, to be awaited. Raises Refused when there is no connection; awaiting it raises
        Refused for an error and Unknown for a lost connection."""
        if self._is_lost:
            raise Refused("not connected")
        future = asked()
        self._unsent += self._wire.pack_command(*command)
        self._unanswered.append(future)
        self._has_unsent.set()
        return future

    async def close(self) -> None:
        tasks = (self._connected, *self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._lose()
        await self._wire.disconnect(nowait=True)

    async def _send(self) -> None:
        try:
            await self.connected()
            while True:
                await self._has_unsent.wait()
                self._has_unsent.clear()
                unsent, self._unsent = self._unsent, []
                await self._wire.send_packed_command(unsent, check_health=False)
        except WireLost:
            self._lose()

    async def _receive(self) -> None:
        try:
            await self.connected()
            while True:
                found = await self._reply()
                answer(self._unanswered.popleft(), found)
        except WireLost:
            self._lose()

    async def _reply(self) -> Any:
        try:
            return await reply(self._wire)
        except ResponseError as error:
            return Refused(str(error))

    def _lose(self) -> None:
        self._is_lost = True
        lose(self._unanswered)
        self._unanswered.clear()
