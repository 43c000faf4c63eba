"""A connection of an asyncio driver, from its opening to its end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

import anyio


class Opening(Protocol):
    async def open(self) -> None: ...
    async def aclose(self) -> None: ...


Opened = TypeVar("Opened", bound=Opening)


@asynccontextmanager
async def opened(connection: Opened) -> AsyncIterator[Opened]:
    """Closed whatever ends the block, a deadline too."""
    try:
        await connection.open()
        yield connection
    finally:
        with anyio.CancelScope(shield=True):
            await connection.aclose()
