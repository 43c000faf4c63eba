"""ably-python runs on asyncio, our tests on trio: these tests bring their own event loop."""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

Test = Callable[..., Awaitable[None]]
WITHIN_S = 120


def on_asyncio(test: Test | None = None, *, within_s: float = WITHIN_S) -> Any:
    """With or without arguments."""
    if test is None:
        return functools.partial(on_asyncio, within_s=within_s)

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def main() -> None:
            async with asyncio.timeout(within_s):
                await test(*args, **kwargs)

        asyncio.run(main())

    return run
