"""Work that many want at once is done once, and all get what came of it.

Invariant: at most one task works at a time. Whoever comes while it does waits for the same outcome,
a failure too: a gateway that is down is not asked by everyone in turn. Who works may be cancelled;
then one of those who wait takes over.
"""

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import trio

T = TypeVar("T")


class _Flight(Generic[T]):
    def __init__(self) -> None:
        self.landed = trio.Event()
        self.value: T | None = None
        self.error: Exception | None = None

    async def fly(self, work: Callable[[], Awaitable[T]]) -> None:
        try:
            self.value = await work()
        except Exception as error:
            self.error = error
        finally:
            self.landed.set()


class SingleFlight(Generic[T]):
    def __init__(self, work: Callable[[], Awaitable[T]]) -> None:
        self._work = work
        self._flight: _Flight[T] | None = None

    async def __call__(self) -> T:
        while True:
            flight = self._flight
            if flight is None:
                flight = self._flight = _Flight()
                try:
                    await flight.fly(self._work)
                finally:
                    self._flight = None
            else:
                await flight.landed.wait()
            if flight.error is not None:
                raise flight.error
            if flight.value is not None:
                return flight.value
