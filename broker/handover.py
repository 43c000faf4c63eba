"""A subscription whose reader is in another thread, and may give up waiting at any moment.

Messages are handed over in numbered batches. The reader says which it has received last: one that
was taken for a reader who had given up is given again, so none is lost or repeated.
"""

from collections import deque
from contextlib import AsyncExitStack
from typing import NamedTuple

import trio

from broker.broker import Broker
from broker.live.subscription import Subscription
from broker.messages.message import StoredMessage

BATCH_MAX = 100


class Batch(NamedTuple):
    """`messages`: the reader's own, to take from."""

    number: int
    messages: deque[StoredMessage]


class Handover:
    """Used in the broker's thread only. Made anywhere; `begin` subscribes."""

    def __init__(self, channel: str, app: str | None, rewind: int) -> None:
        self._channel = channel
        self._app = app
        self._rewind = rewind
        self._taking = trio.Lock()
        self._stack = AsyncExitStack()
        self._subscription: Subscription | None = None
        self._number = 0
        self._batch: list[StoredMessage] = []

    async def begin(self, broker: Broker) -> None:
        channel = broker.channel(self._channel, app=self._app)
        subscribing = channel.subscribe(rewind=self._rewind)
        self._subscription = await self._stack.enter_async_context(subscribing)

    async def take(self, received: int) -> Batch:
        """The messages behind batch `received`, at least one.
        Raises Unavailable 80017 when it is over."""
        assert self._subscription is not None
        async with self._taking:
            if received == self._number:
                self._batch = await self._subscription.some(BATCH_MAX)
                self._number += 1
            return Batch(self._number, deque(self._batch))

    async def end(self) -> None:
        """Whoever waits in `take` is told that it is over."""
        await self._stack.aclose()
