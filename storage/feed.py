"""The live end of the log: recent commits in memory, for those who tail it.

Lives on the event loop's thread. Bounded in records: a tail that falls behind the bound reads from
disk until it has caught up, so a slow one costs no memory and misses nothing.
"""

from collections import deque

import trio

from storage.record import Record


class Feed:
    """`publish` what was committed; `since` a position; `wait` for more."""

    def __init__(self, position: int, records_max: int) -> None:
        self._records_max = records_max
        self._commits: deque[list[Record]] = deque()
        self._held = 0
        self._forgotten = position
        self.position = position
        self._lot = trio.lowlevel.ParkingLot()

    def publish(self, records: list[Record]) -> None:
        if not records:
            return
        self.position = records[-1].serial
        self._commits.append(records)
        self._held += len(records)
        while self._held > self._records_max and len(self._commits) > 1:
            oldest = self._commits.popleft()
            self._held -= len(oldest)
            self._forgotten = oldest[-1].serial
        self.wake()

    def skip(self, position: int) -> None:
        """What lies between is not in the log any more."""
        self.position = max(self.position, position)
        self.forget()
        self.wake()

    def forget(self) -> None:
        """Records were taken out of the log: what tails are behind on comes from disk."""
        self._commits.clear()
        self._held = 0
        self._forgotten = self.position

    def since(self, position: int) -> list[Record] | None:
        """The records behind `position`; [] if there are none, None if only the disk has them."""
        if position >= self.position:
            return []
        if position < self._forgotten:
            return None
        found: list[list[Record]] = []
        for records in reversed(self._commits):
            if records[-1].serial <= position:
                break
            found.append(records)
        return [r for records in reversed(found) for r in records if r.serial > position]

    async def wait(self) -> None:
        await self._lot.park()

    def wake(self) -> None:
        self._lot.unpark_all()
