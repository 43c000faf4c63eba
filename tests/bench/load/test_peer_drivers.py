"""Every driver of a peer keeps what bench/load/driver.py asks of it, on the peer itself.

Also what a broker must not do is looked for: nothing is lost, doubled or out of order in any of
these tests, so that what a checker finds under load is the broker's, not the driver's.
"""

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
import pytest

from bench.load import peers
from bench.load.driver import Ability, Address, Connection, Driver, Refused, Unknown
from tests.bench.load.needed import needed

STUCK_S = 120
DRIVERS = [
    pytest.param((name, driver), id=driver)
    for name in peers.MODULES
    for driver in getattr(peers.peer(name), "drivers", ())
    if name != "tidelog"
]

Test = Callable[[Driver], Awaitable[None]]


@pytest.fixture(scope="module", params=DRIVERS)
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Driver, Address]]:
    name, driver = request.param
    peer = needed(name)
    with peer.start(tmp_path_factory.mktemp("peers") / name) as address:
        yield peer.driver(driver, address), address


@pytest.fixture
def driver(running: tuple[Driver, Address]) -> Driver:
    return running[0]


@pytest.fixture
def channel(request: pytest.FixtureRequest) -> str:
    """One of its own for each test: the peer is the same."""
    return request.node.originalname


def run(driver: Driver, test: Test) -> None:
    async def bounded() -> None:
        with anyio.fail_after(STUCK_S):
            await test(driver)

    anyio.run(bounded, backend=driver.backend)


def able(driver: Driver, ability: Ability) -> None:
    if ability not in driver.abilities:
        pytest.skip(f"{driver.name} cannot {ability}")


@asynccontextmanager
async def connections(driver: Driver, count: int) -> AsyncIterator[list[Connection]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(driver.connect()) for _ in range(count)]


