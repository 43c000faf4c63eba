"""What an SDK tells a listener, in order, for a test to wait on and to read once.

Reading moves on: what a wait has returned, no later wait returns again. So a scenario reads like
the story it tells, and an event that should not have come is found by the next wait.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

T = TypeVar("T")
WITHIN_S = 30


class Observed(Generic[T]):
    def __init__(self, what: str) -> None:
        self.what = what
        self.loop = asyncio.get_running_loop()
        self.items: list[T] = []
        self._read = 0
        self._grown = asyncio.Event()

    def add(self, item: T) -> None:
        self.items.append(item)
        self._grown.set()

    @property
    def unread(self) -> list[T]:
        return self.items[self._read :]

    async def until(self, test: Callable[[T], bool], within_s: float = WITHIN_S) -> list[T]:
        """All that came since the last wait, up to and with the first that passes."""
        at = self._read
        async with self._waiting(within_s):
            while True:
                await self._grow_beyond(at)
                at += 1
                if test(self.items[at - 1]):
                    return self._take(at)

    async def take(self, count: int) -> list[T]:
        """The next `count`."""
        until = self._read + count
        async with self._waiting(WITHIN_S):
            await self._grow_beyond(until - 1)
        return self._take(until)

    async def first(self, test: Callable[[T], bool], within_s: float = WITHIN_S) -> T:
        return (await self.until(test, within_s))[-1]

    async def one(self) -> T:
        """Whatever comes next."""
        return (await self.take(1))[0]

    @asynccontextmanager
    async def _waiting(self, within_s: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(within_s):
                yield
        except TimeoutError:
            unread = f"{len(self.unread)} unread, the last: {self.unread[-5:]}"
            raise AssertionError(f"{self.what}: waited in vain; {unread}") from None

    async def _grow_beyond(self, position: int) -> None:
        while position >= len(self.items):
            self._grown.clear()
            await self._grown.wait()

    def _take(self, until: int) -> list[T]:
        taken = self.items[self._read : until]
        self._read = until
        return taken
