"""Realtime over real sockets: who is let in, taken over, slow, hostile, or there when it ends."""

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from random import Random, randrange
from typing import Any

import pytest
import trio
from hypothesis import strategies as st

from api import listener
from api.realtime.framing import Frame
from api.realtime.protocol import RESUMED, Action
from broker import BrokerSettings, Message
from broker.channels.presence import PresenceAction
from storage import LogSettings
from tests.api.protocol_messages import frame_of, histories, mutated
from tests.api.realtime_server import (
    STUCK_S,
    Closed,
    RealtimeClient,
    RealtimeServer,
    realtime_server,
)
from tests.api.test_session_fuzz import examples, well_formed
from tests.api.websocket_client import masked


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RealtimeServer]:
    async with realtime_server(tmp_path / "data") as running:
        yield running


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({}, 40101),
        ({"key": "nonsense"}, 40101),
        ({"key": "no.body:x"}, 40101),
        ({"key": "{app}.unknown:x"}, 40101),
        ({"key": "{key}x"}, 40101),
        ({"access_token": "nonsense"}, 40101),
        ({"key": "{key}", "clientId": "*"}, 40012),
    ],
)
async def test_bad_credentials_are_told_in_the_protocol(
    server: RealtimeServer, query: dict[str, str], code: int, binary: bool
) -> None:
    """On an accepted WebSocket, which is then closed (reference 2.2)."""
    words = {"app": server.broker.default_app(), "key": server.key}
    filled = {name: value.format(**words) for name, value in query.items()}
    client = await server.open(binary=binary, **filled)
    error = (await client.hears(Action.ERROR, channel=None))["error"]
    assert error["statusCode"] in (400, 401)
    assert error["code"] == code or code == 40101
    assert await client.closed() == 1000
    assert not server.realtime.sessions


async def test_connected(server: RealtimeServer) -> None:
    client = await server.connect(clientId="me")
    details = client.connected["connectionDetails"]
    assert details["connectionKey"] == client.key
    assert details["clientId"] == "me"
    assert details["connectionStateTtl"] == 120_000
    assert details["maxMessageSize"] == 65_536
    assert "error" not in client.connected


async def test_messages_and_goodbye(server: RealtimeServer) -> None:
    me, you = await server.connect(), await server.connect(binary=True)
    await me.attach("c")
    await you.attach("c")
    for number in range(20):
        await me.publish("c", number, str(number))
    numbers = [str(number) for number in range(20)]
    assert await you.names("c", 20) == numbers
    assert await me.names("c", 20) == numbers
    await you.says(Action.CLOSE)
    await you.hears(Action.CLOSED)
    assert await you.closed() == 1000


async def test_resuming(server: RealtimeServer) -> None:
    """RTN15: the same connection with a new key, what was missed, and what is in doubt again."""
    me = await server.connect()
    attached = await me.attach("c")
    await me.publish("c", 0, "mine")
    assert await me.names("c", 1) == ["mine"]
    me.vanish()
    await server.until_gone()
    await server.broker.channel("c").publish("missed")
    again = await server.connect(resume=me.key)
    assert (again.id, "error" in again.connected) == (me.id, False)
    assert again.key != me.key
    attached = await again.attach("c", channelSerial=attached["channelSerial"])
    assert attached["flags"] & RESUMED
    await again.publish("c", 0, "mine")
    await again.publish("c", 1, "new")
    assert await again.names("c", 3) == ["mine", "missed", "new"]


async def test_channels_go_on_where_a_connection_cannot(tmp_path: Path) -> None:
    """Design 4: an attachment continues from its channelSerial for as long as the log is kept, on
    any connection."""
    settings = BrokerSettings(connection_state_ttl_ms=1)
    async with realtime_server(tmp_path / "data", settings=settings) as server:
        me = await server.connect()
        attached = await me.attach("c")
        me.vanish()
        await server.until_gone()
        await server.broker.channel("c").publish("missed")  # takes longer than a millisecond
        again = await server.connect(resume=me.key)
        assert again.id != me.id
        assert again.connected["error"]["code"] == 80018
        attached = await again.attach("c", channelSerial=attached["channelSerial"])
        assert attached["flags"] & RESUMED
        await server.broker.channel("c").publish("new")
        assert await again.names("c", 2) == ["missed", "new"]


async def test_resuming_what_cannot_be(server: RealtimeServer) -> None:
    """A new connection, and why."""
    me = await server.connect()
    await me.says(Action.CLOSE)
    await server.until_gone()
    for key in (me.key, "nonsense", f"{me.id}!guessed"):
        again = await server.connect(resume=key)
        assert again.id != me.id
        assert again.connected["error"]["code"] == 80018


async def test_the_key_before_is_good_until_the_new_one_was_seen(server: RealtimeServer) -> None:
    me = await server.connect()
    second = await server.connect(resume=me.key)
    second.vanish()
    await server.until_gone()
    third = await server.connect(resume=me.key)
    assert third.id == me.id
    await third.says(Action.HEARTBEAT, id="seen")
    await third.hears(Action.HEARTBEAT, id="seen")
    fourth = await server.connect(resume=me.key)
    assert fourth.id != me.id


