"""Followers: everything behind a position once and in order, whatever is dropped and whenever."""

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import broker
from broker import Broker, BrokerSettings, Message
from broker.event import Kind
from broker.events import MessagePublished
from broker.live import follower
from broker.live.follower import Follower
from broker.live.hub import Batch, ChannelKey
from storage import LogSettings, Record
from tests.broker.acting import ENTER, Acting
from tests.broker.conftest import FakeClock

MESSAGES = (Kind.MESSAGES, Kind.EPHEMERAL)


class Consumer(Follower):
    """Keeps what it is given. `room`: how many batches it takes before it drops one."""

    def __init__(self, b: Broker, position: int, *kinds: Kind) -> None:
        key = ChannelKey(b.default_app(), "c")
        super().__init__(b.log, key, position, dict.fromkeys(kinds, position))
        self.given: list[Record] = []
        self.room = 1_000_000
        self.lags = 0
        self.news = trio.Event()

    def emit(self, batch: Batch) -> None:
        assert [r.serial for r in batch.records] == sorted(r.serial for r in batch.records)
        if self.room:
            self.room -= 1
            self.given += batch.records
        else:
            self.fall_behind(batch.first)

    def lagging(self) -> None:
        self.lags += 1
        self.news.set()

    @property
    def names(self) -> list[str]:
        """Of the messages: live batches hold whatever happened on the channel."""
        events = [record.event for record in self.given]
        return [event.message.name for event in events if isinstance(event, MessagePublished)]


@pytest.fixture
async def b(path: Path, clock: FakeClock) -> AsyncIterator[Broker]:
    """With a log that remembers little, so that its readers read from disk."""
    settings = BrokerSettings(log=LogSettings(tail_records_max=20))
    async with broker.open(path, clock=clock, settings=settings) as opened:
        yield opened


def follow(b: Broker, *kinds: Kind, position: int | None = None) -> Consumer:
    at = b.log.position if position is None else position
    made = Consumer(b, at, *(kinds or MESSAGES))
    b.epoch.hub.add(made.key, made)
    return made


async def publish(b: Broker, *names: object, ephemeral: bool = False) -> None:
    extras = {"ephemeral": True} if ephemeral else None
    messages = [Message(name=str(name), extras=extras) for name in names]
    await b.channel("c").publish_all(messages)


async def read_to_the_end(consumer: Consumer) -> int:
    """Returns how many pages that took."""
    pages = 1
    while await consumer.read_on():
        pages += 1
    return pages


async def test_live(b: Broker) -> None:
    consumer = follow(b)
    await publish(b, 1, 2)
    await publish(b, 3, ephemeral=True)
    await Acting(b).settled()
    assert consumer.names == ["1", "2", "3"]
    assert not consumer.lags
    assert consumer.position == b.log.position


async def test_what_was_dropped_is_read_again(b: Broker) -> None:
    consumer = follow(b)
    await publish(b, 1)
    await Acting(b).settled()
    consumer.room = 0
    await publish(b, 2, 3)
    await publish(b, 4)
    await Acting(b).settled()
    assert (consumer.behind, consumer.lags, consumer.names) == (True, 1, ["1"])
    consumer.room = 10
    await read_to_the_end(consumer)
    assert not consumer.behind
    await publish(b, 5)
    await Acting(b).settled()
    assert consumer.names == ["1", "2", "3", "4", "5"]


async def test_what_the_tail_brings_late_is_sorted_out(b: Broker) -> None:
    """The log may be ahead of its tail: what a kind had before it was followed is no news, though
    the follower, rewound for another kind, stands before it."""
    acting = Acting(b)
    start = b.log.position
    await publish(b, 1)
    await acting.act(ENTER, "me")
    (entered,) = await acting.records(Kind.PRESENCE)
    consumer = Consumer(b, start, Kind.MESSAGES)
    consumer.follow((Kind.MESSAGES, Kind.PRESENCE), b.log.position)
    consumer.behind = True
    await read_to_the_end(consumer)
    assert consumer.position < entered.serial
    consumer.offer(Batch([entered]))
    await acting.act(ENTER, "you")
    (_, news) = await acting.records(Kind.PRESENCE)
    consumer.offer(Batch([news]))
    assert consumer.names == ["1"]
    assert consumer.given[1:] == [news]


async def test_a_long_way_is_read_in_pages(b: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "PAGE_RECORDS", 7)
    consumer = follow(b)
    consumer.room = 0
    for first in range(0, 50, 5):
        await publish(b, *range(first, first + 5))
    await Acting(b).settled()
    consumer.room = 100
    assert await read_to_the_end(consumer) >= 50 // 7
    assert consumer.names == [str(number) for number in range(50)]


async def test_pages_are_bounded_in_bytes(b: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "PAGE_BYTES", 10_000)
    consumer = follow(b)
    consumer.room = 0
    for number in range(10):
        await b.channel("c").publish(str(number), "x" * 4_000)
    await Acting(b).settled()
    consumer.room = 100
    assert await read_to_the_end(consumer) >= 3
    assert consumer.names == [str(number) for number in range(10)]


async def test_a_page_that_is_too_much_is_read_again(b: Broker) -> None:
    consumer = follow(b)
    consumer.room = 0
    await publish(b, 1)
    await Acting(b).settled()
    assert await consumer.read_on()
    assert consumer.behind
    consumer.room = 1
    assert not await consumer.read_on()
    assert consumer.names == ["1"]


