"""Occupancy as it changes, for those who asked to be told (params occupancy, [meta] channels).

Attach and detach events only say that something changed; what is told are the metrics as they
stand. A metric that comes from or goes to zero is told at once, the rest after a pause, so that a
thousand attachments in a second are not a thousand messages to each of them.
"""

from collections.abc import Callable
from functools import partial

from broker.channels.occupancy import Occupancy, occupancy
from broker.event import Kind
from broker.events import WorkerEnded
from broker.live.connections import Connections
from broker.live.hub import ChannelKey, Hub
from broker.live.timers import Timers
from storage import Log, Record

Told = Callable[[str, Occupancy], None]
"""Called with a channel and its metrics."""
EVERY_CHANNEL = ""


class OccupancyFeed:
    def __init__(
        self, log: Log, hub: Hub, timers: Timers, connections: Connections, pause_ms: int
    ) -> None:
        self._log = log
        self._timers = timers
        self._connections = connections
        self._pause_ms = pause_ms
        self._listeners: dict[ChannelKey, dict[Told, None]] = {}
        self._last: dict[ChannelKey, Occupancy] = {}
        self._waiting: set[ChannelKey] = set()
        hub.watch(Kind.ATTACHMENTS, self._changed)
        hub.watch(Kind.PRESENCE, self._changed)
        hub.watch(Kind.CONNECTIONS, self._worker_ended)

    def now(self, app: str, channel: str) -> Occupancy:
        with self._log.view() as rows:
            return occupancy(rows, app, channel, self._connections.epoch)

    def add(self, app: str, channel: str, told: Told) -> None:
        """Tell `told` of every change on a channel, or on EVERY_CHANNEL of the app."""
        key = ChannelKey(app, channel)
        self._listeners.setdefault(key, {})[told] = None
        if channel != EVERY_CHANNEL and key not in self._last:
            self._last[key] = self.now(app, channel)

    def remove(self, app: str, channel: str, told: Told) -> None:
        key = ChannelKey(app, channel)
        listeners = self._listeners.get(key, {})
        listeners.pop(told, None)
        if not listeners:
            self._listeners.pop(key, None)
            self._last.pop(key, None)

    def _changed(self, record: Record) -> None:
        app, channel, _ = record.stream
        key = ChannelKey(app, channel)
        if not self._is_followed(key) or key in self._waiting:
            return
        now = self.now(app, channel)
        if _from_or_to_zero(self._last.get(key, Occupancy()), now):
            self._tell(key, now)
        else:
            self._waiting.add(key)
            self._timers.schedule(self._pause_ms, partial(self._pause_over, key))

    def _worker_ended(self, record: Record) -> None:
        """All that it had attached is gone, without an event for each."""
        if isinstance(record.event, WorkerEnded):
            for key in list(self._last):
                now = self.now(*key)
                if now != self._last.get(key):
                    self._tell(key, now)

    def _is_followed(self, key: ChannelKey) -> bool:
        return key in self._listeners or ChannelKey(key.app, EVERY_CHANNEL) in self._listeners

    def _pause_over(self, key: ChannelKey) -> None:
        self._waiting.discard(key)
        now = self.now(*key)
        if self._is_followed(key) and now != self._last.get(key):
            self._tell(key, now)

    def _tell(self, key: ChannelKey, now: Occupancy) -> None:
        self._last[key] = now
        for listening in (key, ChannelKey(key.app, EVERY_CHANNEL)):
            for told in list(self._listeners.get(listening, ())):
                told(key.channel, now)
        if now == Occupancy() and key not in self._listeners:
            del self._last[key]


def _from_or_to_zero(last: Occupancy, now: Occupancy) -> bool:
    names = Occupancy.__struct_fields__
    return any(bool(getattr(last, name)) != bool(getattr(now, name)) for name in names)
