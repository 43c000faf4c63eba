"""How WebSockets are let in, in storms and beside clients that hold on to what they got; and how
they are told that the server ends."""

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from api import refusals
from api.listener import Upgrade
from tests.api.served import Client, Served, get, serving

IDLE_S = 0.05
CLIENTS = 60
HANDSHAKES_MAX = 4
ON_THE_WAY_MAX = 4  # accepted in the few scheduler steps that it takes to read a head


def upgrade(path: str = "/") -> bytes:
    return get(path, "Connection: Upgrade", "Upgrade: websocket")


class Opening:
    """A realtime handler that takes its time over each handshake, and records them."""

    def __init__(self, finish: Callable[[Upgrade], Awaitable[None]] | None = None) -> None:
        self.go = trio.Event()
        self.order: list[bytes] = []
        self.under_way = 0
        self._finish = finish

    async def __call__(self, upgrade: Upgrade) -> None:
        self.order.append(upgrade.request.target)
        self.under_way += 1
        await self.go.wait()
        self.under_way -= 1
        if self._finish is not None:
            await self._finish(upgrade)
        upgrade.connection.authenticated()
        await upgrade.stream.send_all(b"welcome")
        await upgrade.connection.draining.wait()


async def welcomed(client: Client) -> None:
    assert await client.stream.receive_some() == b"welcome"


def at_once(finish: Callable[[Upgrade], Awaitable[None]] | None = None) -> Opening:
    opening = Opening(finish)
    opening.go.set()
    return opening


async def test_a_storm_is_let_in_a_few_at_a_time_first_come_first_served() -> None:
    opening = Opening()
    async with serving(realtime=opening, handshakes_max=HANDSHAKES_MAX) as server:
        clients = []
        for number in range(CLIENTS):
            clients.append(await server.connect())
            await clients[-1].send(upgrade(f"/{number}"))
        await wait_all_tasks_blocked(IDLE_S)
        assert HANDSHAKES_MAX <= opening.under_way <= HANDSHAKES_MAX + ON_THE_WAY_MAX
        opening.go.set()
        for client in clients:
            await welcomed(client)
        assert opening.order == [f"/{number}".encode() for number in range(CLIENTS)]
        assert (server.admission.opening, server.admission.unauthenticated) == (0, 0)
        assert not server.admission.refused


async def test_who_holds_connections_holds_nobody_up() -> None:
    async with serving(realtime=at_once(), handshakes_max=1) as server:
        for begun in [b"", b"GET", upgrade()[:-2]] * 3:
            await (await server.connect()).send(begun)
        await wait_all_tasks_blocked(IDLE_S)
        client = await server.connect()
        await client.send(upgrade())
        await welcomed(client)


async def refuse(upgrade: Upgrade) -> None:
    if upgrade.request.target == b"/bad":
        raise refusals.bad_handshake("it is bad")


async def test_who_was_refused_and_lingers_holds_nobody_up(mock_clock: MockClock) -> None:
    """The clock stands still: what waits for a timeout would wait for ever."""
    async with serving(realtime=at_once(refuse), handshakes_max=1) as server:
        refused = await server.connect()
        await refused.send(upgrade("/bad"))
        assert (await refused.reply()).status == 400
        client = await server.connect()
        await client.send(upgrade())
        await welcomed(client)


async def hang(upgrade: Upgrade) -> None:
    if upgrade.request.target == b"/slow":
        await upgrade.connection.draining.wait()


async def test_opening_takes_so_long_at_most(mock_clock: MockClock) -> None:
    async with serving(
        realtime=at_once(hang), handshakes_max=1, realtime_open_timeout_ms=10_000
    ) as server:
        known = await server.connect()
        await known.send(upgrade())
        await welcomed(known)
        slow, client = await server.connect(), await server.connect()
        await slow.send(upgrade("/slow"))
        await client.send(upgrade())
        await wait_all_tasks_blocked(IDLE_S)
        assert server.admission.opening == 1
        mock_clock.jump(10)
        assert await slow.rest() == b""
        await welcomed(client)
        assert len(server.admission.connections) == 2


async def test_strangers_that_are_being_answered_are_not_put_out() -> None:
    async with serving(realtime=at_once(hang), unauthenticated_connections_max=2) as server:
        opening = await server.connect()
        await opening.send(upgrade("/slow"))
        await wait_all_tasks_blocked(IDLE_S)
        idle = await server.connect()
        await wait_all_tasks_blocked(IDLE_S)
        newcomer = await server.connect()
        assert await idle.rest() == b""
        await newcomer.send(get())
        assert (await newcomer.reply()).status == 200
        assert server.admission.opening == 1


@pytest.mark.parametrize("is_late", [False, True])
async def test_a_drain_tells_realtime_connections_and_does_not_wait_for_the_grace(
    mock_clock: MockClock, is_late: bool
) -> None:
    """The clock stands still, so the grace never ends."""
    told, going = trio.Event(), trio.Event()

    async def realtime(upgrade: Upgrade) -> None:
        upgrade.connection.authenticated()
        if is_late:
            going.set()
            await upgrade.connection.draining.wait()
        upgrade.connection.on_drain = told.set
        going.set()
        await told.wait()
        await upgrade.stream.send_all(b"goodbye")

    async with serving(realtime=realtime) as server:
        client = await opened(server)
        await going.wait()
        server.stop.set()
        assert await client.rest() == b"goodbye"
        await server.stopped.wait()


async def opened(server: Served) -> Client:
    client = await server.connect()
    await client.send(upgrade())
    return client


async def test_a_drain_tells_once() -> None:
    told: list[None] = []

    async def realtime(upgrade: Upgrade) -> None:
        upgrade.connection.on_drain = lambda: told.append(None)
        upgrade.connection.drain()
        upgrade.connection.drain()

    async with serving(realtime=realtime) as server:
        assert await (await opened(server)).rest() == b""
    assert told == [None]
