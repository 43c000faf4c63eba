"""What the operations of one run share: connections, channels, the ledger, and the latencies.

Everything is opened and subscribed before the clock starts. Channels have a name of their run's
own, so that a broker that has been used before holds none of it. What is due in the warm-up is done
and checked as all else, and only left out of the latencies and rates.
"""

from collections import defaultdict
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from random import Random
from typing import Any

import anyio

from bench.load.body import body, filler, now_ns
from bench.load.driver import Connection, Driver, Refused, SyncsPresence, Unknown
from bench.load.latency import Latencies
from bench.load.ledger import Ledger, Seen, Stream
from bench.load.options import Options, spread
from bench.load.result import DELIVERED

NS = 1_000_000_000
SLOW = "delivered to the slow"
_OPENED_AT_ONCE = 50
_SUBSCRIBED_S = 300


class Stage:
    """end_ns: when the last operation may be due. progress: counts whatever is finished. present:
    by channel, which clients are, None while that is not known. notified: when each accepted
    notification was due. delivered_ns: when a delivery was last waited for, after the end."""

    def __init__(self, driver: Driver, options: Options, name: str) -> None:
        self.driver = driver
        self.options = options
        self.random = Random(options.seed)
        self.ledger = Ledger()
        self.late = Latencies()
        self.latencies: defaultdict[str, Latencies] = defaultdict(Latencies)
        self.channels = [f"{name}-{number}" for number in range(options.channels)]
        self.publishers: list[Connection] = []
        self.subscribers: list[Connection] = []
        self.slow: list[Connection] = []
        self.more: dict[str, float] = {}
        self.present: dict[str, dict[str, bool | None]] = defaultdict(dict)
        self.notified: dict[int, int] = {}
        self.readers: list[Seen] = []
        self.start_ns = self.record_from_ns = self.end_ns = 0
        self.last_done_ns = self.delivered_ns = 0
        self.progress = 0
        self._filler = filler(options.size)

    async def open(self, stack: AsyncExitStack, *, watches: bool, publishes: bool) -> None:
        """Connects everybody. watches: subscribers are told of presence, too."""
        options = self.options
        if publishes:
            for _ in range(options.publishers):
                self.publishers.append(await stack.enter_async_context(self.driver.connect()))
        for _ in range(options.subscribers):
            self.subscribers.append(await stack.enter_async_context(self.driver.connect()))
        self.slow = self.subscribers[: round(options.slow * len(self.subscribers))]
        await self._subscribe(watches=watches)

    async def _subscribe(self, *, watches: bool) -> None:
        bound = anyio.Semaphore(_OPENED_AT_ONCE)
        async with anyio.create_task_group() as tasks:
            for number, mine in enumerate(spread(len(self.subscribers), len(self.channels))):
                await bound.acquire()
                tasks.start_soon(self._subscribe_one, number, mine, watches, bound)

    async def _subscribe_one(
        self, number: int, mine: range, watches: bool, bound: anyio.Semaphore
    ) -> None:
        try:
            with anyio.fail_after(_SUBSCRIBED_S):
                await self._subscribe_to(number, [self.channels[one] for one in mine], watches)
        except TimeoutError as error:
            raise Refused(
                f"subscriber {number} is not subscribed after {_SUBSCRIBED_S} s"
            ) from error
        bound.release()

    async def _subscribe_to(self, number: int, channels: Sequence[str], watches: bool) -> None:
        connection = self.subscribers[number]
        what = SLOW if number < len(self.slow) else DELIVERED
        for channel in channels:
            seen = self._reader(channel, f"subscriber {number}", what)
            await connection.subscribe(channel, seen.take)
            if watches:
                told = self._reader(presence_of(channel), f"subscriber {number}", what)
                if isinstance(connection, SyncsPresence):
                    connection.when_synced(channel, told.forgive)
                await connection.watch(channel, told.take)

    def _reader(self, channel: str, who: str, what: str) -> Seen:
        # the latencies are chosen when the clock starts: until then nothing counts
        reader = self.ledger.reader(channel, who, self.latencies[what])
        self.readers.append(reader)
        return reader

    def start(self) -> None:
        options = self.options
        self.start_ns = self.last_done_ns = now_ns()
        self.record_from_ns = self.start_ns + int(options.warm_up_s * NS)
        self.end_ns = self.record_from_ns + int(options.duration_s * NS)
        for reader in self.readers:
            reader.since_ns = self.record_from_ns

    def body(self, stream: Stream, sequence: int, due_ns: int) -> bytes:
        return body(stream.number, sequence, due_ns, self._filler)

    async def settle(
        self,
        what: str,
        stream: Stream,
        sequence: int,
        due_ns: int,
        asked: Coroutine[Any, Any, None],
    ) -> bool:
        """Awaits what was asked of the broker, and writes down what came of it; True when it was
        acknowledged. A cancelled one stays under way for ever: whether it happened is unknown."""
        try:
            await asked
        except (Refused, Unknown) as error:
            stream.fail(sequence, "refused" if isinstance(error, Refused) else "unknown")
            self.ledger.refuse(str(error))
        else:
            stream.acknowledge(sequence)
            self.done(what, due_ns)
            return True
        self.progress += 1
        return False

    def done(self, what: str, due_ns: int) -> None:
        self.progress += 1
        now = now_ns()
        if due_ns >= self.record_from_ns:
            self.last_done_ns = now
            self.latencies[what].record(now - due_ns)


def presence_of(channel: str) -> str:
    """What the ledger calls the presence events of a channel."""
    return f"{channel}, presence"
