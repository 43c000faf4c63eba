"""However many notifications were accepted, few are in memory, and each has its turn once."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from broker.push import outbox_log
from broker.push.backlog import Backlog
from tests.broker.acting import Time
from tests.broker.push_outbox.delivering import CHANNEL, Delivering, delivering
from tests.broker.push_outbox.gateway import Gateway, address, trouble

pytestmark = pytest.mark.timeout(60)
BEGUN = 3


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.push.backlog.BEGUN_MAX", BEGUN)
    monkeypatch.setattr("broker.push.backlog.LOOKED_AT", 2)


def begun(outbox: Delivering) -> int:
    return len(outbox.broker.outbox._backlog.begun)


async def test_the_others_wait_in_the_log_and_have_their_turn(
    outbox: Delivering, time: Time
) -> None:
    await outbox.nothing_happens()
    answers = {f"a{number}": trio.Event() for number in range(10)}
    for name, answer in answers.items():
        outbox.gateway.always[name] = answer
        await outbox.notify(recipient=address(name))
    await outbox.gateway.until(BEGUN)
    await outbox.nothing_happens()
    assert (len(outbox.gateway.got), begun(outbox)) == (BEGUN, BEGUN)
    for answered in range(1, 10):
        answers[outbox.gateway.names()[answered - 1]].set()
        await outbox.gateway.until(min(BEGUN + answered, 10))
        await outbox.nothing_happens()
        assert begun(outbox) <= BEGUN
    for answer in answers.values():
        answer.set()
    await outbox.until_delivered()
    assert outbox.gateway.names() == list(answers)


async def test_what_is_accepted_later_does_not_take_the_place_of_who_waits(
    outbox: Delivering, time: Time
) -> None:
    """Whoever comes just when there is room finds others in front."""
    outbox.gateway.always["e"] = trio.Event()
    for number in range(2 * BEGUN):
        await outbox.notify(recipient=address(f"a{number}"))
    begun, serials = list[int](), [row.serial for row in outbox.unfinished()]
    backlog = Backlog(outbox.broker.log, lambda row: begun.append(row.serial))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(backlog.run)
        while len(begun) < BEGUN:
            await wait_all_tasks_blocked()
        for over in range(BEGUN):
            backlog.over(begun[over])
            backlog.accepted(outbox.app, serials[-1])
            assert len(begun) == BEGUN + over
            while len(begun) == BEGUN + over:
                await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert begun == serials


async def test_those_that_were_left_at_the_end(path: Path, time: Time, gateway: Gateway) -> None:
    """And those that only wait to be tried again take no turn."""
    gateway.says("again", trouble(retry_after_ms=5_000))
    async with delivering(path, time, gateway) as first:
        await first.notify(recipient=address("again"))
        await first.until_waits(**{"": 1})
        gateway.always["e"] = trio.Event()
        for number in range(10):
            await first.notify(recipient=address(f"a{number}"))
        await gateway.until(1 + BEGUN)
    gateway.always.clear()
    before = len(gateway.got)
    async with delivering(path, time, gateway) as second:
        await second.until(lambda: len(second.unfinished()) == 1)
        assert sorted(gateway.names()[before:]) == sorted(f"a{number}" for number in range(10))
        await second.passes_until_delivered()
        await second.nothing_happens()
        assert begun(second) == 0
    assert len(gateway.got) == before + 11


async def test_one_that_is_over_before_its_turn_is_not_begun_again(
    outbox: Delivering, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a look found is looked up again."""
    await outbox.registered(*(f"d{number}" for number in range(4)))
    look, found = outbox_log.next_unfinished, list[tuple[str, int]]()

    def stale(*arguments: Any, **named: Any) -> object:
        some, after = look(*arguments, **named)
        found.extend(some)
        return [*found, *found], after

    monkeypatch.setattr(outbox_log, "next_unfinished", stale)
    answer = trio.Event()
    outbox.gateway.always["e"] = answer
    for _ in range(10):
        await outbox.notify(channel=CHANNEL)
    answer.set()
    await outbox.until_delivered()
    await outbox.nothing_happens()
    assert found
    assert set(Counter(one.id for one in outbox.gateway.got).values()) == {1}
    assert len(outbox.gateway.got) == 40
