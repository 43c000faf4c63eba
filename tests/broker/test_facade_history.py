"""History through the façade: pages that stay put, exact time ranges, one order for everything."""

import random
from typing import Any

import pytest
import trio

from broker import BadRequest, Broker, HistoryQuery, Message
from tests.broker.conftest import START_MS, FakeClock


async def fill(b: Broker, count: int, channel: str = "c") -> list[str]:
    """Publish 0, 1, …; returns what `read` must then find, oldest first."""
    names = [str(number) for number in range(count)]
    for begin in range(0, count, 1000):
        await b.channel(channel).publish_all([Message(name=n) for n in names[begin : begin + 1000]])
    return names


async def pages(b: Broker, query: HistoryQuery, channel: str = "c") -> list[list[str | None]]:
    found = []
    following: HistoryQuery | None = query
    while following is not None:
        page = await b.channel(channel).history_page(following)
        found.append([message.name for message in page.messages])
        following = page.next
    return found


@pytest.mark.parametrize("limit", [1, 3, 6, 7, 100])
@pytest.mark.parametrize("direction", ["forwards", "backwards"])
async def test_pages_hold_everything_once(opened: Broker, limit: int, direction: Any) -> None:
    names = await fill(opened, 6)
    expected = names if direction == "forwards" else names[::-1]
    found = await pages(opened, HistoryQuery(direction=direction, limit=limit))
    assert [name for page in found for name in page] == expected
    assert [len(page) for page in found][:-1] == [limit] * (len(found) - 1)
    assert len(found[-1]) > 0  # a full last page has no next


async def test_an_empty_channel_has_one_empty_page(opened: Broker) -> None:
    assert await pages(opened, HistoryQuery()) == [[]]


@pytest.mark.parametrize("direction", ["forwards", "backwards"])
async def test_pages_neither_shift_nor_repeat_while_messages_arrive(
    opened: Broker, direction: Any
) -> None:
    names = await fill(opened, 10)
    end = opened.now()
    query: HistoryQuery | None = HistoryQuery(direction=direction, limit=3, end=end)
    found: list[str | None] = []
    while query is not None:
        page = await opened.channel("c").history_page(query)
        found += [message.name for message in page.messages]
        query = page.next
        await opened.channel("c").publish("late")
    assert found == (names if direction == "forwards" else names[::-1])


@pytest.mark.parametrize("limit", [0, -1, 1001])
async def test_limits_out_of_range_are_refused(opened: Broker, limit: int) -> None:
    with pytest.raises(BadRequest) as refusal:
        await opened.channel("c").history(limit=limit)
    assert refusal.value.code == 40003


async def test_start_after_end_is_refused(opened: Broker) -> None:
    with pytest.raises(BadRequest) as refusal:
        await opened.channel("c").history(start=2, end=1)
    assert refusal.value.code == 40003


async def test_a_large_history_in_pages_of_the_largest_size(opened: Broker) -> None:
    names = await fill(opened, 2500)
    found = await pages(opened, HistoryQuery(direction="forwards", limit=1000))
    assert [len(page) for page in found] == [1000, 1000, 500]
    assert [name for page in found for name in page] == names


async def test_pages_are_bounded_in_bytes_and_lose_nothing(opened: Broker) -> None:
    """A page may be shorter than its limit; its `next` goes on where it ends."""
    channel = opened.channel("c")
    for number in range(140):
        await channel.publish(str(number), b"x" * 65_000)
    found = await pages(opened, HistoryQuery(limit=1000))
    assert len(found) == 2
    assert [name for page in found for name in page] == [str(n) for n in range(139, -1, -1)]


async def test_time_ranges_include_both_ends(opened: Broker, clock: FakeClock) -> None:
    for number in range(5):
        await opened.channel("c").publish(str(number))
        clock.advance(10)
    query = HistoryQuery(start=START_MS + 10, end=START_MS + 30, direction="forwards")
    assert await pages(opened, query) == [["1", "2", "3"]]
    inside = HistoryQuery(start=START_MS + 11, end=START_MS + 29, direction="forwards")
    assert await pages(opened, inside) == [["2"]]


async def test_the_time_parts_what_came_before_from_what_comes_after(
    opened: Broker, clock: FakeClock
) -> None:
    """Reference 1.6.2, in one millisecond, on a clock that stands, jumps and goes back."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    choices = random.Random(seed)
    for round_ in range(60):
        clock.advance(choices.choice([0, 0, 0, 1, 2, -3]))
        name, channel = f"r{round_}", opened.channel(f"r{round_}")
        times = []
        for part in ("early", "middle", "late"):
            for _ in range(choices.randint(1, 3)):
                await channel.publish(part)
            if choices.random() < 0.2:
                opened.now()
            times.append(opened.now())
        for direction in ("forwards", "backwards"):
            query = HistoryQuery(start=times[0], end=times[1], direction=direction)  # type: ignore[arg-type]
            (found,) = await pages(opened, query, name)
            assert found
            assert set(found) == {"middle"}, (round_, times)


async def test_more_messages_than_a_millisecond_has_serials_for(opened: Broker) -> None:
    """1,000 commands fit a millisecond; the rest runs ahead of the clock, in order."""
    serials: dict[int, str | None] = {}

    async def publish(number: int) -> None:
        serials[number] = (await opened.channel("c").publish(str(number))).serials[0]

    async with trio.open_nursery() as nursery:
        for number in range(2100):
            nursery.start_soon(publish, number)
    assert len(set(serials.values())) == 2100
    found = await pages(opened, HistoryQuery(direction="forwards", limit=1000))
    names = [name for page in found for name in page]
    assert sorted(serials, key=lambda number: serials[number] or "") == [int(n or 0) for n in names]
    last = (await opened.channel("c").history(limit=1)).messages[0].timestamp
    assert START_MS + 2 <= last <= START_MS + 3
