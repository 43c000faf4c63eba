"""One lane for each endpoint: how many attempts at a time, and whether any make sense.

A provider that is slow, or down, fills its own lane and no other. After FAILURES_TO_OPEN failures
in a row its circuit opens: for a while nothing is tried, then one attempt is, and what comes of
that decides. Whoever finds a lane full waits a moment, and then comes another time.

Time is trio's, so that a test's clock moves it. Lanes are made as they are used and forgotten when
they are idle and healthy.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

AT_ONCE = 50  # attempts at one endpoint
PATIENCE_S = 2.0  # for a place in a lane
FAILURES_TO_OPEN = 5
OPEN_S_MIN, OPEN_S_MAX = 30.0, 300.0
PROBE_S = 1.0  # how long others wait while one is trying
LANES_MAX = 10_000


class Closed(Exception):
    """Nothing can be tried for about `for_s` seconds."""

    def __init__(self, for_s: float) -> None:
        super().__init__(f"closed for {for_s:.1f} s")
        self.for_s = for_s


class Lane:
    def __init__(self) -> None:
        self.failures = 0
        self._places = trio.CapacityLimiter(AT_ONCE)
        self._opened_until = 0.0
        self._open_s = OPEN_S_MIN
        self._is_probing = False

    @property
    def is_open(self) -> bool:
        """Whether its circuit is: nothing gets through."""
        return self._opened_until > trio.current_time()

    @property
    def is_idle(self) -> bool:
        return not self._places.borrowed_tokens and not self.failures

    @asynccontextmanager
    async def attempt(self) -> AsyncIterator[None]:
        """A place for one attempt, whose end `succeeded`, `failed` or `ended` is told. Raises
        Closed."""
        holder = object()
        with trio.move_on_after(PATIENCE_S) as waiting:
            await self._places.acquire_on_behalf_of(holder)
        if waiting.cancelled_caught:
            raise Closed(PATIENCE_S)
        try:
            self._pass()
            yield
        finally:
            self._places.release_on_behalf_of(holder)

    def _pass(self) -> None:
        if self.is_open:
            raise Closed(self._opened_until - trio.current_time())
        if self._is_probing:
            raise Closed(PROBE_S)
        self._is_probing = self.failures >= FAILURES_TO_OPEN

    def ended(self) -> None:
        """An attempt is over, and another says what came of it."""
        self._is_probing = False

    def succeeded(self) -> None:
        self.failures = 0
        self._open_s = OPEN_S_MIN
        self._is_probing = False

    def failed(self, at_once: bool = False) -> None:
        """`at_once`: one failure is enough, for it is the operator's to mend."""
        self._is_probing = False
        if self.is_open:  # others were on their way when it opened
            return
        self.failures = max(self.failures + 1, FAILURES_TO_OPEN if at_once else 0)
        if self.failures >= FAILURES_TO_OPEN:
            self._opened_until = trio.current_time() + self._open_s
            self._open_s = min(self._open_s * 2, OPEN_S_MAX)


class Lanes:
    def __init__(self) -> None:
        self._lanes: dict[str, Lane] = {}

    def __len__(self) -> int:
        return len(self._lanes)

    @property
    def open_circuits(self) -> list[str]:
        """The endpoints that nothing gets through to."""
        return sorted(name for name, lane in self._lanes.items() if lane.is_open)

    def lane(self, endpoint: str) -> Lane:
        found = self._lanes.get(endpoint)
        if found is None:
            if len(self._lanes) >= LANES_MAX:
                self._forget_idle()
            found = self._lanes[endpoint] = Lane()
        return found

    def _forget_idle(self) -> None:
        self._lanes = {name: lane for name, lane in self._lanes.items() if not lane.is_idle}