class Received:
    """What a subscriber has; `until` waits for so many."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self._came = anyio.Event()

    def __call__(self, body: bytes) -> None:
        self.bodies.append(body)
        self._came.set()

    async def until(self, count: int) -> list[bytes]:
        while len(self.bodies) < count:
            self._came = anyio.Event()
            await self._came.wait()
        return self.bodies


def bodies(count: int, first: int = 0) -> list[bytes]:
    return [b"%06d of many" % number for number in range(first, first + count)]


async def together(connection: Connection, channel: str, sent: list[bytes]) -> None:
    """All of them are under way at once, begun in this order."""
    async with anyio.create_task_group() as tasks:
        for body in sent:
            tasks.start_soon(connection.publish, channel, body)


def test_subscribers_receive_all_once_in_order(driver: Driver, channel: str):
    async def test(driver: Driver) -> None:
        async with connections(driver, 4) as (publisher, *subscribers):
            received = [Received() for _ in subscribers]
            for subscriber, one in zip(subscribers, received, strict=True):
                await subscriber.subscribe(channel, one)
            await together(publisher, channel, bodies(500))
            await publisher.publish(channel, b"last")
            for one in received:
                assert await one.until(501) == [*bodies(500), b"last"]

    run(driver, test)


def test_the_order_of_calls_is_kept_from_the_very_first_on(driver: Driver, channel: str):
    async def test(driver: Driver) -> None:
        async with connections(driver, 2) as (publisher, subscriber):
            received = Received()
            await subscriber.subscribe(channel, received)
            async with anyio.create_task_group() as tasks:
                for body in bodies(2_000):
                    tasks.start_soon(publisher.publish, channel, body)
                    await anyio.lowlevel.checkpoint()
            assert await received.until(2_000) == bodies(2_000)

    run(driver, test)


def test_a_connection_subscribes_to_several_channels(driver: Driver, channel: str):
    async def test(driver: Driver) -> None:
        async with connections(driver, 2) as (publisher, subscriber):
            first, second = Received(), Received()
            await subscriber.subscribe(f"{channel}:1", first)
            await publisher.publish(f"{channel}:1", b"1")
            await first.until(1)  # it waits for the first channel alone by now
            await subscriber.subscribe(f"{channel}:2", second)
            await publisher.publish(f"{channel}:2", b"2")
            await publisher.publish(f"{channel}:1", b"3")
            assert await second.until(1) == [b"2"]
            assert await first.until(2) == [b"1", b"3"]

    run(driver, test)


def test_a_subscription_is_in_force_when_it_returns(driver: Driver, channel: str):
    """Also while its connection is writing something else."""

    async def test(driver: Driver) -> None:
        async with connections(driver, 2) as (publisher, subscriber):
            for number in range(100):
                received = Received()
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(subscriber.publish, f"{channel}:elsewhere", b"busy")
                    await subscriber.subscribe(f"{channel}:{number}", received)
                    await publisher.publish(f"{channel}:{number}", b"first")
                    assert await received.until(1) == [b"first"]

    run(driver, test)


def test_history_is_the_newest_of_one_channel(driver: Driver, channel: str):
    able(driver, "history")

    async def test(driver: Driver) -> None:
        async with connections(driver, 1) as (connection,):
            assert await connection.history(channel, 10) == []
            await together(connection, channel, bodies(30))
            await together(connection, f"{channel}:other", bodies(200))
            assert await connection.history(channel, 10) == bodies(30)[:-11:-1]
            assert await connection.history(channel, 1) == bodies(30)[-1:]
            assert await connection.history(channel, 100) == bodies(30)[::-1]

            async def asked(name: str, limit: int, expected: list[bytes]) -> None:
                assert await connection.history(name, limit) == expected

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(asked, channel, 2, bodies(30)[:-3:-1])
                tasks.start_soon(asked, f"{channel}:other", 3, bodies(200)[:-4:-1])
                tasks.start_soon(asked, f"{channel}:none", 3, [])

    run(driver, test)


def test_a_connection_that_was_cut_misses_nothing(driver: Driver, channel: str):
    able(driver, "resume")

    async def test(driver: Driver) -> None:
        async with connections(driver, 2) as (publisher, subscriber):
            received, never = Received(), Received()
            await subscriber.subscribe(channel, received)
            await subscriber.subscribe(f"{channel}:quiet", never)
            await together(publisher, channel, bodies(50))
            await received.until(50)
            for again in (1, 2):
                await subscriber.cut()
                await together(publisher, channel, bodies(50, 50 * again))
                await subscriber.resume()
                assert await received.until(50 * again + 50) == bodies(50 * again + 50)
            await subscriber.publish(f"{channel}:quiet", b"quiet")
            assert await never.until(1) == [b"quiet"]

    run(driver, test)


def test_what_was_under_way_when_the_connection_was_lost_is_unknown(
    running: tuple[Driver, Address], channel: str
):
    driver, address = running
    able(driver, "resume")

    async def test(driver: Driver) -> None:
        async with connections(driver, 1) as (connection,):
            await connection.publish(channel, b"before")
            stop(address.pid)
            try:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(unknown, connection, channel)
                    await anyio.wait_all_tasks_blocked()
                    await connection.cut()
            finally:
                os.kill(address.pid, signal.SIGCONT)
            with pytest.raises(Refused):
                await connection.publish(channel, b"while it was cut")
            await connection.resume()
            await connection.publish(channel, b"afterwards")

    run(driver, test)


def stop(pid: int) -> None:
    """All of its threads: none of them answers any more."""
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED)


async def unknown(connection: Connection, channel: str) -> None:
    with pytest.raises(Unknown):
        await connection.publish(channel, b"under way")


@pytest.mark.parametrize("place", DRIVERS)
def test_what_was_under_way_when_the_broker_died_is_unknown(place: tuple[str, str], tmp_path: Path):
    peer = needed(place[0])

    async def test(driver: Driver) -> None:
        async with connections(driver, 1) as (connection,):
            await connection.publish("channel", b"before")
            stop(address.pid)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(unknown, connection, "channel")
                await anyio.wait_all_tasks_blocked()
                os.kill(address.pid, signal.SIGKILL)
            with pytest.raises((Refused, Unknown)):
                await connection.publish("channel", b"afterwards")

    with peer.start(tmp_path / "peer") as address:
        run(peer.driver(place[1], address), test)


def test_one_that_does_not_read_holds_up_nobody(driver: Driver, channel: str):
    able(driver, "pause")

    async def test(driver: Driver) -> None:
        async with connections(driver, 3) as (publisher, slow, quick):
            behind, up = Received(), Received()
            await slow.subscribe(channel, behind)
            await quick.subscribe(channel, up)
            await slow.pause(True)
            for body in bodies(50):
                await publisher.publish(channel, body)
            await up.until(50)
            assert len(behind.bodies) < 50
            await slow.pause(False)
            assert await behind.until(50) == bodies(50)

    run(driver, test)


def test_a_publisher_that_gives_up_disturbs_no_other(driver: Driver, channel: str):
    async def test(driver: Driver) -> None:
        async with connections(driver, 2) as (publisher, subscriber):
            received = Received()
            await subscriber.subscribe(channel, received)
            async with anyio.create_task_group() as others, anyio.create_task_group() as tasks:
                tasks.start_soon(publisher.publish, channel, b"given up")
                others.start_soon(together, publisher, channel, bodies(10))
                await anyio.lowlevel.checkpoint()
                await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
            await publisher.publish(channel, b"last")
            while received.bodies[-11:] != [*bodies(10), b"last"]:
                await received.until(len(received.bodies) + 1)

    run(driver, test)
