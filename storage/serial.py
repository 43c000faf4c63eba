"""Serials: a hybrid logical clock in 64 bits, one order over everything in a log.

    44 bits milliseconds | 10 bits counter (0-999) | 10 bits index (0-999)

One command takes one (milliseconds, counter) and numbers its events with the index, so a time range
is a key range and the events of one command are neighbours. Serials only grow: across restarts,
backward clock steps and bursts. They then run ahead of the wall clock, by at most
`serial_lead_ms_max`; past that, writing is refused rather than stamping the far future.

The three decimal digits of counter and index are what the wire format has room for
(reference: 3.8); the bits allow 1,024 and we use 1,000.
"""

from collections.abc import Callable
from threading import Lock

from storage.errors import ClockBehind

COUNTER_MAX = 999
INDEX_MAX = 999
_TOLD = COUNTER_MAX + 1  # the counter of a millisecond that `read` told: it has no serials
_COUNTER_SHIFT = 10
_MS_SHIFT = 20
INDEX_MASK = (1 << 10) - 1
SERIAL_MAX = (1 << 64) - 1
MS_MAX = (1 << 44) - 1  # the year 2527


def pack(ms: int, counter: int = 0, index: int = 0) -> int:
    return ms << _MS_SHIFT | counter << _COUNTER_SHIFT | index


def unpack(serial: int) -> tuple[int, int, int]:
    """serial -> (milliseconds since the epoch, counter, index)."""
    return serial >> _MS_SHIFT, serial >> _COUNTER_SHIFT & INDEX_MASK, serial & INDEX_MASK


def ms_of(serial: int) -> int:
    return serial >> _MS_SHIFT


def first_at(ms: int) -> int:
    """The smallest serial of a millisecond: an inclusive lower bound."""
    return min(ms, MS_MAX) << _MS_SHIFT


def last_at(ms: int) -> int:
    """The largest serial of a millisecond: an inclusive upper bound."""
    return (min(ms, MS_MAX) + 1 << _MS_SHIFT) - 1


class HybridClock:
    """Hands out serials in order. `wall` returns milliseconds since the epoch.

    `next` is the writer thread's; `read` may be called from any thread.
    """

    def __init__(self, wall: Callable[[], int], last: int, lead_ms_max: int) -> None:
        self._wall = wall
        self._lead_ms_max = lead_ms_max
        self._ms, self._counter, _ = unpack(last)
        self._lock = Lock()

    def next(self) -> int:
        """The base serial (index 0) of the next command, greater than all before it."""
        with self._lock:
            wall = self._wall()
            if wall > self._ms:
                self._ms, self._counter = wall, 0
                return wall << _MS_SHIFT
            ms, counter = self._ms, self._counter + 1
            if counter > COUNTER_MAX:
                ms, counter = ms + 1, 0
            if ms - wall > self._lead_ms_max:
                raise ClockBehind(
                    f"the wall clock is {ms - wall} ms behind the last serial, more than "
                    f"serial_lead_ms_max={self._lead_ms_max}: set the clock right"
                )
            self._ms, self._counter = ms, counter
            return ms << _MS_SHIFT | counter << _COUNTER_SHIFT

    def advance(self, last: int) -> None:
        """Serials up to `last` are taken: an import wrote them."""
        with self._lock:
            self._ms, self._counter = max((self._ms, self._counter), unpack(last)[:2])

    def now(self) -> int:
        """The wall clock in ms, or the last serial's if that is ahead. Tells nobody, unlike
        `read`."""
        with self._lock:
            return max(self._wall(), self._ms)

    def read(self) -> int:
        """The time in ms, such that every earlier serial is before it and every later one after
        it: a range that begins or ends here includes no neighbour (reference: 1.6.2)."""
        with self._lock:
            wall = self._wall()
            if wall > self._ms:
                self._ms = wall
            elif self._counter != _TOLD:
                self._ms += 1
            self._counter = _TOLD
            return self._ms