async def test_another_transport_takes_over(server: RealtimeServer) -> None:
    me = await server.connect()
    await me.attach("c")
    await me.says(Action.HEARTBEAT, id="seen")
    await me.hears(Action.HEARTBEAT, id="seen")
    other = await server.connect(resume=me.key)
    await me.hears_error(Action.DISCONNECTED, 80016, 410)
    assert await me.closed() == 1000
    await other.attach("c")
    await other.publish("c", 0, "a")
    assert await other.names("c", 1) == ["a"]


async def test_a_lost_client_is_resumed_by_nobody_else(server: RealtimeServer) -> None:
    me = await server.connect(clientId="me")
    me.vanish()
    await server.until_gone()
    thief = await server.open(key=server.key, resume=me.key, clientId="you")
    await thief.hears_error(Action.ERROR, 40102, 401)
    assert (await server.connect(resume=me.key, clientId="me")).id == me.id


async def everything(client: RealtimeClient) -> tuple[list[dict[str, Any]], int | None]:
    """What it hears until the end, and the code of that."""
    heard = []
    while True:
        try:
            heard.append(await client.next())
        except Closed as end:
            return heard, end.code


NUMBERS = 1_500
DATA = "x" * 4_000


async def publish_numbers(server: RealtimeServer) -> None:
    for first in range(0, NUMBERS, 15):
        batch = [Message(name=str(n), data=DATA) for n in range(first, first + 15)]
        await server.broker.channel("c").publish_all(batch)


async def read_in_order(client: RealtimeClient, channel: str, count: int) -> None:
    assert await client.names(channel, count) == [str(number) for number in range(count)]


@pytest.mark.parametrize("binary", [False, True])
async def test_who_stalls_misses_nothing_and_holds_up_nobody(tmp_path: Path, binary: bool) -> None:
    """6 MB against an outbox of 64 KiB: dropped, read again from disk, once and in order."""
    async with realtime_server(tmp_path / "data", outbox_bytes_max=64 * 1024) as server:
        slow = await server.connect(receive_bytes=4_096, binary=binary)
        fast = await server.connect(binary=binary)
        await slow.attach("c")
        await fast.attach("c")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_in_order, fast, "c", NUMBERS)
            await publish_numbers(server)
        assert server.realtime._budget.overflows > 0
        await read_in_order(slow, "c", NUMBERS)
        await server.broker.channel("c").publish("live")
        assert await slow.names("c", 1) == ["live"]


async def test_clients_that_stop_and_go(tmp_path: Path) -> None:
    """Each reads a little now and then; every one gets everything once and in order."""
    seed = randrange(2**32)
    print(f"seed {seed}")
    chance = Random(seed)
    settings = BrokerSettings(log=LogSettings(tail_records_max=50))
    async with realtime_server(
        tmp_path / "data",
        settings=settings,
        outbox_bytes_max=16 * 1024,
        outboxes_bytes_max=64 * 1024,
    ) as server:
        clients = [await server.connect(receive_bytes=4_096) for _ in range(6)]
        names: dict[RealtimeClient, list[str]] = {client: [] for client in clients}
        for client in clients:
            await client.attach("c")

        async def take(client: RealtimeClient, count: int) -> None:
            while len(names[client]) < count:
                message = await client.hears(Action.MESSAGE)
                names[client] += [item["name"] for item in message["messages"]]

        for number in range(600):
            data = "x" * chance.choice([0, 100, 9_000])
            await server.broker.channel("c").publish(str(number), data)
            if chance.random() < 0.1:
                client = chance.choice(clients)
                await take(client, chance.randint(len(names[client]), number + 1))
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(take, client, 600)
        for found in names.values():
            assert found == [str(number) for number in range(600)]
        assert server.realtime._budget.overflows > 0


async def test_who_never_reads_is_ended_and_comes_back(tmp_path: Path) -> None:
    async with realtime_server(
        tmp_path / "data", outbox_bytes_max=64 * 1024, stalled_timeout_ms=300
    ) as server:
        me = await server.connect(receive_bytes=4_096)
        attached = await me.attach("c")
        await publish_numbers(server)
        await server.until_gone()
        again = await server.connect(resume=me.key)
        assert again.id == me.id
        await again.attach("c", channelSerial=attached["channelSerial"])
        await read_in_order(again, "c", NUMBERS)


async def test_who_is_there_when_the_server_ends_is_told(server: RealtimeServer) -> None:
    """DISCONNECTED with a status that makes no SDK look elsewhere, then the close."""
    clients = [await server.connect() for _ in range(3)]
    for number, client in enumerate(clients):
        await client.attach("c")
        await client.publish("c", 0, str(number))
    await server.settled()
    server.stop.set()
    for client in clients:
        heard, code = await everything(client)
        assert code == 1000
        actions = [message["action"] for message in heard]
        assert actions[-1] == Action.DISCONNECTED
        assert 400 <= heard[-1]["error"]["statusCode"] < 500
        assert set(actions[:-1]) == {Action.ACK, Action.MESSAGE}
    with trio.fail_after(STUCK_S):
        await server.stopped.wait()


