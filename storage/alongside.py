"""Work that goes on beside a caller's block of code, and ends with it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

Work = Callable[[], Awaitable[None]]


@asynccontextmanager
async def alongside(work: Work, finish: Work) -> AsyncIterator[None]:
    """`work` runs until the block is over and `finish` has returned. What the block raises is the
    caller's own: it is not wrapped in the group of a nursery that the caller knows nothing of."""
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(work)
        try:
            yield
        except Exception as error:
            failure = error
        await finish()
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
