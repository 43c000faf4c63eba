"""A lane: how many at a time, for how long one waits, and when its circuit opens and closes."""

import random
from contextlib import suppress

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from broker.push import lanes
from broker.push.lanes import (
    AT_ONCE,
    FAILURES_TO_OPEN,
    OPEN_S_MAX,
    OPEN_S_MIN,
    PATIENCE_S,
    PROBE_S,
    Closed,
    Lane,
    Lanes,
)


async def tried(lane: Lane, *, works: bool, at_once: bool = False) -> None:
    async with lane.attempt():
        if works:
            lane.succeeded()
        else:
            lane.failed(at_once)


async def opened(lane: Lane) -> None:
    for _ in range(FAILURES_TO_OPEN):
        await tried(lane, works=False)


async def closed_for(lane: Lane) -> float:
    """For how long an attempt is told to stay away."""
    with pytest.raises(Closed) as refused:
        await tried(lane, works=True)
    return refused.value.for_s


async def test_failures_in_a_row_open_the_circuit(mock_clock: MockClock) -> None:
    lane = Lane()
    for number in range(FAILURES_TO_OPEN):
        assert not lane.is_open, number
        await tried(lane, works=False)
    assert lane.is_open
    assert await closed_for(lane) == OPEN_S_MIN
    mock_clock.jump(OPEN_S_MIN / 3)
    assert await closed_for(lane) == pytest.approx(OPEN_S_MIN * 2 / 3)


async def test_a_success_between_them_starts_the_count_again() -> None:
    lane = Lane()
    for _ in range(FAILURES_TO_OPEN):
        await tried(lane, works=False)
        await tried(lane, works=True)
    assert not lane.is_open
    assert lane.failures == 0


async def test_one_failure_is_enough_where_the_operator_has_to_act() -> None:
    lane = Lane()
    await tried(lane, works=False, at_once=True)
    assert lane.is_open


async def test_half_open_lets_one_through(mock_clock: MockClock) -> None:
    lane = Lane()
    await opened(lane)
    mock_clock.jump(OPEN_S_MIN)
    assert not lane.is_open
    async with lane.attempt():
        assert await closed_for(lane) == PROBE_S
        lane.succeeded()
    await tried(lane, works=True)
    assert lane.failures == 0


async def test_what_the_one_finds_decides(mock_clock: MockClock) -> None:
    """Each time it fails the circuit stays open for twice as long, up to a bound; a success makes
    it as if nothing had been."""
    lane = Lane()
    await opened(lane)
    expected = OPEN_S_MIN
    for _ in range(8):
        assert await closed_for(lane) == expected
        mock_clock.jump(expected)
        await tried(lane, works=False)
        expected = min(2 * expected, OPEN_S_MAX)
    assert expected == OPEN_S_MAX
    mock_clock.jump(OPEN_S_MAX)
    await tried(lane, works=True)
    await opened(lane)
    assert await closed_for(lane) == OPEN_S_MIN


async def test_who_found_out_nothing_decides_nothing(mock_clock: MockClock) -> None:
    """Neither before the circuit opens nor as the one that is let through; another is, then."""
    lane = Lane()
    await tried(lane, works=False)
    async with lane.attempt():
        pass
    assert lane.failures == 1
    lane.succeeded()
    await opened(lane)
    mock_clock.jump(OPEN_S_MIN)
    for _ in range(3):
        async with lane.attempt():
            assert await closed_for(lane) == PROBE_S
    assert lane.failures == FAILURES_TO_OPEN
    with pytest.raises(KeyError):
        async with lane.attempt():
            raise KeyError
    await tried(lane, works=False)
    assert await closed_for(lane) == 2 * OPEN_S_MIN


async def test_attempts_that_were_under_way_do_not_open_it_for_longer(
    mock_clock: MockClock,
) -> None:
    lane = Lane()
    async with lane.attempt(), lane.attempt():
        await opened(lane)
        lane.failed()
        lane.failed()
    assert await closed_for(lane) == OPEN_S_MIN


async def occupy(lane: Lane, until: trio.Event) -> None:
    async with lane.attempt():
        await until.wait()
        lane.succeeded()


async def test_what_another_tells_counts_for_nothing(mock_clock: MockClock) -> None:
    """And if it is the one that was let through, the next is."""
    lane = Lane()
    for _ in range(FAILURES_TO_OPEN - 1):
        async with lane.attempt():
            lane.failed()
    async with lane.attempt():
        pass
    assert (lane.failures, lane.is_open) == (FAILURES_TO_OPEN - 1, False)
    async with lane.attempt():
        lane.failed()
    mock_clock.jump(OPEN_S_MIN)
    for _ in range(2):
        async with lane.attempt():
            pass
    assert lane.failures == FAILURES_TO_OPEN


async def test_no_more_than_so_many_at_a_time(mock_clock: MockClock) -> None:
    """Whoever comes too many waits for a moment, and is then told to come back."""
    lane, done = Lane(), trio.Event()
    async with trio.open_nursery() as nursery:
        for _ in range(AT_ONCE):
            nursery.start_soon(occupy, lane, done)
        await wait_all_tasks_blocked()
        refused: list[float] = []

        async def late() -> None:
            refused.append(await closed_for(lane))

        nursery.start_soon(late)
        await wait_all_tasks_blocked()
        mock_clock.jump(PATIENCE_S * 0.99)
        await wait_all_tasks_blocked()
        assert refused == []
        mock_clock.jump(PATIENCE_S * 0.02)
        await wait_all_tasks_blocked()
        assert refused == [PATIENCE_S]
        done.set()
    await tried(lane, works=True)
    assert lane.is_at_rest


