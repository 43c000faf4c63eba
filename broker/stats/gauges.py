"""How many connections are live and channels active: peak, minimum and samples, minute by minute.

Moved by the events of this epoch. What the last one held counts as gone, so connections begin at
none; channels begin at those that are active then. Of the minute in which a process was killed,
the gauges are lost with it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable

from broker.events import (
    ChannelClosed,
    ChannelOpened,
    ConnectionClosed,
    ConnectionExpired,
    ConnectionLost,
    ConnectionOpened,
    ConnectionResumed,
)
from broker.stats.counters import CHANNELS, CONNECTIONS, Counters


class Gauge:
    """A level: `now`, and its extremes since `restart`."""

    __slots__ = ("low", "now", "peak")

    def __init__(self, now: int = 0) -> None:
        self.now = self.low = self.peak = now

    def move(self, now: int) -> None:
        self.now = now
        self.low = min(self.low, now)
        self.peak = max(self.peak, now)

    def restart(self) -> None:
        self.low = self.peak = self.now


class Gauges:
    def __init__(self) -> None:
        self._live: defaultdict[str, set[str]] = defaultdict(set)
        self._connections: defaultdict[str, Gauge] = defaultdict(Gauge)
        self._channels: defaultdict[str, Gauge] = defaultdict(Gauge)

    def start(self, active: Iterable[tuple[str, str]]) -> None:
        """`active`: (app, channel) of what is active now."""
        for app, count in Counter(app for app, _ in active).items():
            self._channels[app] = Gauge(count)

    def moved(self, app: str, event: object) -> None:
        match event:
            case ConnectionOpened(id_) | ConnectionResumed(id_):
                self._live[app].add(id_)
                self._connections[app].move(len(self._live[app]))
            case ConnectionLost(id_) | ConnectionClosed(id_) | ConnectionExpired(id_):
                self._ended(app, id_)
            case ChannelOpened():
                self._channels[app].move(self._channels[app].now + 1)
            case ChannelClosed() if app in self._channels:
                self._channels[app].move(self._channels[app].now - 1)

    def _ended(self, app: str, connection: str) -> None:
        """A connection may end twice: lost, then expired. One of another epoch never began."""
        if connection in self._live.get(app, ()):
            self._live[app].remove(connection)
            self._connections[app].move(len(self._live[app]))

    def apps(self) -> set[str]:
        """Who had a connection or an active channel in this minute."""
        return {*self._connections, *self._channels}

    def counters(self, app: str) -> Counters:
        """Of this minute so far, as if it ended now."""
        found: Counters = {}
        for name, gauges in ((CONNECTIONS, self._connections), (CHANNELS, self._channels)):
            gauge = gauges.get(app) or Gauge()
            values = {"peak": gauge.peak, "total": gauge.now, "samples": 1}
            found |= {f"{name}.{metric}": value for metric, value in values.items() if value}
            found[f"{name}.min"] = gauge.low
        return found

    def next_minute(self) -> None:
        for gauges in (self._connections, self._channels):
            for app in list(gauges):
                gauges[app].restart()
                if not gauges[app].now:
                    del gauges[app]
        for app in [app for app, live in self._live.items() if not live]:
            del self._live[app]

    def forget(self, app: str) -> None:
        """It was deleted."""
        for known in (self._live, self._connections, self._channels):
            known.pop(app, None)
