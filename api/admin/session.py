"""Asking for operations, from a process that is not the broker.

`open_session` is the one place that decides how: over the admin socket if a broker runs on the
directory, else by opening the directory itself for as long as the session lasts. The same
operations, with the same results and errors, either way.

Two commands at once, or a broker that is just starting or stopping: the directory is in use and
there is no socket yet. That passes, so it is tried again for a while.
"""

import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import trio

import broker
from api.admin import audit, protocol, socket_file
from api.admin.audit import DIRECTORY, Actor
from broker import Broker, BrokerError, BrokerSettings, NotFound, Unavailable
from broker.errors import InUse

IN_USE_PATIENCE_S = 5
IN_USE_RETRY_S = 0.05
READ_BYTES = 64 * 1024


class Session(Protocol):
    async def call(self, operation: str, **arguments: Any) -> Any:
        """The operation's result. Raises its BrokerError."""


class DirectSession:
    """On a broker of this process."""

    def __init__(self, opened: Broker) -> None:
        self._broker = opened

    async def call(self, operation: str, **arguments: Any) -> Any:
        actor = Actor(os.getuid(), DIRECTORY)
        return await audit.run(self._broker, actor, operation, arguments)


class SocketSession:
    """On a broker that runs in another process."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._lines = protocol.Lines(protocol.REPLY_BYTES_MAX)

    async def call(self, operation: str, **arguments: Any) -> Any:
        await self._ask(operation, arguments)
        return (await self._reply())["result"]

    async def stream(self, operation: str, **arguments: Any) -> AsyncGenerator[Any, None]:
        """The items of a streaming operation, until it ends. The last thing on this session."""
        await self._ask(operation, arguments)
        while "end" not in (reply := await self._reply()):
            yield reply["item"]

    async def _ask(self, operation: str, arguments: dict[str, Any]) -> None:
        try:
            request = protocol.Request(operation, arguments)
            await self._stream.send_all(protocol.write_request(request))
        except trio.BrokenResourceError:
            raise _gone() from None

    async def _reply(self) -> dict[str, Any]:
        while (line := self._lines.next()) is None:
            try:
                data = await self._stream.receive_some(READ_BYTES)
            except trio.BrokenResourceError:
                data = b""
            if not data:
                raise _gone()
            self._lines.feed(bytes(data))
        return protocol.read_reply(line)


def _gone() -> BrokerError:
    return Unavailable("the broker ended before it answered: what was asked may or may not be done")


@asynccontextmanager
async def open_session(
    data: Path, settings: BrokerSettings, *, create: bool = False
) -> AsyncIterator[Session]:
    """Operations on a data directory, whoever has it open. Raises what `broker.open` raises.
    `create`: what holds no app is given one."""
    async with AsyncExitStack() as stack:
        yield await _open(stack, data, settings, create)


@asynccontextmanager
async def open_running(data: Path) -> AsyncIterator[SocketSession]:
    """Operations of the broker that runs on a directory. Raises NotFound if none does."""
    stream = await socket_file.connect(data)
    if stream is None:
        raise NotFound(f"no broker is running on {data}: start one with `tidelog serve`")
    async with stream:
        yield SocketSession(stream)


async def _open(
    stack: AsyncExitStack, data: Path, settings: BrokerSettings, create: bool
) -> Session:
    deadline = trio.current_time() + IN_USE_PATIENCE_S
    while True:
        stream = await socket_file.connect(data)
        if stream is not None:
            return SocketSession(await stack.enter_async_context(stream))
        try:
            opening = broker.open(
                data, settings=settings, create_app=create, hold_connections=False
            )
            return DirectSession(await stack.enter_async_context(opening))
        except InUse:
            if trio.current_time() > deadline:
                raise
        await trio.sleep(IN_USE_RETRY_S)
