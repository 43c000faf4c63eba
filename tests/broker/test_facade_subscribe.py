"""Subscribing in process: everything once and in order, however slow the subscriber is."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

import broker
from broker import BadRequest, Broker, BrokerSettings, Message, StoredMessage, Unavailable
from broker.live.subscription import Subscription
from broker.storage_errors import DamagedLog
from storage import LogSettings, Record
from tests.broker.acting import STUCK_S
from tests.broker.conftest import FakeClock


async def publish(b: Broker, numbers: Sequence[int], channel: str = "c") -> None:
    await b.channel(channel).publish_all([Message(name=str(number)) for number in numbers])


async def take(messages: Subscription, count: int) -> list[int]:
    with trio.fail_after(STUCK_S):
        return [int((await anext(messages)).name or "") for _ in range(count)]


async def nothing_more(messages: Subscription) -> bool:
    """Whether the next message is one that is published only now."""
    with trio.move_on_after(0.05):
        await anext(messages)
        return False
    return True


async def test_delivers_what_is_published_after_it_began(opened: Broker) -> None:
    await publish(opened, [0])
    async with opened.channel("c").subscribe() as messages:
        await publish(opened, [1, 2])
        await publish(opened, [9], "another")
        await publish(opened, [3])
        assert await take(messages, 3) == [1, 2, 3]
        assert await nothing_more(messages)


async def test_delivers_what_history_holds(opened: Broker) -> None:
    async with opened.channel("c").subscribe() as messages:
        await opened.channel("c").publish("n", {"a": 1}, id="i", client_id="me")
        delivered = await anext(messages)
    assert (await opened.channel("c").history()).messages == (delivered,)


@pytest.mark.parametrize(("rewind", "first"), [(0, 5), (2, 3), (5, 0), (100, 0)])
async def test_rewind_comes_first_and_oldest_first(opened: Broker, rewind: int, first: int) -> None:
    await publish(opened, range(5))
    async with opened.channel("c").subscribe(rewind=rewind) as messages:
        await publish(opened, [5])
        assert await take(messages, 6 - first) == list(range(first, 6))


@pytest.mark.parametrize("rewind", [-1, 1001])
async def test_a_rewind_out_of_range_is_refused(opened: Broker, rewind: int) -> None:
    with pytest.raises(BadRequest):
        async with opened.channel("c").subscribe(rewind=rewind):
            pass


async def test_no_gap_and_no_repeat_between_rewind_and_live(opened: Broker) -> None:
    """Subscribers that join while messages stream in, at any moment, each see every one once."""
    total, seen = 150, []

    async def stream() -> None:
        for number in range(total):
            await publish(opened, [number])

    async def follow() -> None:
        async with opened.channel("c").subscribe(rewind=1000) as messages:
            seen.append(await take(messages, total))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream)
        for _ in range(20):
            nursery.start_soon(follow)
            await trio.lowlevel.checkpoint()
            await publish(opened, [0], "pace")
    assert seen == [list(range(total))] * 20


async def test_a_slow_subscriber_catches_up_from_disk(path: Path, clock: FakeClock) -> None:
    """It never holds more than its bound and one read; the fast one beside it sees all live."""
    settings = BrokerSettings(subscription_messages_max=10, log=LogSettings(tail_records_max=20))
    total, held = 2_000, 0
    async with (
        broker.open(path, clock=clock, settings=settings) as b,
        b.channel("c").subscribe() as slow,
        b.channel("c").subscribe() as fast,
    ):
        seen = []
        for number in range(0, total, 10):
            await publish(b, range(number, number + 10))
            seen += await take(fast, 10)
            held = max(held, len(slow._queue))
            if number % 500 == 0:
                assert await take(slow, 3)
        assert seen == list(range(total))
        assert held <= 510
        rest = await take(slow, total - 3 * 4)
        assert rest == list(range(12, total))
        assert await nothing_more(slow)


async def test_a_subscriber_that_is_behind_misses_nothing_while_it_reads(
    path: Path, clock: FakeClock
) -> None:
    settings = BrokerSettings(subscription_messages_max=3)
    total = 1_000
    async with broker.open(path, clock=clock, settings=settings) as b:

        async def stream() -> None:
            for number in range(0, total, 4):
                await publish(b, range(number, number + 4))

        async with b.channel("c").subscribe() as messages, trio.open_nursery() as nursery:
            nursery.start_soon(stream)
            assert await take(messages, total) == list(range(total))


async def test_cancelling_loses_nothing(opened: Broker) -> None:
    async with opened.channel("c").subscribe() as messages:
        with trio.move_on_after(0.01):
            await anext(messages)
        await publish(opened, [1, 2])
        with trio.CancelScope() as scope:
            scope.cancel()
            await anext(messages)
        assert await take(messages, 2) == [1, 2]


async def test_leaving_ends_the_delivery(opened: Broker) -> None:
    async with opened.channel("c").subscribe() as messages:
        await publish(opened, [1])
    assert not opened.epoch.hub._sinks
    await publish(opened, [2])
    with pytest.raises(Unavailable):
        assert await take(messages, 2) == []  # at most what it had already


@pytest.mark.parametrize("behind", [False, True])
async def test_subscribers_learn_that_the_broker_closed(
    path: Path, clock: FakeClock, behind: bool
) -> None:
    settings = BrokerSettings(subscription_messages_max=1)
    codes: list[int] = []
    async with trio.open_nursery() as nursery:  # noqa: SIM117 - followers outlive the broker
        async with broker.open(path, clock=clock, settings=settings) as b:

            async def follow(task_status: trio.TaskStatus[None]) -> None:
                async with b.channel("c").subscribe() as messages:
                    task_status.started()
                    if behind:
                        await trio.testing.wait_all_tasks_blocked(0.02)
                    with pytest.raises(Unavailable) as closed:
                        await take(messages, 100)
                    codes.append(closed.value.code)

            await nursery.start(follow)
            if behind:
                await publish(b, range(5))
    assert codes == [80017]


async def test_redacted_messages_are_passed_over(opened: Broker) -> None:
    for number in range(4):
        await opened.channel("c").publish(str(number), client_id="you" if number % 2 else "me")
    await opened.purge(opened.default_app(), client_id="you")
    async with opened.channel("c").subscribe(rewind=3) as messages:
        assert await take(messages, 2) == [0, 2]


async def test_ephemeral_messages_are_delivered(opened: Broker) -> None:
    async with opened.channel("c").subscribe() as messages:
        await opened.channel("c").publish("1")
        await opened.channel("c").publish("2", extras={"ephemeral": True})
        await opened.channel("c").publish("3")
        assert await take(messages, 3) == [1, 2, 3]


async def test_a_thousand_subscribers_cost_one_task(opened: Broker) -> None:
    async with trio.open_nursery() as nursery:
        done: list[int] = []

        async def follow(task_status: trio.TaskStatus[None]) -> None:
            async with opened.channel("c").subscribe() as messages:
                task_status.started()
                done.extend(await take(messages, 1))

        for _ in range(1_000):
            await nursery.start(follow)
        await publish(opened, [1])
    assert done == [1] * 1_000


async def test_several_at_once_are_those_that_need_no_waiting(opened: Broker) -> None:
    async with opened.channel("c").subscribe() as messages:
        await publish(opened, range(5))
        taken = [await messages.some(3), await messages.some(3)]
        assert [[int(m.name or "") for m in some] for some in taken] == [[0, 1, 2], [3, 4]]
        assert await nothing_more(messages)


async def test_an_error_behind_messages_is_raised_in_its_turn(
    opened: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened.channel("c").subscribe() as messages:
        await publish(opened, range(3))
        tell, damaged = messages._told, [1]

        def told(record: Record) -> StoredMessage | None:
            message = tell(record)
            if message is not None and int(message.name or "") in damaged:
                raise DamagedLog("record 1")
            return message

        monkeypatch.setattr(messages, "_told", told)
        assert [m.name for m in await messages.some(10)] == ["0"]
        with pytest.raises(DamagedLog):
            await messages.some(10)
        assert [m.name for m in await messages.some(10)] == ["2"]
