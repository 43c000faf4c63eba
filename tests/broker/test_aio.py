"""The broker on asyncio: awaits that are cancelled, loops that end, errors that come through."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

import broker.aio
from broker import BadRequest, BrokerSettings, NotFound, Unavailable
from broker.aio import Broker
from broker.errors import InUse
from broker.storage_errors import CLOSED
from tests.broker.acting import writer_held

STUCK_S = 20


def on_asyncio(path: Path, test: Callable[[Broker], Awaitable[Any]], **options: Any) -> None:
    async def main() -> None:
        async with asyncio.timeout(STUCK_S), broker.aio.open(path, **options) as b:
            await test(b)

    asyncio.run(main(), debug=True)


async def names(b: Broker, channel: str = "c") -> list[str | None]:
    page = await b.channel(channel).history(limit=1000, direction="forwards")
    return [message.name for message in page.messages]


def test_what_is_published_is_delivered_and_in_history(path: Path) -> None:
    async def test(b: Broker) -> None:
        channel = b.channel("c")
        async with channel.subscribe() as messages:
            await channel.publish("n", {"a": 1}, id="i", client_id="me")
            delivered = await anext(messages)
        assert (await channel.history()).messages == (delivered,)

    on_asyncio(path, test)


@pytest.mark.parametrize(
    ("channel", "app", "error"), [("", None, BadRequest), ("c", "nobody", NotFound)]
)
def test_errors_are_the_broker_s_own(
    path: Path, channel: str, app: str | None, error: type[Exception]
) -> None:
    async def test(b: Broker) -> None:
        wrong = b.channel(channel, app=app)
        with pytest.raises(error):
            await wrong.publish("n")
        with pytest.raises(error):
            async with wrong.subscribe():
                pass

    on_asyncio(path, test)


def test_an_error_in_the_body_is_raised_as_it_is(path: Path) -> None:
    async def test(_: Broker) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        on_asyncio(path, test)
    on_asyncio(path, names)


def test_a_directory_in_use_is_refused(path: Path) -> None:
    async def test(_: Broker) -> None:
        with pytest.raises(InUse):
            async with broker.aio.open(path):
                pass

    on_asyncio(path, test)


def test_a_cancelled_publish_may_be_repeated_with_its_id(path: Path) -> None:
    """Cancelled at any moment: it is on disk or not, and once it is repeated it is there once."""
    cancelled = 0

    async def test(b: Broker) -> None:
        nonlocal cancelled
        for number in range(40):
            publish = asyncio.create_task(b.channel("c").publish(str(number), id=f"id-{number}"))
            await asyncio.sleep(0)
            await asyncio.wait([publish], timeout=number % 20 * 2e-4)
            publish.cancel()
            cancelled += isinstance(
                (await asyncio.gather(publish, return_exceptions=True))[0], asyncio.CancelledError
            )
            await b.channel("c").publish(str(number), id=f"id-{number}")
        assert await names(b) == [str(number) for number in range(40)]

    on_asyncio(path, test)
    print("cancelled", cancelled, "of 40")
    assert cancelled


def test_a_publish_that_is_cancelled_while_it_is_written_is_there_once(path: Path) -> None:
    async def test(b: Broker) -> None:
        loop, held, release = asyncio.get_running_loop(), asyncio.Event(), trio.Event()

        async def hold(opened: broker.Broker) -> None:
            async with writer_held(opened.log):
                loop.call_soon_threadsafe(held.set)
                await release.wait()

        async def let_go(_: broker.Broker) -> None:
            release.set()

        holding = asyncio.create_task(b.call(hold))
        await held.wait()
        publish = asyncio.create_task(b.channel("c").publish("n", id="i"))
        while await b.call(_queued) == 0:
            pass
        publish.cancel()
        with pytest.raises(asyncio.CancelledError):
            await publish
        await b.call(let_go)
        await holding
        await b.channel("c").publish("n", id="i")
        assert await names(b) == ["n"]

    on_asyncio(path, test)


async def _queued(opened: broker.Broker) -> int:
    await trio.lowlevel.checkpoint()
    return opened.log.queued


def test_cancelling_an_await_cancels_what_it_waits_for(path: Path) -> None:
    async def test(b: Broker) -> None:
        loop, begun, ended = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

        async def never(_: broker.Broker) -> None:
            loop.call_soon_threadsafe(begun.set)
            try:
                await trio.sleep_forever()
            finally:
                loop.call_soon_threadsafe(ended.set)

        waiting = asyncio.create_task(b.call(never))
        await begun.wait()
        waiting.cancel()
        await ended.wait()
        assert waiting.cancelled()

    on_asyncio(path, test)


def test_a_reader_that_gives_up_again_and_again_misses_nothing(path: Path) -> None:
    total, gave_up = 200, 0

    async def test(b: Broker) -> None:
        nonlocal gave_up
        seen: list[str | None] = []
        async with b.channel("c").subscribe() as messages, asyncio.TaskGroup() as tasks:
            tasks.create_task(_publish(b, total))
            while len(seen) < total:
                try:
                    async with asyncio.timeout(gave_up % 20 * 1e-4):
                        seen.append((await anext(messages)).name)
                except TimeoutError:
                    gave_up += 1
        assert seen == [str(number) for number in range(total)]

    on_asyncio(path, test)
    print("gave up", gave_up, "times")
    assert gave_up


async def _publish(b: Broker, total: int) -> None:
    for number in range(total):
        await b.channel("c").publish(str(number))


def test_a_subscriber_that_falls_behind_misses_nothing(path: Path) -> None:
    async def test(b: Broker) -> None:
        async with b.channel("c").subscribe() as messages:
            await _publish(b, 50)
            seen = [(await anext(messages)).name for _ in range(50)]
        assert seen == [str(number) for number in range(50)]

    on_asyncio(path, test, settings=BrokerSettings(subscription_messages_max=2))


def test_a_closed_broker_says_so_to_who_waits_and_who_comes(path: Path) -> None:
    async def main() -> None:
        begun = asyncio.Event()

        async def follow(b: Broker) -> None:
            async with b.channel("c").subscribe() as messages:
                begun.set()
                await anext(messages)

        async with broker.aio.open(path) as b:
            following = asyncio.create_task(follow(b))
            await begun.wait()
        for told in (following, b.channel("c").publish("n"), b.channel("c").history()):
            with pytest.raises(Unavailable) as refused:
                await told
            assert refused.value.code == CLOSED

    asyncio.run(main(), debug=True)


def test_cancelling_the_opening_leaves_nothing_open(path: Path) -> None:
    async def main() -> None:
        async def hold() -> None:
            async with broker.aio.open(path):
                await asyncio.Event().wait()

        for turns in (0, 1, 2, 5):
            opening = asyncio.create_task(hold())
            for _ in range(turns):
                await asyncio.sleep(0)
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
            async with broker.aio.open(path) as b:
                await b.channel("c").publish("n")

    asyncio.run(main(), debug=True)


def test_a_loop_that_is_closed_on_waiting_tasks_harms_nobody(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The broker goes on, for another loop too."""
    loop = asyncio.new_event_loop()
    opening = broker.aio.open(path)
    b = loop.run_until_complete(opening.__aenter__())
    begun = threading.Event()

    async def never(_: broker.Broker) -> None:
        begun.set()
        await trio.sleep_forever()

    waiting = loop.create_task(b.call(never))
    loop.run_until_complete(asyncio.sleep(0))
    assert begun.wait(STUCK_S)
    loop.close()

    async def go_on() -> None:
        await b.channel("c").publish("n")
        assert await names(b) == ["n"]
        await opening.__aexit__(None, None, None)

    asyncio.run(go_on())
    assert not waiting.done()
    waiting.get_coro().close()  # type: ignore[union-attr]
    waiting._log_destroy_pending = False  # type: ignore[attr-defined]
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


def test_two_brokers_in_one_loop_are_two(path: Path, tmp_path: Path) -> None:
    async def test(a: Broker) -> None:
        async with broker.aio.open(tmp_path / "other") as b:
            await asyncio.gather(a.channel("c").publish("a"), b.channel("c").publish("b"))
            assert (await names(a), await names(b)) == (["a"], ["b"])
        await a.channel("c").publish("c")
        assert await names(a) == ["a", "c"]

    on_asyncio(path, test)
