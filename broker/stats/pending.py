"""Usage that was counted and is not recorded yet, by minute and app.

Bounded in minutes: where more than `MINUTES_MAX` wait, because the log takes no writes, the oldest
becomes part of the next. Amounts are never dropped, only told less precisely.
"""

from collections.abc import Iterable, Iterator

from broker.stats.counters import Counters, merge
from broker.stats.recording import MinuteCounts

MINUTES_MAX = 10


class Pending:
    def __init__(self) -> None:
        self._minutes: dict[int, dict[str, Counters]] = {}

    def __bool__(self) -> bool:
        return bool(self._minutes)

    @property
    def is_full(self) -> bool:
        """Whether a next minute would cost precision."""
        return len(self._minutes) >= MINUTES_MAX

    def add(self, app: str, minute_ms: int, counters: Counters) -> None:
        if minute_ms not in self._minutes and self.is_full:
            minute_ms = self._make_room(minute_ms)
        merge(self._minutes.setdefault(minute_ms, {}).setdefault(app, {}), counters)

    def _make_room(self, minute_ms: int) -> int:
        """The minute to add to instead: the oldest of all becomes part of the one behind it."""
        oldest = min(self._minutes)
        if minute_ms < oldest:
            return oldest
        joined = self._minutes.pop(oldest)
        following = min(minute_ms, *self._minutes)
        into = self._minutes.setdefault(following, {})
        for app, counters in joined.items():
            merge(into.setdefault(app, {}), counters)
        return minute_ms

    def give_back(self, minutes: Iterable[MinuteCounts]) -> None:
        """What was taken could not be recorded."""
        for minute in minutes:
            self.add(minute.app, minute.minute_ms, minute.counters)

    def apps(self, minute_ms: int) -> list[str]:
        """Who has counts of a minute."""
        return list(self._minutes.get(minute_ms, ()))

    def of(self, app: str) -> Iterator[MinuteCounts]:
        for minute_ms, apps in self._minutes.items():
            if app in apps:
                yield MinuteCounts(app, minute_ms, apps[app].copy())

    def take(self) -> tuple[MinuteCounts, ...]:
        """Everything, oldest minute first; nothing is left."""
        taken, self._minutes = self._minutes, {}
        return tuple(
            MinuteCounts(app, minute_ms, counters)
            for minute_ms in sorted(taken)
            for app, counters in taken[minute_ms].items()
        )

    def forget(self, app: str) -> None:
        """It was deleted."""
        for apps in self._minutes.values():
            apps.pop(app, None)
        self._minutes = {minute_ms: apps for minute_ms, apps in self._minutes.items() if apps}