async def test_who_is_not_told_yet_is_served_as_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first who is told of the end hears nothing more, the other publishes and is answered."""
    monkeypatch.setattr(listener, "DRAIN_PAUSE_S_MAX", STUCK_S)
    limits = {"drain_window_ms": 2 * STUCK_S * 1_000, "shutdown_grace_ms": 4 * STUCK_S * 1_000}
    async with realtime_server(tmp_path, **limits) as server:
        clients = [await server.connect() for _ in range(2)]
        for client in clients:
            await client.attach("c")
        server.stop.set()
        results: dict[int, int] = {}

        async def first_to_end(number: int, nursery: trio.Nursery) -> None:
            heard, code = await everything(clients[number])
            assert (heard[-1]["action"], code) == (Action.DISCONNECTED, 1000)
            results[number] = len(heard)
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for number in range(2):
                nursery.start_soon(first_to_end, number, nursery)
        (told,) = results
        left = clients[1 - told]
        await left.publish("c", 0, "still")
        heard = [await left.next() for _ in range(2)]
        assert {message["action"] for message in heard} == {Action.ACK, Action.MESSAGE}
        left.vanish()
        with trio.fail_after(STUCK_S):
            await server.stopped.wait()


async def test_a_deleted_app_ends_its_connections(server: RealtimeServer) -> None:
    app = await server.broker.apps.create()
    (key,) = server.broker.apps.keys(app.id)
    other, mine = await server.connect(key=key.string), await server.connect()
    await server.broker.apps.delete(app.id)
    await other.hears_error(Action.ERROR, 40400, 404)
    assert await other.closed() == 1000
    await mine.attach("c")


async def test_a_revoked_key_ends_its_connections(server: RealtimeServer) -> None:
    app = server.broker.default_app()
    key = await server.broker.apps.create_key(app)
    other, mine = await server.connect(key=key.string), await server.connect()
    await server.broker.apps.revoke_key(app, key.key_id)
    await other.hears_error(Action.ERROR, 40131, 401)
    await mine.attach("c")


async def test_a_vanished_member_leaves_after_what_it_asked_for(server: RealtimeServer) -> None:
    me = await server.connect(clientId="me", remainPresentFor="1000")
    you = await server.connect()
    await me.attach("c")
    await you.attach("c")
    await me.says(Action.PRESENCE, channel="c", msgSerial=0, presence=[{"action": 2}])
    assert (await you.hears(Action.PRESENCE))["presence"][0]["clientId"] == "me"
    me.vanish()
    (left,) = (await you.hears(Action.PRESENCE))["presence"]
    assert (left["action"], left["clientId"]) == (PresenceAction.LEAVE, "me")


async def test_a_large_message_closes_the_connection(server: RealtimeServer) -> None:
    me = await server.connect()
    await me.socket.raw(masked(1, b"x" * (513 * 1024)))
    with pytest.raises(Closed) as end:
        await me.next()
    assert end.value.code == 1009


@pytest.mark.parametrize(
    "query",
    [
        {"echo": "maybe"},
        {"v": "x", "heartbeatInterval": "-5"},
        {"remainPresentFor": "9" * 99},
        {"format": "xml", "a": "\ud7ff\x00"},
    ],
)
async def test_parameters_that_mean_nothing(server: RealtimeServer, query: dict[str, str]) -> None:
    await (await server.connect(**query)).attach("c")


traffic = st.tuples(histories(), st.booleans(), st.integers(0, 9), st.integers(0, 9_999))


async def test_no_input_harms_the_server(server: RealtimeServer) -> None:
    """Odd and damaged messages over sockets; a witness beside them goes on all the while."""
    witness = await server.connect()
    await witness.attach("witness")
    count = 0

    async def check(example: Any) -> None:
        nonlocal count
        history, binary, cut, flip = example
        client = await server.connect(binary=binary, clientId="me")
        await client.attach("fuzz")
        for number, message in enumerate(history):
            frame = frame_of(message, binary=binary)
            if flip % 3 == number:
                frame = mutated(frame, cut, flip)
            await send(client, frame)
        with suppress(trio.BrokenResourceError):
            await client.says(Action.CLOSE)
        heard, code = await everything(client)
        assert code in (1000, 1007)
        for message in heard:
            well_formed(message)
        await server.broker.channel("witness").publish(str(count))
        assert await witness.names("witness", 1) == [str(count)]
        count += 1

    await examples(traffic, check)


async def send(client: RealtimeClient, frame: Frame) -> None:
    """It may have been ended for what it said before."""
    with suppress(trio.BrokenResourceError):
        await client.socket.raw(masked(2 if frame.binary else 1, frame.data))
