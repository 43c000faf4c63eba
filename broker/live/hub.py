"""The hub: one task that tails the log and hands each channel's records to who follows it.

Followers never await each other: `offer` returns at once. What one cannot take it reads from the
log later (broker.live.follower, broker.live.subscription), so nothing is lost and nobody waits for
the slow.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import aclosing
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import Any, NamedTuple, Protocol

import trio

from broker.events import MessageAnnotated, MessageAppended, MessagePublished, MessageUpdated
from broker.interactions.showing import MessageShown
from broker.interactions.state import State
from broker.interactions.summaries import Summary
from broker.messages.message import Message
from storage import Log, Record

TURN_DELIVERIES = 200


class ChannelKey(NamedTuple):
    """`channel` is "" for what concerns the whole app."""

    app: str
    channel: str


class Sum(NamedTuple):
    """A message that was annotated. `summary`: what its annotations come to, where they are summed
    up."""

    message: Message
    summary: Summary | None


class Batch:
    """Records of one channel, in order: those of one commit, or of a page that was read again.

    `encoded`: what a protocol made of them, by variant, so that each is made once for everybody.
    `changes`: the records that change messages, by the serials of those; `states`: how those stand,
    as far as it was asked.
    `annotated`: the last annotation of each message that got some; `sums`: what they come to.
    """

    __slots__ = (
        "annotated",
        "changes",
        "encoded",
        "first",
        "last",
        "publishers",
        "records",
        "states",
        "sums",
    )

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records
        self.first = records[0].serial
        self.last = records[-1].serial
        self.encoded: dict[Any, Any] = {}
        self.publishers: set[str | None] = set()
        self.changes: dict[int, list[Record]] = {}
        self.states: dict[int, State | None] = {}
        self.annotated: dict[int, int] = {}
        self.sums: dict[int, Sum | None] = {}
        for record in records:
            if isinstance(record.event, MessagePublished):  # almost every record
                self.publishers.add(record.event.message.connection_id)
            else:
                self._note(record)

    def _note(self, record: Record) -> None:
        event = record.event
        self.publishers.add(_publisher(event))
        if isinstance(event, MessageAnnotated):
            self.annotated[event.of] = record.serial
        elif isinstance(event, MessageUpdated | MessageAppended | MessageShown):
            self.changes.setdefault(event.of, []).append(record)


def _publisher(event: Any) -> str | None:
    """The connection whose doing it is, of what is no publish."""
    if isinstance(event, MessageAnnotated):
        return event.annotation.connection_id
    if isinstance(event, MessageShown):
        return event.publisher
    sent = getattr(event, "sent", None)
    return sent[0] if sent else None


class Sink(Protocol):
    def offer(self, batch: Batch) -> None:
        """Called in the order of the log, and perhaps once more after `remove`; must not wait."""

    def close(self) -> None:
        """The log has ended."""


Watch = Callable[[Record], None]


class Hub:
    """Sinks by channel, and watchers by kind, fed by `run`. `position`: the serial of the last
    record that was handed on."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.position = log.position
        self._sinks: dict[ChannelKey, dict[Sink, None]] = {}
        self._watches: defaultdict[int, list[Watch]] = defaultdict(list)
        self._waiting: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()

    async def run(self) -> None:
        """Deliver until the log is closed or has failed."""
        async with aclosing(self._log.tail(self.position)) as tail:
            async for records in tail:
                await self._hand_on(records)
                self.position = records[-1].serial
                while self._waiting and self._waiting[0][0] <= self.position:
                    heappop(self._waiting)[2]()

    async def _hand_on(self, records: list[Record]) -> None:
        """Others have their turn between commits, and within the fan-out of a large one."""
        await trio.lowlevel.checkpoint()
        deliveries = 0
        for key, batch in self._batches(records):
            for sink in list(self._sinks.get(key, ())):
                sink.offer(batch)
                deliveries += 1
                if not deliveries % TURN_DELIVERIES:
                    await trio.lowlevel.checkpoint()

    def _batches(self, records: list[Record]) -> list[tuple[ChannelKey, Batch]]:
        by_channel: defaultdict[tuple[str, str], list[Record]] = defaultdict(list)
        for record in records:
            stream = record.stream
            key = stream[:2]  # equal to its ChannelKey, and cheaper to make
            if key in self._sinks and record.event is not None:
                by_channel[key].append(record)
            for watch in self._watches.get(stream.kind, ()):
                watch(record)
        return [(ChannelKey(*key), Batch(found)) for key, found in by_channel.items()]

    def after(self, serial: int, action: Callable[[], None]) -> None:
        """Run `action` once everything up to `serial` was handed on."""
        if serial <= self.position:
            action()
        else:
            heappush(self._waiting, (serial, next(self._order), action))

    def add(self, key: ChannelKey, sink: Sink) -> None:
        self._sinks.setdefault(key, {})[sink] = None

    def remove(self, key: ChannelKey, sink: Sink) -> None:
        sinks = self._sinks.get(key)
        if sinks is not None:
            sinks.pop(sink, None)
            if not sinks:
                del self._sinks[key]

    @property
    def followers(self) -> int:
        """How many sinks there are, each counted for every channel that it follows."""
        return sum(map(len, self._sinks.values()))

    def attached(self) -> dict[tuple[str, str], int]:
        """How many sinks follow each channel."""
        return {key: len(sinks) for key, sinks in self._sinks.items()}

    def watch(self, kind: int, watch: Watch) -> Callable[[], None]:
        """See every record of a kind, of all channels, until what this returns is called. For the
        broker's own parts."""
        watches = self._watches[kind]
        watches.append(watch)
        return partial(watches.remove, watch)

    def close(self) -> None:
        for sinks in self._sinks.values():
            for sink in sinks:
                sink.close()
