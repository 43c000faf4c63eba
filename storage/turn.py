"""What is to be done once, when every task that is ready has had its turn.

A task of trio's own, woken as tasks wake each other: half of what `run_sync_soon` costs on the
event loop's own thread, which would write to a socket and read it again to wake the loop it is on.
"""

from collections.abc import Callable

import trio


class EndOfTurn:
    """Calls `action`, which must not raise, once for all the calls of `soon` in a turn."""

    def __init__(self, action: Callable[[], None]) -> None:
        self._action = action
        self._is_due = False
        self._is_closed = False
        self._lot = trio.lowlevel.ParkingLot()
        trio.lowlevel.spawn_system_task(self._run)

    def soon(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._lot.unpark()

    def close(self) -> None:
        self._is_closed = True
        self._lot.unpark()

    async def _run(self) -> None:
        while not self._is_closed:
            if not self._is_due:
                await self._lot.park()
            if self._is_due:
                self._is_due = False
                self._action()
