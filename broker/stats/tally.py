"""Counting what the log's tail brings: the path of every record, so it does next to nothing.

Messages are summed by stream, a look-up and two additions each; what that means for an app is
worked out once a minute, or when somebody asks (`settle`). Everything else is rarer, and counted
as it comes.

Counted is what clients did: not what the broker wrote (fixtures, leaves of connections that are
gone, metachannels). What a namespace persists is judged by its rules as they stand at `settle`.
"""

from collections.abc import Callable, Sequence

from broker.channels.meta import QUALIFIER
from broker.event import Kind
from broker.events import ChannelOpened, ConnectionOpened, MemberEntered, MemberLeft, MemberUpdated
from broker.stats.counters import (
    CHANNELS,
    CONNECTIONS,
    Counters,
    by_app,
    payload_size,
    without_zeros,
)
from storage import Record, Stream

STREAMS_MAX = 5_000  # that are summed apart before they are settled
_MESSAGE_KINDS = frozenset({int(Kind.MESSAGES), int(Kind.EPHEMERAL)})
_MEMBER_EVENTS = frozenset({MemberEntered, MemberUpdated, MemberLeft})
_OPENED: dict[type, str] = {
    ConnectionOpened: f"{CONNECTIONS}.opened",
    ChannelOpened: f"{CHANNELS}.opened",
}
_METACHANNEL = f"[{QUALIFIER}]"
# What is summed of a message stream, in this order: over connections, and without one.
_INBOUND = tuple(
    f"messages.inbound.{via}.messages.{metric}"
    for via in ("realtime", "rest")
    for metric in ("count", "data")
)
_REST = 2

Persisted = Callable[[str, str], bool]
"""Whether what is published to a channel of an app is persisted."""


class Tally:
    """The counts of one minute. `other`: sees every record that is no message."""

    def __init__(self, persisted: Persisted, other: Callable[[Record], None]) -> None:
        self._persisted = persisted
        self._other = other
        self._streams: dict[Stream, list[int]] = {}
        self._apps = by_app()

    @property
    def is_full(self) -> bool:
        return len(self._streams) >= STREAMS_MAX

    def count(self, records: Sequence[Record]) -> None:
        streams = self._streams
        for record in records:
            stream = record.stream
            sums = streams.get(stream)
            if sums is None:
                if stream.kind not in _MESSAGE_KINDS:
                    self._count_other(record)
                    continue
                sums = streams[stream] = [0, 0, 0, 0]
            event = record.event
            if event is None:
                continue
            message = event.message
            place = _REST if message.connection_id is None else 0
            sums[place] += 1
            data = message.data
            if data is not None:
                sums[place + 1] += len(data)

    def _count_other(self, record: Record) -> None:
        event, (app, channel, _) = record.event, record.stream
        kind = type(event)
        if kind in _MEMBER_EVENTS:
            self._count_presence(app, channel, event)
        elif kind in _OPENED:
            self._apps[app][_OPENED[kind]] += 1
        self._other(record)

    def _count_presence(
        self, app: str, channel: str, event: MemberEntered | MemberUpdated | MemberLeft
    ) -> None:
        if event.msg_serial is None:
            return
        counters, size = self._apps[app], payload_size(event.member)
        counters["messages.inbound.realtime.presence.count"] += 1
        counters["messages.inbound.realtime.presence.data"] += size
        if self._persisted(app, channel):
            counters["messages.persisted.presence.count"] += 1
            counters["messages.persisted.presence.data"] += size

    def settle(self) -> dict[str, Counters]:
        """What every app did, zeros left out; the tally begins again."""
        for (app, channel, kind), sums in self._streams.items():
            if not channel.startswith(_METACHANNEL):
                self._settle(app, channel, kind, sums)
        settled, self._streams, self._apps = self._apps, {}, by_app()
        return {app: without_zeros(counters) for app, counters in settled.items()}

    def _settle(self, app: str, channel: str, kind: int, sums: list[int]) -> None:
        counters = self._apps[app]
        for name, amount in zip(_INBOUND, sums, strict=True):
            counters[name] += amount
        if kind == Kind.MESSAGES and self._persisted(app, channel):
            counters["messages.persisted.messages.count"] += sums[0] + sums[_REST]
            counters["messages.persisted.messages.data"] += sums[1] + sums[_REST + 1]