async def test_a_place_that_becomes_free_is_taken(mock_clock: MockClock) -> None:
    lane, first, others = Lane(), trio.Event(), trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(occupy, lane, first)
        for _ in range(AT_ONCE - 1):
            nursery.start_soon(occupy, lane, others)
        await wait_all_tasks_blocked()
        nursery.start_soon(occupy, lane, others)
        await wait_all_tasks_blocked()
        first.set()
        await wait_all_tasks_blocked()
        mock_clock.jump(PATIENCE_S * 2)
        await wait_all_tasks_blocked()
        others.set()  # were it refused, the nursery would raise
    assert lane.is_at_rest


async def test_whoever_waited_while_it_opened_is_told(mock_clock: MockClock) -> None:
    lane, done, refused = Lane(), trio.Event(), []

    async def late() -> None:
        refused.append(await closed_for(lane))

    async def failing() -> None:
        async with lane.attempt():
            await done.wait()
            lane.failed()

    async with trio.open_nursery() as nursery:
        for _ in range(AT_ONCE):
            nursery.start_soon(failing)
        await wait_all_tasks_blocked()
        nursery.start_soon(late)
        await wait_all_tasks_blocked()
        done.set()
    assert refused == [OPEN_S_MIN]


async def test_an_attempt_that_is_cancelled_leaves_its_place() -> None:
    lane = Lane()
    for _ in range(2 * AT_ONCE):
        with trio.CancelScope() as scope:
            async with lane.attempt():
                scope.cancel()
                await trio.lowlevel.checkpoint()
    await tried(lane, works=True)
    assert lane.is_at_rest


async def test_lanes_are_each_for_themselves(mock_clock: MockClock) -> None:
    found = Lanes()
    await opened(found.lane("b"))
    await opened(found.lane("a"))
    await tried(found.lane("c"), works=True)
    assert found.open_circuits == ["a", "b"]
    mock_clock.jump(OPEN_S_MIN)
    assert found.open_circuits == []
    assert found.lane("a") is found.lane("a")


async def test_healthy_lanes_at_rest_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "LANES_MAX", 4)
    found, done = Lanes(), trio.Event()
    await tried(found.lane("sick"), works=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(occupy, busy := found.lane("busy"), done)
        found.lane("idle")
        found.lane("idle too")
        await wait_all_tasks_blocked()
        found.lane("new")
        assert len(found) == 3
        assert found.lane("busy") is busy
        assert found.lane("sick").failures == 1
        done.set()


async def test_of_those_that_fail_the_ones_that_may_be_tried_soonest_are_forgotten(
    monkeypatch: pytest.MonkeyPatch, mock_clock: MockClock
) -> None:
    monkeypatch.setattr(lanes, "LANES_MAX", 4)
    monkeypatch.setattr(lanes, "LANES_KEPT_SHARE", 0.5)
    found = Lanes()
    await tried(found.lane("d, not even open"), works=False)
    for name in ("c", "b", "a"):
        await opened(found.lane(name))
        mock_clock.jump(1)
    found.lane("new")
    assert found.open_circuits == ["a", "b"]
    assert len(found) == 3


@pytest.mark.parametrize("works", [True, False])
async def test_there_are_never_more_lanes_than_so_many(
    monkeypatch: pytest.MonkeyPatch, works: bool
) -> None:
    """Whoever names one endpoint after the other that is down cannot fill the memory."""
    monkeypatch.setattr(lanes, "LANES_MAX", 20)
    found = Lanes()
    for number in range(200):
        for _ in range(number % 7):
            with suppress(Closed):
                await tried(found.lane(f"e{number}"), works=works)
        assert len(found) <= 20
    assert len(found) >= (1 if works else 18)


async def test_where_all_lanes_are_in_use_nobody_gets_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lanes, "LANES_MAX", 3)
    found, done = Lanes(), trio.Event()
    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(occupy, found.lane(f"e{number}"), done)
            await wait_all_tasks_blocked()
        with pytest.raises(Closed):
            found.lane("new")
        assert found.lane("e0") is not None
        done.set()
    assert found.lane("new") is not None


@pytest.mark.parametrize("seed", range(5))
async def test_random_weather(seed: int, mock_clock: MockClock) -> None:
    """Against the rule in plain words: closed until so many fail in a row; then open until a time,
    then one attempt decides."""
    print(f"seed {seed}")
    chance, lane = random.Random(seed), Lane()
    failures, open_until, open_s = 0, 0.0, OPEN_S_MIN
    for _ in range(2_000):
        mock_clock.jump(chance.choice((0, 0, 1, 10, 40)))
        works = chance.random() < 0.3
        if trio.current_time() < open_until:
            assert await closed_for(lane) == pytest.approx(open_until - trio.current_time())
            continue
        await tried(lane, works=works)
        failures = 0 if works else failures + 1
        open_s = OPEN_S_MIN if works else open_s
        if failures >= FAILURES_TO_OPEN:
            open_until = trio.current_time() + open_s
            open_s = min(2 * open_s, OPEN_S_MAX)
