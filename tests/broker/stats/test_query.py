"""Pages of usage: both ways, in every unit, neither repeated nor skipped, whatever is added."""

import random
from typing import Any

import pytest

from broker import BadRequest, Broker
from broker.stats.counters import Counters, merged
from broker.stats.families import entries
from broker.stats.intervals import DAY_MS, LAST_MS, MINUTE_MS, Unit, floor
from broker.stats.query import Interval, StatsQuery
from tests.broker.conftest import START_MS, FakeClock

NAME = "apiRequests.other.succeeded"
PAST = floor(START_MS - 400 * DAY_MS, Unit.MONTH)


async def add(b: Broker, *minutes: int) -> None:
    await b.add_stats(b.default_app(), [(ms, {NAME: 1}) for ms in minutes])


async def pages(b: Broker, **fields: Any) -> list[list[Interval]]:
    """Every page, from the first on. Only the last may be shorter than the limit."""
    query: StatsQuery | None = StatsQuery(**fields)
    found: list[list[Interval]] = []
    while query is not None:
        page = await b.stats(b.default_app(), query)
        assert len(page.intervals) == query.limit or page.next is None
        found.append(list(page.intervals))
        query = page.next
    assert found[-1] or len(found) == 1
    return found


async def starts(b: Broker, **fields: Any) -> list[int]:
    return [interval.start_ms for page in await pages(b, **fields) for interval in page]


@pytest.mark.parametrize("unit", list(Unit))
async def test_pages_are_what_a_dict_says(opened: Broker, unit: Unit) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    choices = random.Random(seed)
    model: dict[int, list[Counters]] = {}
    for _ in range(150):
        span = choices.choice([30 * MINUTE_MS, DAY_MS, 200 * DAY_MS])
        minute_ms = floor(PAST + choices.randrange(span), Unit.MINUTE)
        counters = {NAME: choices.randrange(3)}
        model.setdefault(floor(minute_ms, unit), []).append(counters)
        await opened.add_stats(opened.default_app(), [(minute_ms, counters)])
    known = sorted(model)
    for _ in range(40):
        start_ms = choices.choice([0, *known]) + choices.randrange(3)
        end_ms = max(start_ms, choices.choice(known) + choices.randrange(MINUTE_MS))
        direction = choices.choice(["forwards", "backwards"])
        expected = [ms for ms in known if floor(start_ms, unit) <= ms <= end_ms]
        found = [
            interval
            for page in await pages(
                opened, start_ms=start_ms, end_ms=end_ms, unit=unit, direction=direction,
                limit=choices.choice([1, 2, 7, 1_000]),
            )
            for interval in page
        ]  # fmt: skip
        if direction == "backwards":
            expected.reverse()
        assert [interval.start_ms for interval in found] == expected
        for interval in found:
            assert interval.entries == entries(merged(model[interval.start_ms]))
            assert interval.in_progress_ms is None


@pytest.mark.parametrize("direction", ["forwards", "backwards"])
@pytest.mark.parametrize("unit", list(Unit))
async def test_what_is_not_recorded_yet_has_its_place(
    opened: Broker, clock: FakeClock, unit: Unit, direction: str
) -> None:
    """Beside recorded minutes of the same interval, and before and behind those of others."""
    now = floor(START_MS, Unit.MINUTE)
    minutes = [now - DAY_MS, now - MINUTE_MS, now, now + MINUTE_MS, now + 40 * DAY_MS]
    await add(opened, *minutes)
    opened.epoch.activity.api_request(opened.default_app(), "other", 200)
    found = await pages(opened, unit=unit, direction=direction, limit=1, end_ms=now + 100 * DAY_MS)
    intervals = [page[0] for page in found]
    expected = sorted({floor(ms, unit) for ms in minutes}, reverse=direction == "backwards")
    assert [interval.start_ms for interval in intervals] == expected
    assert sum(interval.entries[NAME] for interval in intervals) == 6
    (current,) = [item for item in intervals if item.in_progress_ms is not None]
    assert (current.start_ms, current.in_progress_ms) == (floor(now, unit), now)
    expected_now = 1 + len([ms for ms in minutes if floor(ms, unit) == floor(now, unit)])
    assert current.entries[NAME] == expected_now


