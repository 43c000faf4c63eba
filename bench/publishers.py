"""Tidelog as a contender: publishers that wait for their acknowledgement before they go on.

`Tidelog` goes through the broker's own path, `Broker.append`, with every projection on. `Bare` is a
log with a domain that has no projection and no meaning: what the storage alone can do.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, NamedTuple

import trio

import broker
from bench.acknowledged import Acknowledged, Stored, Wrong, number_of, payload
from bench.measuring import Contender, Sample, busy_thread, handed_to_write, switch_interval
from broker import Broker, Message
from broker.clock import wall_clock
from broker.event import Kind
from broker.events import MessagePublished
from broker.messages import serials
from broker.messages.publish import Checked, size_bytes
from broker.messages.publishing import Publish
from storage import Decision, Domain, Log, Record, Rows, Stream, open_log
from storage.engine import Reader
from storage.reading import read_after

_CHANNELS_AT_ONCE = 1_000


class _Publishing:
    """The turns of publishers on one log, and the check of what they were told."""

    def __init__(self, name: str, log: Log, batch: int = 1) -> None:
        self.name = name
        self.log = log
        self._batch = batch
        self._next = 0

    async def publish(self, numbers: Sequence[int]) -> Sequence[Any]:
        """Publish the messages of these numbers; returns what `serial` takes, for each."""
        raise NotImplementedError

    def serial(self, acknowledged: Any) -> int:
        """The serial that was acknowledged; read off the clock."""
        raise NotImplementedError

    def stored(self, record: Record) -> Stored | None:
        """The message that a record holds, None when it holds none."""
        raise NotImplementedError

    async def turn(self, publishers: int, seconds: float) -> Sample:
        latencies: list[float] = []
        acknowledged = Acknowledged()
        position = self.log.position
        commits, written = self.log.metrics.commits, handed_to_write()
        cpu, began = process_time(), perf_counter()
        async with trio.open_nursery() as nursery:
            for _ in range(publishers):
                nursery.start_soon(self._publisher, began + seconds, latencies, acknowledged)
        sample = Sample(
            messages=len(latencies) * self._batch,
            seconds=perf_counter() - began,
            cpu_seconds=process_time() - cpu,
            written_bytes=handed_to_write() - written,
            commits=self.log.metrics.commits - commits,
            latencies=latencies,
        )
        acknowledged.check([found async for found in self._log_since(position)])
        return sample

    async def _publisher(
        self, until: float, latencies: list[float], acknowledged: Acknowledged
    ) -> None:
        numbers_sent: list[int] = []
        serials_told: list[Any] = []
        now = perf_counter()
        while not numbers_sent or now < until:
            numbers = range(self._next, self._next + self._batch)
            self._next += self._batch
            began, found = now, await self.publish(numbers)
            now = perf_counter()
            latencies.append(now - began)
            numbers_sent += numbers
            serials_told += found
        acknowledged.publisher(list(map(Stored, numbers_sent, map(self.serial, serials_told))))

    async def _log_since(self, position: int) -> AsyncIterator[Stored]:
        """What is on disk behind `position`: tails would show what is in memory."""
        while records := await self.log.in_thread(partial(self._records, position)):
            position = records[-1].serial
            for record in records:
                found = self.stored(record)
                if found is not None:
                    yield found

    def _records(self, position: int, reader: Reader) -> list[Record]:
        settings = self.log.settings
        limit = settings.read_records_max
        return read_after(reader, position, limit, self.log.domain.decode, settings)


class Tidelog(_Publishing):
    """`keyed`: every message has an id of its publisher's, so it costs a look-up and a row."""

    def __init__(self, name: str, opened: Broker, channels: int, *, keyed: bool) -> None:
        super().__init__(name, opened.log)
        self._broker = opened
        self._app = opened.default_app()
        self._channels = [f"bench:{number}" for number in range(channels)]
        self._keyed = keyed

    async def publish(self, numbers: Sequence[int]) -> Sequence[Any]:
        (number,) = numbers
        message = Message(data=payload(number), id=f"{self.name}-{number}" if self._keyed else None)
        channel = self._channels[number % len(self._channels)]
        checked = Checked((message,), size_bytes(message))
        published = await self._broker.publisher.append(self._app, channel, checked)
        if published.duplicate:
            raise Wrong(f"message {number} was taken for a repeat")
        return published.serials

    def serial(self, acknowledged: Any) -> int:
        return serials.parse(acknowledged, self._broker.series)

    def stored(self, record: Record) -> Stored | None:
        """None for what the broker writes by itself: that a channel was made, a minute's usage."""
        if not isinstance(record.event, MessagePublished):
            return None
        return Stored(number_of(record.event.message.data), record.serial)

    async def create_channels(self) -> None:
        """The first message of a channel also makes it; that is not what is measured."""
        message = Message(data=payload(0), id="first")
        commands = [Publish(self._app, name, (message,), False) for name in self._channels]
        for at in range(0, len(commands), _CHANNELS_AT_ONCE):
            await self.log.submit_all(commands[at : at + _CHANNELS_AT_ONCE], app=self._app)


@asynccontextmanager
async def tidelog(path: Path, channels: int) -> AsyncIterator[list[Contender]]:
    """One broker on an empty directory, published to without and with ids."""
    async with broker.open(path) as opened:
        plain = Tidelog("tidelog", opened, channels, keyed=False)
        await plain.create_channels()
        yield [plain, Tidelog("tidelog, ids", opened, channels, keyed=True)]


class _Put(NamedTuple):
    body: bytes


class Bare(_Publishing):
    """`batch` messages in one submit, each a command of its own."""

    _STREAM = Stream("bench", "bare", Kind.MESSAGES)

    async def publish(self, numbers: Sequence[int]) -> Sequence[Any]:
        commands = [_Put(payload(number).encode()) for number in numbers]
        return await self.log.submit_all(commands, app="bench")

    def serial(self, acknowledged: Any) -> int:
        """Of an Outcome; an exception in its place is raised."""
        if isinstance(acknowledged, Exception):
            raise acknowledged
        (serial,) = acknowledged.serials
        return int(serial)

    def stored(self, record: Record) -> Stored | None:
        return Stored(number_of(record.event), record.serial)


def _decide(_rows: Rows, command: _Put, _ms: int) -> Decision:
    return Decision(((Bare._STREAM, command.body),))


def _as_it_is(body: bytes) -> bytes:
    return body


@asynccontextmanager
async def bare(path: Path, name: str, batch: int) -> AsyncIterator[Bare]:
    domain = Domain({_Put: _decide}, (), _as_it_is, _as_it_is)
    async with open_log(path, domain, wall=wall_clock) as log:
        yield Bare(name, log, batch)


class Disturbed:
    """A contender under another switch interval, alone or beside a busy thread."""

    def __init__(self, name: str, inner: Contender, interval_ms: float, *, busy: bool) -> None:
        self.name = name
        self._inner = inner
        self._interval_s = interval_ms / 1e3
        self._busy = busy

    async def turn(self, publishers: int, seconds: float) -> Sample:
        with switch_interval(self._interval_s):
            if not self._busy:
                return await self._inner.turn(publishers, seconds)
            with busy_thread():
                return await self._inner.turn(publishers, seconds)
