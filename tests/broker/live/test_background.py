"""Commands that nobody waits for: none is dropped, their order holds, and what fails is said."""

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import broker
from broker import BrokerSettings
from broker.channels.occupancy import Attach
from broker.event import Kind
from broker.live.connection_log import OpenConnection
from storage import Log, LogSettings, Outcome
from tests.broker.acting import STUCK_S, Acting, Time, writer_held
from tests.broker.conftest import FakeClock

QUEUE = 4


@pytest.fixture
def time(clock: FakeClock) -> Time:
    return Time(clock)


@pytest.fixture
async def acting(path: Path, time: Time) -> AsyncIterator[Acting]:
    """A broker whose log has room for a few commands."""
    settings = BrokerSettings(log=LogSettings(queue_commands_max=QUEUE))
    async with broker.open(path, clock=time.wall, settings=settings) as b:
        yield Acting(b)


async def until_taken(log: Log) -> None:
    with trio.fail_after(STUCK_S):
        while log.queued:
            await trio.lowlevel.checkpoint()


def an_attach(acting: Acting, number: int) -> Attach:
    return Attach(acting.app, "c", str(number), 1, acting.broker.epoch.connections.epoch)


async def connections(acting: Acting) -> list[str]:
    return [event.connection for event in await acting.events(Kind.ATTACHMENTS)]


async def test_their_order_is_that_of_the_log(acting: Acting) -> None:
    for number in range(3):
        acting.broker.epoch.background.post(acting.app, an_attach(acting, number))
    await acting.settled()
    assert await connections(acting) == ["0", "1", "2"]


async def test_what_finds_no_room_waits_and_stays_in_order(acting: Acting, time: Time) -> None:
    background = acting.broker.epoch.background
    async with writer_held(acting.broker.log):
        for number in range(3 * QUEUE):
            background.post(acting.app, an_attach(acting, number))
        await wait_all_tasks_blocked()
        assert len(background) == 2 * QUEUE
        await time.passes(100)
        assert len(background) == 2 * QUEUE
    while len(background):
        background.post(acting.app, an_attach(acting, 99))
        await until_taken(acting.broker.log)
        await time.passes(100)
    await acting.settled()
    found = [int(name) for name in await connections(acting)]
    assert found[: 3 * QUEUE] == list(range(3 * QUEUE))
    assert set(found[3 * QUEUE :]) == {99}


async def test_who_wants_to_know_is_told_the_outcome(acting: Acting) -> None:
    outcomes: list[Outcome] = []
    commands = [an_attach(acting, 1), an_attach(acting, 2)]
    acting.broker.epoch.background.post(acting.app, *commands, then=outcomes.append)
    await acting.settled()
    assert [bool(outcome.serials) for outcome in outcomes] == [True, True]
    (first, *_), (second, *_) = (outcome.serials for outcome in outcomes)
    assert first is not None
    assert second is not None
    assert first < second


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.WARNING, "tidelog.background"):
        yield caplog


async def test_a_refusal_is_our_mistake_and_logged(
    acting: Acting, said: pytest.LogCaptureFixture
) -> None:
    outcomes: list[Outcome] = []
    background = acting.broker.epoch.background
    bad = OpenConnection("nowhere", "c", b"", 1)
    background.post(acting.app, bad, an_attach(acting, 1), then=outcomes.append)
    await acting.settled()
    assert [record.levelname for record in said.records] == ["ERROR"]
    assert len(outcomes) == 1
    assert await connections(acting) == ["1"]


async def test_what_a_closed_log_does_not_take_is_a_warning(
    path: Path, time: Time, said: pytest.LogCaptureFixture
) -> None:
    async with broker.open(path, clock=time.wall) as b:
        acting = Acting(b)
    b.epoch.background.post(acting.app, an_attach(acting, 1))
    assert len(b.epoch.background) == 0
    assert [record.levelname for record in said.records] == ["WARNING"]
