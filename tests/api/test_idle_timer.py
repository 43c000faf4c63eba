"""The idle timer: by a virtual clock, whatever was asked of it in between."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from api.idle_timer import IdleTimer

TIMEOUT_S = 75


class Watched:
    """A timer, and when it did what it was given."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.draining = trio.Event()
        self.timer = IdleTimer(TIMEOUT_S, self.draining)
        self.at: list[float] = []
        self.tasks = 0
        self._nursery = nursery

    def spawn(self, func: Callable[..., Awaitable[Any]], *args: Any) -> None:
        self.tasks += 1
        self._nursery.start_soon(func, *args)

    async def idle(self) -> None:
        await self.timer.restart(self, self._act)

    async def _act(self) -> None:
        self.at.append(trio.current_time())


@pytest.fixture
async def watched(nursery: trio.Nursery) -> Watched:
    return Watched(nursery)


async def test_an_idle_connection_is_over_after_the_timeout(
    watched: Watched, autojump_clock: MockClock
) -> None:
    await watched.idle()
    await trio.sleep(TIMEOUT_S + 1)
    assert watched.at == [TIMEOUT_S]


async def test_requests_put_it_off_with_one_task(
    watched: Watched, autojump_clock: MockClock
) -> None:
    for _ in range(50):
        await watched.idle()
        await trio.sleep(20)
        await watched.timer.stop()
        await trio.sleep(30)
    assert (watched.at, watched.tasks) == ([], 1)
    began = trio.current_time()
    await watched.idle()
    await trio.sleep(2 * TIMEOUT_S)
    assert watched.at == [began + TIMEOUT_S]


async def test_a_long_request_is_none_of_its_business(
    watched: Watched, autojump_clock: MockClock
) -> None:
    await watched.idle()
    await watched.timer.stop()
    await trio.sleep(10 * TIMEOUT_S)
    assert watched.at == []


async def test_it_looks_again_if_the_connection_was_not_closed(
    watched: Watched, autojump_clock: MockClock
) -> None:
    for times in (1, 2):
        await watched.idle()
        await trio.sleep(TIMEOUT_S + 1)
        assert len(watched.at) == times


async def test_a_drain_closes_what_is_idle_at_once(
    watched: Watched, autojump_clock: MockClock
) -> None:
    await watched.idle()
    await trio.sleep(1)
    watched.draining.set()
    await trio.sleep(1)
    assert watched.at == [1]


async def test_a_drain_waits_for_a_request(watched: Watched, autojump_clock: MockClock) -> None:
    await watched.idle()
    await watched.timer.stop()
    watched.draining.set()
    await trio.sleep(5)
    assert watched.at == []
    await watched.idle()
    await trio.sleep(1)
    assert watched.at == [5]


async def test_a_connection_that_is_gone_is_left_alone(
    watched: Watched, autojump_clock: MockClock
) -> None:
    await watched.idle()
    watched.timer.end()
    await trio.sleep(2 * TIMEOUT_S)
    assert watched.at == []
