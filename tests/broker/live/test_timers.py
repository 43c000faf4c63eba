"""The timer wheel under a clock that stands still until it is told."""

import logging
import operator
import random
from collections.abc import AsyncIterator
from functools import partial

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from broker.live.timers import ACTIONS_AT_A_TIME, TICKS_PER_SECOND, Timer, Timers

TICK_S = 1 / TICKS_PER_SECOND


@pytest.fixture
async def timers(mock_clock: MockClock) -> AsyncIterator[Timers]:
    wheel = Timers()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wheel.run)
        yield wheel
        nursery.cancel_scope.cancel()


async def advance(clock: MockClock, seconds: float) -> None:
    clock.jump(seconds)
    await wait_all_tasks_blocked()


async def test_fires_once_at_its_time(timers: Timers, mock_clock: MockClock) -> None:
    fired: list[float] = []
    timers.schedule(1000, lambda: fired.append(trio.current_time()))
    await advance(mock_clock, 0.999)
    assert fired == []
    await advance(mock_clock, 0.001)
    await advance(mock_clock, 1000)
    assert fired == [1.0]
    assert len(timers) == 0


async def test_one_that_is_due_earlier_shortens_the_sleep(
    timers: Timers, mock_clock: MockClock
) -> None:
    fired: list[str] = []
    timers.schedule(60_000, partial(fired.append, "late"))
    await wait_all_tasks_blocked()
    timers.schedule(50, partial(fired.append, "soon"))
    await advance(mock_clock, 0.05)
    assert fired == ["soon"]
    await advance(mock_clock, 60)
    assert fired == ["soon", "late"]


async def test_what_was_scheduled_before_the_run_counts(mock_clock: MockClock) -> None:
    wheel, fired = Timers(), trio.Event()
    wheel.schedule(10, fired.set)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wheel.run)
        mock_clock.jump(TICK_S)
        await fired.wait()
        nursery.cancel_scope.cancel()


async def test_never_early_nor_late_by_more_than_a_tick(
    timers: Timers, mock_clock: MockClock
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    late: list[float] = []

    def check(due: float) -> None:
        late.append(trio.current_time() - due)

    for _ in range(300):
        for _ in range(chance.randrange(5)):
            delay_ms = chance.choice([0, 1, 24.9, 25, 25.1, chance.uniform(0, 10_000)])
            timers.schedule(delay_ms, partial(check, trio.current_time() + delay_ms / 1000))
        await advance(mock_clock, chance.uniform(0, 0.01))
    while len(timers):
        await advance(mock_clock, 0.001)
    assert min(late) >= 0
    assert max(late) <= TICK_S + 0.010001


async def test_a_cancelled_timer_never_fires_and_is_gone(
    timers: Timers, mock_clock: MockClock
) -> None:
    fired: list[int] = []
    made = [timers.schedule(1000, partial(fired.append, n)) for n in range(3)]
    made[1].cancel()
    made[1].cancel()
    assert len(timers) == 2
    await advance(mock_clock, 1)
    made[0].cancel()
    assert fired == [0, 2]


async def test_postponing_again_and_again_leaves_nothing_behind(
    timers: Timers, mock_clock: MockClock
) -> None:
    timer = timers.schedule(15_000, lambda: None)
    for _ in range(1000):
        for _ in range(10):
            timer.cancel()
            timer = timers.schedule(15_000, lambda: None)
        mock_clock.jump(0.1)
    assert len(timers) == 1
    assert len(timers._ticks) == len(timers._buckets) <= 1001
    await wait_all_tasks_blocked()
    assert len(timers._ticks) == 1


async def test_an_action_may_cancel_another_of_its_tick_and_schedule_more(
    timers: Timers, mock_clock: MockClock
) -> None:
    fired: list[str] = []
    made: list[Timer] = []

    def first() -> None:
        fired.append("first")
        made[1].cancel()
        made.append(timers.schedule(0, partial(fired.append, "third")))

    made.append(timers.schedule(25, first))
    made.append(timers.schedule(25, partial(fired.append, "second")))
    await advance(mock_clock, 0.025)
    await advance(mock_clock, 0.025)
    assert fired == ["first", "third"]


async def test_one_that_raises_is_logged_and_the_others_run(
    timers: Timers, mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    fired: list[int] = []
    timers.schedule(25, partial(fired.append, 1))
    timers.schedule(25, partial(operator.delitem, fired, 99))
    timers.schedule(25, partial(fired.append, 2))
    timers.schedule(500, partial(fired.append, 3))
    with caplog.at_level(logging.ERROR, "tidelog.broker"):
        await advance(mock_clock, 0.025)
        await advance(mock_clock, 0.475)
    assert fired == [1, 2, 3]
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [IndexError]


async def test_many_of_one_tick_let_others_have_a_turn(
    timers: Timers, mock_clock: MockClock
) -> None:
    fired: list[int] = []
    for number in range(10 * ACTIONS_AT_A_TIME):
        timers.schedule(25, partial(fired.append, number))
    mock_clock.jump(0.025)
    seen = set()
    while len(fired) < 10 * ACTIONS_AT_A_TIME:
        await trio.lowlevel.checkpoint()
        seen.add(len(fired))
    assert len(seen) >= 10
    assert fired == list(range(10 * ACTIONS_AT_A_TIME))