async def test_what_is_recorded_meanwhile_shifts_no_page(opened: Broker) -> None:
    await add(opened, *(PAST + n * MINUTE_MS for n in range(0, 10, 2)))
    first = await opened.stats(opened.default_app(), StatsQuery(limit=2))
    await add(opened, *(PAST + n * MINUTE_MS for n in range(11)))
    assert first.next is not None
    second = await opened.stats(opened.default_app(), first.next)
    assert [(i.start_ms - PAST) // MINUTE_MS for i in first.intervals] == [8, 6]
    assert [(i.start_ms - PAST) // MINUTE_MS for i in second.intervals] == [5, 4]


async def test_a_start_is_floored_and_an_end_is_included(opened: Broker) -> None:
    await add(opened, *(PAST + n * MINUTE_MS for n in range(5)))
    bounds = {"start_ms": PAST + MINUTE_MS + 30_000, "end_ms": PAST + 3 * MINUTE_MS}
    assert await starts(opened, direction="forwards", **bounds) == [
        PAST + n * MINUTE_MS for n in (1, 2, 3)
    ]
    (month,) = await starts(opened, unit=Unit.MONTH, start_ms=PAST + DAY_MS, end_ms=PAST + DAY_MS)
    assert month == PAST


async def test_the_end_is_now_unless_given(opened: Broker, clock: FakeClock) -> None:
    now = floor(START_MS, Unit.MINUTE)
    await add(opened, now, now + MINUTE_MS)
    assert await starts(opened) == [now]
    clock.advance(MINUTE_MS)
    assert await starts(opened) == [now + MINUTE_MS, now]


async def test_a_minute_of_zeros_is_listed(opened: Broker) -> None:
    await opened.add_stats(opened.default_app(), [(PAST, {})])
    for unit in Unit:
        ((interval,),) = await pages(opened, unit=unit)
        assert (interval.start_ms, interval.entries) == (PAST, {})


@pytest.mark.parametrize("direction", ["forwards", "backwards"])
async def test_the_ends_of_time(opened: Broker, direction: str) -> None:
    last = floor(LAST_MS, Unit.MINUTE)
    await add(opened, 0, last)
    for unit in Unit:
        found = await starts(opened, unit=unit, direction=direction, limit=1, end_ms=10**15)
        assert sorted(found) == [0, floor(last, unit)]
        query = StatsQuery(unit=unit, direction="forwards", end_ms=10**15, cursor=10**15 - 1)
        assert (await opened.stats(opened.default_app(), query)).intervals == ()


@pytest.mark.parametrize(
    "fields", [{"limit": 0}, {"limit": 1_001}, {"start_ms": 2, "end_ms": 1}, {"start_ms": 10**15}]
)
async def test_what_cannot_be_asked(opened: Broker, fields: dict[str, int]) -> None:
    with pytest.raises(BadRequest) as refused:
        await opened.stats(opened.default_app(), StatsQuery(**fields))
    assert refused.value.code == 40003


async def test_apps_are_apart(opened: Broker, clock: FakeClock) -> None:
    clock.advance(1)
    other = (await opened.apps.create("other")).id
    await opened.add_stats(other, [(PAST, {NAME: 1})])
    assert await starts(opened) == []
    assert len((await opened.stats(other, StatsQuery())).intervals) == 1


async def test_a_page_is_a_seek(opened: Broker) -> None:
    """It reads as many rows as it shows, and the one that says there are more."""
    await add(opened, *(PAST + n * MINUTE_MS for n in range(600)))
    read = 0
    log_query = opened.log.query

    async def counted(ask: Any) -> Any:
        def counting(view: Any) -> Any:
            nonlocal read
            answer = ask(view)
            read += view._reader.steps
            return answer

        return await log_query(counting)

    opened.log.query = counted  # type: ignore[method-assign]
    for direction in ("forwards", "backwards"):
        for cursor in (None, PAST + 300 * MINUTE_MS):
            read = 0
            query = StatsQuery(limit=10, direction=direction, cursor=cursor)
            assert len((await opened.stats(opened.default_app(), query)).intervals) == 10
            assert read <= 12
