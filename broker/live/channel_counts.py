"""How much goes in and out of each channel, counted only while somebody asks again and again.

The first to ask begins the counting, and it ends when nobody has asked for COUNTED_FOR_MS: no
publish and no delivery pays for what nobody looks at. Counters only grow meanwhile; whoever wants a
rate takes the difference of two answers.

In: messages that were published. Out: messages passed on to realtime connections, as
`broker.stats.activity` counts them. Attachments are those of this process.

Bounded: CHANNELS_MAX are counted, those that come first; an answer has the busiest.
"""

import heapq
from collections.abc import Callable
from typing import NamedTuple

import trio

from broker.channels import presence
from broker.event import Kind
from broker.live.hub import Hub
from broker.live.timers import Timers
from broker.stats.activity import Activity
from broker.storage_errors import mapped
from storage import Log, Record, View

COUNTED_FOR_MS = 10_000
CHANNELS_MAX = 20_000
_NOTHING = (0, 0)
_KINDS = (Kind.MESSAGES, Kind.EPHEMERAL)

Key = tuple[str, str]
"""App and channel."""


class ChannelFigures(NamedTuple):
    app: str
    channel: str
    messages_in: int
    messages_out: int
    attachments: int
    members: int


class Busiest(NamedTuple):
    """`found`: how many channels there were to choose from."""

    channels: tuple[ChannelFigures, ...]
    found: int


class ChannelCounts:
    def __init__(self, log: Log, hub: Hub, timers: Timers, activity: Activity) -> None:
        self._log = log
        self._hub = hub
        self._timers = timers
        self._activity = activity
        self._counts: dict[Key, list[int]] = {}
        self._wanted_until = 0.0
        self._stop: list[Callable[[], None]] = []

    @property
    def is_counting(self) -> bool:
        return bool(self._stop)

    async def busiest(self, contains: str, limit: int) -> Busiest:
        """Channels that are attached, or had messages since counting began: of those whose names
        contain a text, in whatever case, the ones with the most messages, then attachments."""
        self._count_for_a_while()
        attached = self._hub.attached()
        counts = {key: (count[0], count[1]) for key, count in self._counts.items()}
        wanted = contains.casefold()

        def ask(view: View) -> Busiest:
            """On a thread: there may be very many channels."""
            found = [
                key for key in {**attached, **counts} if key[1] and wanted in key[1].casefold()
            ]
            chosen = heapq.nlargest(limit, found, key=rank)
            return Busiest(tuple(figures(view, key) for key in chosen), len(found))

        def rank(key: Key) -> tuple[int, int]:
            return sum(counts.get(key, _NOTHING)), attached.get(key, 0)

        def figures(view: View, key: Key) -> ChannelFigures:
            messages = counts.get(key, _NOTHING)
            members = presence.count(view, *key)
            return ChannelFigures(*key, *messages, attached.get(key, 0), members)

        with mapped():
            return await self._log.query(ask)

    def _count_for_a_while(self) -> None:
        self._wanted_until = trio.current_time() + COUNTED_FOR_MS / 1000
        if not self._stop:
            self._stop = [self._hub.watch(kind, self._published) for kind in _KINDS]
            self._activity.passed_on = self._passed_on
            self._timers.schedule(COUNTED_FOR_MS, self._stop_if_unwanted)

    def _stop_if_unwanted(self) -> None:
        left_s = self._wanted_until - trio.current_time()
        if left_s > 0:
            self._timers.schedule(left_s * 1000, self._stop_if_unwanted)
            return
        for stop in self._stop:
            stop()
        self._stop = []
        self._activity.passed_on = None
        self._counts = {}

    def _published(self, record: Record) -> None:
        if record.event is not None:
            self._add((record.stream.app, record.stream.channel), 0, 1)

    def _passed_on(self, key: Key, messages: int) -> None:
        self._add(key, 1, messages)

    def _add(self, key: Key, place: int, messages: int) -> None:
        counts = self._counts.get(key)
        if counts is None:
            if len(self._counts) >= CHANNELS_MAX:
                return
            counts = self._counts[key] = [0, 0]
        counts[place] += messages
