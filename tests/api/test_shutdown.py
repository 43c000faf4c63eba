"""What was accepted is finished, what is idle is closed at once, and nobody holds the server up."""

import contextlib

import pytest
import trio
from trio.testing import MockClock

from api.connection import Connection
from api.listener import Upgrade
from tests.api.served import Client, Served, get, post, serving

IDLE_BEFORE_JUMP_S = 0.05
STEPS_BEFORE_MAX = 15  # scheduler steps from the shutdown to the last connection closed, and more
STEPS_AFTER_MAX = 45  # from accepting a connection to the end of its reply, and more


async def _idle_client(server: Served) -> Client:
    client = await server.connect()
    await client.send(get())
    await client.reply()
    return client


async def _holding_client(server: Served) -> Client:
    client = await server.connect()
    await client.send(get("/hold"))
    await server.app.entered.wait()
    return client


@pytest.mark.parametrize("by_cancel", [False, True])
async def test_finishes_what_was_accepted(by_cancel: bool) -> None:
    async with serving() as server:
        idle = await _idle_client(server)
        begun = await server.connect()
        await begun.send(b"POST /ec")
        holding = await _holding_client(server)
        server.cancel() if by_cancel else server.stop.set()
        with trio.CancelScope(shield=True):
            assert await idle.rest() == b""
            assert await begun.rest() == b""
            with pytest.raises(OSError, match="failed"):
                await server.connect()
            assert not server.stopped.is_set()
            assert server.app.lifespan == ["startup"]
            server.app.release.set()
            reply = await holding.reply()
            assert (reply.body, reply.headers["connection"]) == (b"released", "close")
            assert await holding.rest() == b""
            await server.stopped.wait()
            assert server.app.lifespan == ["startup", "shutdown"]


async def test_a_body_still_under_way_is_waited_for() -> None:
    async with serving() as server:
        client = await server.connect()
        request = post(b"0123456789")
        await client.send(request[:-5])
        while not _requests_under_way(server):
            await trio.lowlevel.checkpoint()
        server.stop.set()
        await trio.testing.wait_all_tasks_blocked()
        await client.send(request[-5:])
        assert (await client.reply()).body == b"0123456789"
        await server.stopped.wait()


def _requests_under_way(server: Served) -> int:
    return sum(connection.requests for connection in server.admission.connections)


async def test_the_grace_is_the_end() -> None:
    async with serving(shutdown_grace_ms=50, may_log=None) as server:
        holding = await _holding_client(server)
        server.stop.set()
        assert await holding.rest() == b""
        await server.stopped.wait()
        assert server.app.lifespan == ["startup", "shutdown"]


async def test_a_client_that_does_not_read_cannot_hold_the_server_up() -> None:
    """Hypercorn's pending write is shielded: only shutting the socket down ends it."""
    async with serving(shutdown_grace_ms=50, write_timeout_ms=3_600_000) as server:
        server.app.reply_bytes = 50_000_000
        client = await server.connect()
        await client.send(get("/large"))
        while not _requests_under_way(server):
            await trio.lowlevel.checkpoint()
        server.stop.set()
        await server.stopped.wait()


async def test_realtime_handlers_see_the_shutdown_and_may_say_goodbye() -> None:
    async def realtime(upgrade: Upgrade) -> None:
        await upgrade.stream.send_all(b"hello ")
        await upgrade.connection.draining.wait()
        await upgrade.stream.send_all(b"goodbye")

    async with serving(realtime=realtime) as server:
        client = await server.connect()
        await client.send(get("/", "Connection: Upgrade", "Upgrade: websocket"))
        assert await client.stream.receive_some() == b"hello "
        server.stop.set()
        assert await client.rest() == b"goodbye"
        await server.stopped.wait()