@pytest.mark.parametrize("held_max", [0, 2_000])
async def test_what_comes_while_the_last_page_is_read(
    b: Broker, monkeypatch: pytest.MonkeyPatch, held_max: int
) -> None:
    """Held, or, where that is too much, read by the next page."""
    monkeypatch.setattr(follower, "HELD_RECORDS_MAX", held_max)
    consumer = follow(b)
    consumer.room = 0
    await publish(b, 1)
    await Acting(b).settled()
    consumer.room = 100
    pages: list[int] = []

    async def read() -> None:
        pages.append(await read_to_the_end(consumer))

    async with trio.open_nursery() as nursery:
        query, reading, go = b.log.query, trio.Event(), trio.Event()

        async def slowly(*args: object, **more: object) -> object:
            page = await query(*args, **more)  # type: ignore[arg-type]
            reading.set()
            await go.wait()
            return page

        monkeypatch.setattr(b.log, "query", slowly)
        nursery.start_soon(read)
        await reading.wait()
        await publish(b, 2, 3)
        await Acting(b).settled()
        assert consumer.names == []
        go.set()
    assert consumer.names == ["1", "2", "3"]
    assert pages == [1 if held_max else 2]


async def test_falling_behind_further_back(b: Broker) -> None:
    """Of two drops the earlier counts: what was passed on between them is passed on again."""
    consumer = follow(b)
    await publish(b, 1)
    await Acting(b).settled()
    first = consumer.given[0].serial
    consumer.room = 0
    await publish(b, 2)
    await Acting(b).settled()
    consumer.fall_behind(first)
    consumer.given.clear()
    consumer.room = 10
    await read_to_the_end(consumer)
    assert consumer.names == ["1", "2"]
    assert consumer.lags == 1


async def test_kinds_begin_where_their_floor_is(b: Broker) -> None:
    """What is read holds those that are followed and no others."""
    await publish(b, 0)
    acting = Acting(b)
    await acting.act(ENTER, "before")
    consumer = follow(b, Kind.MESSAGES, position=0)
    consumer.behind = True
    await acting.act(ENTER, "between")
    await acting.settled()
    await read_to_the_end(consumer)
    assert [record.stream.kind for record in consumer.given] == [Kind.MESSAGES]
    consumer.follow((Kind.MESSAGES, Kind.PRESENCE), b.log.position)
    consumer.behind = True
    await acting.act(ENTER, "after")
    await publish(b, 1)
    await acting.settled()
    await read_to_the_end(consumer)
    kinds = [record.stream.kind for record in consumer.given[1:]]
    assert kinds == [Kind.PRESENCE, Kind.MESSAGES]
    assert consumer.given[1].event.member.client_id == "after"


async def test_redacted_records_are_passed_over(b: Broker) -> None:
    consumer = follow(b, position=0)
    consumer.behind = True
    for number in range(4):
        await b.channel("c").publish(str(number), client_id="you" if number % 2 else "me")
    await b.purge(b.default_app(), client_id="you")
    await read_to_the_end(consumer)
    assert consumer.names == ["0", "2"]


async def test_trimmed_records_are_passed_over(b: Broker) -> None:
    consumer = follow(b, position=0)
    consumer.behind = True
    await publish(b, 1)
    await b.purge(b.default_app(), channel="c")
    await publish(b, 2)
    await read_to_the_end(consumer)
    assert consumer.names == ["2"]


@pytest.mark.parametrize("seed", range(10))
async def test_whatever_happens_everything_comes_once_and_in_order(
    b: Broker, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Consumers with little room, dropped from under, while messages of both kinds stream in."""
    print(f"seed {seed}")
    chance = random.Random(seed)
    monkeypatch.setattr(follower, "PAGE_RECORDS", chance.choice([1, 3, 20]))
    monkeypatch.setattr(follower, "HELD_RECORDS_MAX", chance.choice([0, 2, 100]))
    total, finished = 150, trio.Event()
    consumers = [follow(b) for _ in range(4)]

    async def catch_up(consumer: Consumer) -> None:
        while not (finished.is_set() and len(consumer.names) == total):
            consumer.room = chance.choice([0, 1, 2, 50])
            if consumer.behind:
                await consumer.read_on()
            elif consumer.given and chance.random() < 0.2:
                lost = chance.randrange(len(consumer.given))
                dropped = consumer.given[lost].serial
                if chance.random() < 0.5:
                    del consumer.given[lost:]
                    consumer.fall_behind(dropped)
            await trio.lowlevel.checkpoint()

    async def stream() -> None:
        number = 0
        while number < total:
            size = min(chance.choice([1, 1, 4]), total - number)
            await publish(b, *range(number, number + size), ephemeral=chance.random() < 0.3)
            number += size
        await Acting(b).settled()
        finished.set()

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for consumer in consumers:
                nursery.start_soon(catch_up, consumer)
            nursery.start_soon(stream)
    for consumer in consumers:
        assert consumer.names == [str(number) for number in range(total)]


async def test_a_follower_that_was_removed_hears_no_more(b: Broker) -> None:
    consumer = follow(b)
    await publish(b, 1)
    await Acting(b).settled()
    b.epoch.hub.remove(consumer.key, consumer)
    await publish(b, 2)
    await Acting(b).settled()
    await wait_all_tasks_blocked()
    assert consumer.names == ["1"]
