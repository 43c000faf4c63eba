"""One lane for each endpoint: how many attempts at a time, and whether any make sense.

A provider that is slow, or down, fills its own lane and no other. After FAILURES_TO_OPEN failures
in a row its circuit opens: for a while nothing is tried, then one attempt is, and what comes of
that decides. Whoever finds a lane full waits a moment, and then comes another time.

Time is trio's, so that a test's clock moves it.

Bounded, whatever endpoints users name: lanes are made as they are used, and where there are
LANES_MAX, those at rest are forgotten, first the healthy ones, then those that may be tried the
soonest. So an endpoint that is down may be asked sooner than it would be, and where all lanes are
in use, whoever needs another comes another time.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import trio

AT_ONCE = 50  # attempts at one endpoint
PATIENCE_S = 2.0  # for a place
FAILURES_TO_OPEN = 5
OPEN_S_MIN, OPEN_S_MAX = 30.0, 300.0
PROBE_S = 1.0  # how long others wait while one is trying
LANES_MAX = 10_000
LANES_KEPT_SHARE = 0.9  # when there are too many, so that not each new one looks at all


class Closed(Exception):
    """Nothing can be tried for about `for_s` seconds."""

    def __init__(self, for_s: float) -> None:
        super().__init__(f"closed for {for_s:.1f} s")
        self.for_s = for_s


class Places:
    """So many at a time; who has waited for PATIENCE_S goes away."""

    def __init__(self, count: int) -> None:
        self._limiter = trio.CapacityLimiter(count)

    @property
    def taken(self) -> int:
        return self._limiter.borrowed_tokens

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Raises Closed."""
        holder = object()
        await self._take(holder)
        try:
            yield
        finally:
            self._limiter.release_on_behalf_of(holder)

    async def _take(self, holder: object) -> None:
        with suppress(trio.WouldBlock):
            self._limiter.acquire_on_behalf_of_nowait(holder)
            return
        with trio.move_on_after(PATIENCE_S) as waiting:
            await self._limiter.acquire_on_behalf_of(holder)
        if waiting.cancelled_caught:
            raise Closed(PATIENCE_S)


class Lane:
    def __init__(self) -> None:
        self.failures = 0
        self._places = Places(AT_ONCE)
        self._opened_until = 0.0
        self._open_s = OPEN_S_MIN
        self._probe: object | None = None

    @property
    def is_open(self) -> bool:
        """Whether its circuit is: nothing gets through."""
        return self._opened_until > trio.current_time()

    @property
    def is_at_rest(self) -> bool:
        """Whether nobody is in it; then nobody waits for a place either."""
        return not self._places.taken

    @property
    def worth(self) -> tuple[bool, float]:
        """How much would be forgotten with it."""
        return self.failures > 0, self._opened_until

    @asynccontextmanager
    async def attempt(self) -> AsyncIterator[None]:
        """A place for one attempt, of whose end `succeeded` or `failed` is told; neither, where it
        said nothing of the endpoint. Raises Closed."""
        async with self._places.one():
            me = object()
            self._pass(me)
            try:
                yield
            finally:
                if self._probe is me:  # it decided nothing: the next one may
                    self._probe = None

    def _pass(self, who: object) -> None:
        if self.is_open:
            raise Closed(self._opened_until - trio.current_time())
        if self._probe is not None:
            raise Closed(PROBE_S)
        if self.failures >= FAILURES_TO_OPEN:
            self._probe = who

    def succeeded(self) -> None:
        self.failures = 0
        self._open_s = OPEN_S_MIN
        self._probe = None

    def failed(self, at_once: bool = False) -> None:
        """`at_once`: one failure is enough, for it is the operator's to mend."""
        self._probe = None
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
        """Raises Closed where all that there may be are in use."""
        found = self._lanes.get(endpoint)
        if found is None:
            if len(self._lanes) >= LANES_MAX:
                self._forget()
            if len(self._lanes) >= LANES_MAX:
                raise Closed(PATIENCE_S)
            found = self._lanes[endpoint] = Lane()
        return found

    def _forget(self) -> None:
        """The healthy ones at rest, and of the others at rest as many as it takes."""
        at_rest = [(lane.worth, name) for name, lane in self._lanes.items() if lane.is_at_rest]
        kept = int(LANES_MAX * LANES_KEPT_SHARE)
        for (is_failing, _), name in sorted(at_rest):
            if is_failing and len(self._lanes) <= kept:
                return
            del self._lanes[name]