async def _told_when(number: int, clock: MockClock, **limits: int) -> list[float]:
    """When each of so many realtime connections was told, in seconds since the shutdown began."""
    told: list[float] = []
    ready = trio.Event()
    waiting = 0

    async def realtime(upgrade: Upgrade) -> None:
        nonlocal waiting
        over = trio.Event()

        def drained() -> None:
            told.append(trio.current_time())
            over.set()

        upgrade.connection.authenticated()
        upgrade.connection.on_drain = drained
        waiting += 1
        if waiting == number:
            ready.set()
        await over.wait()

    async with serving(realtime=realtime, **limits) as server:
        for _ in range(number):
            client = await server.connect()
            await client.send(get("/", "Connection: Upgrade", "Upgrade: websocket"))
        idle = await _idle_client(server)
        await ready.wait()
        began = trio.current_time()
        server.stop.set()
        assert await idle.rest() == b""
        await server.stopped.wait()
    return [at - began for at in told]


@pytest.mark.parametrize(
    ("window_ms", "grace_ms", "last_s"),
    [(150, 10_000, 0.15), (2_000, 100, 0.05), (0, 10_000, 0.0), (60_000, 10_000, 0.3)],
    ids=["the window", "half the grace", "at once", "few take no longer than they must"],
)
async def test_realtime_clients_are_told_one_after_another(
    clock: MockClock, window_ms: int, grace_ms: int, last_s: float
) -> None:
    limits = {"drain_window_ms": window_ms, "shutdown_grace_ms": grace_ms}
    number = 30
    told = await _told_when(number, clock, **limits)
    assert len(told) == number
    expected = [last_s / number * at for at in range(number)]
    assert told == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("warm_up", [False, True], ids=["first", "later"])
async def test_at_every_step_a_request_is_answered_or_never_began(warm_up: bool) -> None:
    """The shutdown comes some scheduler steps before the request, or after: between any two."""
    outcomes = set()
    for steps in range(-STEPS_BEFORE_MAX, STEPS_AFTER_MAX):
        async with serving() as server:
            client = await (_idle_client(server) if warm_up else server.connect())
            server.app.requests.clear()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_send_after, -steps, client, post(b"all or nothing"))
                accepted = await _stop_after(steps, server)
            rest = await client.rest()
            if accepted and accepted[0].draining.is_set() and not warm_up:
                assert rest, f"its head was whole at the shutdown, {steps} steps after it was sent"
            assert rest == b"" or rest.endswith(b"\r\n\r\nall or nothing"), steps
            assert bool(rest) == bool(server.app.requests), steps
            outcomes.add(bool(rest))
    assert outcomes == {False, True}


async def _send_after(steps: int, client: Client, request: bytes) -> None:
    for _ in range(steps):
        await trio.lowlevel.checkpoint()
    with contextlib.suppress(trio.BrokenResourceError):
        await client.send(request)


async def _stop_after(steps: int, server: Served) -> list[Connection]:
    for _ in range(steps):
        await trio.lowlevel.checkpoint()
    server.stop.set()
    return list(server.admission.connections)


async def test_idle_without_a_shutdown_stays_open() -> None:
    """The closing above is the shutdown's doing: a virtual minute alone does nothing."""
    async with serving(idle_timeout_ms=75_000) as server:
        client = await _idle_client(server)
        await trio.testing.wait_all_tasks_blocked()
        assert len(server.admission.connections) == 1
        await client.send(get())
        assert (await client.reply()).status == 200


@pytest.fixture
def clock() -> MockClock:
    return MockClock(autojump_threshold=IDLE_BEFORE_JUMP_S)


async def test_a_request_longer_than_every_timeout_of_reading_is_finished(clock: MockClock) -> None:
    """Hypercorn's own read_timeout would cut it off while the application works."""
    async with serving(idle_timeout_ms=1_000, body_timeout_ms=1_000) as server:
        holding = await _holding_client(server)
        await trio.sleep(60)
        server.app.release.set()
        assert (await holding.reply()).body == b"released"
