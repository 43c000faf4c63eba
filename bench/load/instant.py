"""A broker in this process that acknowledges at once and delivers while it is published to.

What a workload does against it is all that the load generator could ever do: its own limit.
"""

from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import islice

from bench.load.driver import Ability, Backend, Receive


class Instant:
    """One broker; every connection of it shares its channels."""

    name = "instant"
    promise = "none: it is no broker"
    abilities: frozenset[Ability] = frozenset(
        ("publish", "subscribe", "history", "presence", "resume", "pause", "pipeline")
    )

    def __init__(self, backend: Backend = "trio", *, keeps: bool = True) -> None:
        """keeps: bodies, for their history."""
        self.backend: Backend = backend
        self.receivers: defaultdict[str, list[Receive]] = defaultdict(list)
        self.watchers: defaultdict[str, list[Receive]] = defaultdict(list)
        self.present: defaultdict[str, set[str]] = defaultdict(set)
        self.kept: defaultdict[str, list[bytes]] = defaultdict(list)
        self._keeps = keeps

    def publish(self, channel: str, body: bytes) -> None:
        self.keep(channel, body)
        for receive in self.receivers[channel]:
            receive(body)

    def keep(self, channel: str, body: bytes) -> None:
        if self._keeps:
            self.kept[channel].append(body)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator["InstantConnection"]:
        yield InstantConnection(self)


class InstantConnection:
    def __init__(self, broker: Instant) -> None:
        self._broker = broker

    async def publish(self, channel: str, body: bytes) -> None:
        self._broker.publish(channel, body)

    async def subscribe(self, channel: str, receive: Receive) -> None:
        self._broker.receivers[channel].append(receive)

    async def history(self, channel: str, limit: int) -> list[bytes]:
        return list(islice(reversed(self._broker.kept[channel]), limit))

    async def enter(self, channel: str, client_id: str, body: bytes) -> None:
        self._broker.present[channel].add(client_id)
        for receive in self._broker.watchers[channel]:
            receive(body)

    async def leave(self, channel: str, client_id: str, body: bytes) -> None:
        self._broker.present[channel].discard(client_id)
        for receive in self._broker.watchers[channel]:
            receive(body)

    async def watch(self, channel: str, receive: Receive) -> None:
        self._broker.watchers[channel].append(receive)

    async def members(self, channel: str) -> frozenset[str]:
        return frozenset(self._broker.present[channel])

    async def pause(self, is_paused: bool) -> None:
        pass

    async def cut(self) -> None:
        pass

    async def resume(self) -> None:
        pass

    async def aclose(self) -> None:
        pass
