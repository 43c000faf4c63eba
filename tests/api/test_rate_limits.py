"""Limits as clients meet them: over realtime connections and HTTP."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from trio.testing import MockClock

import broker
from api.realtime.protocol import Action
from broker import BrokerSettings, RateLimitSettings
from broker.channels.modes import Mode
from broker.channels.presence import PresenceAction
from broker.tenancy import Limits, NamespaceRules
from tests.api.conversation import Client, Talk, talking
from tests.api.realtime_server import realtime_server
from tests.api.rest_server import RestServer, basic, error_of, rest_server
from tests.api.test_rest_tokens import path, post, signed

Talking = Callable[..., AbstractAsyncContextManager[Talk]]
ENTER = PresenceAction.ENTER


@pytest.fixture(autouse=True)
def time() -> MockClock:
    """It stands still until a test moves it."""
    return MockClock()


def limited(**limits: int) -> BrokerSettings:
    return BrokerSettings(rate_limits=RateLimitSettings(**limits))


@pytest.fixture
def talk(tmp_path: Path) -> Talking:
    @asynccontextmanager
    async def start(**limits: int) -> AsyncIterator[Talk]:
        opening = broker.open(tmp_path / "data", settings=limited(**limits))
        async with opening as b, talking(b) as t:
            yield t

    return start


async def accepted(client: Client, serial: int, count: int = 1) -> Any:
    return (await client.hears(Action.ACK, msgSerial=serial, count=count))["res"]


async def refused(client: Client, serial: int, code: int) -> None:
    await client.hears_error(Action.NACK, code, 429, msgSerial=serial, count=1)


@pytest.mark.parametrize(
    ("limit", "code"),
    [
        ("app_messages_per_s", 42917),
        ("key_messages_per_s", 42910),
        ("connection_messages_per_s", 42911),
        ("channel_messages_per_s", 42913),
        ("channel_bytes_per_s", 42914),
        ("connection_bytes_per_s", 42911),
    ],
)
async def test_too_much_is_refused_and_the_connection_lives(
    talk: Talking, time: MockClock, limit: str, code: int
) -> None:
    async with talk(**{limit: 2}) as t:
        me = await t.connect()
        first = me.publishes("c", "a", "b", "c", data="")
        await accepted(me, first, count=2)
        await refused(me, first + 2, code)
        time.jump(0.5)
        await accepted(me, me.publishes("c", "d"))
        time.jump(1)
        await accepted(me, me.publishes("c", "e", "f"), count=2)
        names = [m.name for m in (await t.broker.channel("c").history()).messages]
        assert names == ["f", "e", "d", "b", "a"]
        assert t.broker.epoch.rate_limits.refused == {limit: 1}


async def test_presence_changes_and_annotations_count(talk: Talking, time: MockClock) -> None:
    async with talk(connection_messages_per_s=1) as t:
        rules = NamespaceRules(mutable_messages=True)
        await t.broker.apps.set_namespace(t.app, "m", rules)
        published = await t.broker.channel("m:c").publish("a", "1")
        serial = str(published.serials[0])
        me = await t.connect("me")
        await me.attach("m:c", flags=int(Mode.PRESENCE | Mode.PUBLISH | Mode.ANNOTATION_PUBLISH))
        said: list[Callable[[], int]] = [
            lambda: me.present("m:c", ENTER),
            lambda: me.changes("m:c", serial, 1, data="2"),
            lambda: me.annotates("m:c", serial, {"action": 0, "type": "t:total.v1"}),
        ]
        for say in said:
            await accepted(me, say())
            await refused(me, say(), 42911)
            time.jump(1)


async def test_what_was_accepted_is_acknowledged_again_where_it_is_resumed(
    talk: Talking, time: MockClock
) -> None:
    """Its answer was lost with the transport; to refuse it would say that it was not published."""
    async with talk(channel_messages_per_s=2) as t:
        me = await t.connect()
        me.publishes("c", "a", "b")
        first = await accepted(me, 0, count=2)
        me.vanishes()
        again = await t.connect(resume=me.held.key)
        again.publishes("c", "a", "b", "new")
        assert await accepted(again, 0, count=2) == first
        await refused(again, 2, 42913)
        time.jump(1)
        again.publishes("c", "new")
        await accepted(again, 3)
        assert len((await t.broker.channel("c").history()).messages) == 3


async def test_a_known_id_is_acknowledged_on_any_connection(talk: Talking) -> None:
    async with talk(channel_messages_per_s=1) as t:
        me, other = await t.connect(), await t.connect()
        me.publishes("c", "a", id="mine")
        first = await accepted(me, 0)
        other.publishes("c", "a", id="mine")
        assert await accepted(other, 0) == first
        other.publishes("c", "a", id="another")
        await refused(other, 1, 42913)


async def test_a_repeat_that_comes_before_the_first_is_on_disk_is_known_too(talk: Talking) -> None:
    async with talk(channel_messages_per_s=1) as t:
        me, other = await t.connect(), await t.connect()
        me.publishes("c", "a", id="mine")
        other.publishes("c", "a", id="mine")
        assert await accepted(me, 0) == await accepted(other, 0)


async def test_who_sends_far_too_much_is_cut_off(talk: Talking, time: MockClock) -> None:
    async with talk(connection_frames_per_s=10) as t:
        me, other = await t.connect(), await t.connect()
        heartbeats = [{"action": Action.HEARTBEAT, "id": str(number)} for number in range(10)]
        me.says_all(*heartbeats)
        for number in range(10):
            await me.hears(Action.HEARTBEAT, id=str(number))
        me.says(Action.HEARTBEAT, id="one more")
        await me.hears_error(Action.ERROR, 42924, 429)
        assert me.session.over
        other.says_all(*heartbeats)
        await other.hears(Action.HEARTBEAT, id="0")


async def test_who_watches_the_app_is_told(talk: Talking) -> None:
    async with talk(channel_messages_per_s=1) as t:
        watcher, me = await t.connect(), await t.connect()
        await watcher.attach("[meta]log")
        me.publishes("c", "a", "b")
        await accepted(me, 0)
        await refused(me, 1, 42913)
        (report,) = await watcher.hears_items("[meta]log", 1)
        said = json.loads(report["data"])
        assert (said["error"]["code"], said["channel"]) == (42913, "c")
        assert said["connectionId"] == me.id


async def test_an_override_holds_for_connections_that_are_open(
    talk: Talking, time: MockClock
) -> None:
    async with talk() as t:
        me = await t.connect()
        await accepted(me, me.publishes("c", *"abc"), count=3)
        await t.broker.apps.set_limits(t.app, Limits(messages_per_s=1))
        await t.settled()
        await accepted(me, me.publishes("c", "d"))
        await refused(me, me.publishes("c", "e"), 42917)


async def test_an_app_has_so_many_connections(tmp_path: Path) -> None:
    settings = limited(app_connections_max=2)
    async with realtime_server(tmp_path / "data", settings=settings) as server:
        one, _two = await server.connect(), await server.connect()
        third = await server.open(key=server.key)
        await third.hears_error(Action.ERROR, 40111, 403)
        resumed = await server.connect(resume=one.key)
        assert resumed.id == one.id
        other = await server.broker.apps.create()
        await server.connect(key=server.broker.apps.keys(other.id)[0].string)
        resumed.vanish()
        while server.realtime.places[server.broker.default_app()] > 1:
            await server.settled()
        await server.connect()


@pytest.fixture
def rest(tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[RestServer]]:
    return lambda **limits: rest_server(tmp_path / "data", settings=limited(**limits))


@pytest.mark.parametrize(
    ("limit", "code"), [("app_requests_per_s", 42918), ("key_requests_per_s", 42910)]
)
async def test_requests_are_refused_with_when_to_come_back(
    rest: Any, time: MockClock, limit: str, code: int
) -> None:
    async with rest(**{limit: 2, "burst_ms": 5_000}) as server:
        for _ in range(10):
            assert (await server.client.get("/channels")).status_code == 200
        before = server.broker.log.position
        reply = await server.publish("c", {"name": "a"})
        assert error_of(reply) == (429, code)
        assert reply.headers["retry-after"] == "1"
        assert server.broker.log.position == before
        other = await server.broker.apps.create_key(server.app)
        client = await server.connect(basic(other.string))
        reply = await client.get("/channels")
        assert reply.status_code == (200 if code == 42910 else 429)
        assert (await client.get("/time")).status_code == 200
        time.jump(1)
        assert (await server.publish("c", {"name": "a"})).status_code == 201


async def ask_token(server: RestServer, body: Any) -> httpx.Response:
    return await post(await server.connect({}), path(server.key), body)


async def test_wrong_credentials_use_up_nothing(rest: Any, time: MockClock) -> None:
    async with rest(app_requests_per_s=1) as server:
        wrong = await server.connect(basic(f"{server.key.name}:wrong"))
        for _ in range(3):
            assert (await wrong.get("/channels")).status_code == 401
            reply = await ask_token(server, signed(server) | {"mac": "wrong"})
            assert error_of(reply) == (401, 40101)
        assert (await ask_token(server, signed(server, nonce="0" * 16))).status_code == 201
        assert error_of(await ask_token(server, signed(server, nonce="1" * 16))) == (429, 42918)
        time.jump(1)
        assert (await ask_token(server, signed(server, nonce="1" * 16))).status_code == 201


async def test_a_publish_with_an_id_may_be_retried_over_http(rest: Any, time: MockClock) -> None:
    async with rest(channel_messages_per_s=1) as server:
        first = await server.publish("c", {"id": "mine", "data": "x"})
        again = await server.publish("c", {"id": "mine", "data": "x"})
        assert (again.status_code, again.json()) == (201, first.json())
        reply = await server.publish("c", {"id": "another", "data": "x"})
        assert error_of(reply) == (429, 42913)
        assert reply.headers["retry-after"] == "1"
        specs = {"channels": ["c", "d"], "messages": {"data": "x"}}
        reply = await server.client.post("/messages?v=3", json=[specs])
        codes = [result.get("error", {}).get("code") for result in reply.json()[0]["results"]]
        assert codes == [42913, None]
