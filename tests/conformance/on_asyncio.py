"""ably-python runs on asyncio, our tests on trio: these tests bring their own event loop."""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any


def on_asyncio(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def main() -> None:
            async with asyncio.timeout(60):
                await test(*args, **kwargs)

        asyncio.run(main())

    return run
