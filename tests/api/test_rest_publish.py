"""`POST /channels/{channel}/messages`: what is accepted, what refused, and nothing by halves."""

from collections.abc import Mapping
from typing import Any

import httpx
import pytest
import trio

from broker.tenancy import NamespaceRules
from tests.api.rest_server import (
    JSON,
    MSGPACK,
    TYPES,
    RestServer,
    basic,
    bearer,
    decode,
    encode,
    error_of,
    messages_path,
)

IDS = [{"id": "base:0", "data": "a"}, {"id": "base:1", "data": "b"}]


def client_id_header(client_id: str) -> dict[str, str]:
    encoded = basic(client_id)["Authorization"].removeprefix("Basic ")
    return {"X-Ably-ClientId": encoded}


@pytest.mark.parametrize("kind", TYPES)
async def test_one_message(server: RestServer, kind: str) -> None:
    reply = await server.publish("c", {"name": "n", "data": "d"}, kind)
    assert (reply.status_code, reply.headers["content-type"]) == (201, kind)
    answer = decode(reply)
    assert answer.keys() == {"channel", "messageId", "serials"}
    assert answer["channel"] == "c"
    (message,) = await server.stored("c", kind)
    assert answer["serials"] == [message["serial"]]
    assert message["id"] == f"{answer['messageId']}:0"
    version = {"serial": message["serial"], "timestamp": message["timestamp"]}
    expected = {"name": "n", "data": "d", "action": 0, "version": version}
    for field in ("id", "serial", "timestamp"):
        expected[field] = message[field]
    assert message == expected
    assert all(type(message[field]) is int for field in ("timestamp", "action"))


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("count", [1, 2, 1000])
async def test_an_array(server: RestServer, kind: str, count: int) -> None:
    reply = await server.publish("c", [{"data": str(n)} for n in range(count)], kind)
    assert reply.status_code == 201
    found = await server.stored("c", kind, limit=1000, direction="forwards")
    assert [message["data"] for message in found] == [str(n) for n in range(count)]
    assert decode(reply)["serials"] == [message["serial"] for message in found]
    base = decode(reply)["messageId"]
    assert [message["id"] for message in found] == [f"{base}:{n}" for n in range(count)]


@pytest.mark.parametrize("kind", TYPES)
async def test_absent_null_and_empty_fields(server: RestServer, kind: str) -> None:
    """Null is absent and an empty string is a value (reference 1.7.1); no null ever goes out."""
    nulls = dict.fromkeys(["id", "name", "data", "encoding", "clientId", "connectionKey", "extras"])
    for message in ({}, nulls, {"name": "", "data": ""}):
        assert (await server.publish("c", message, kind)).status_code == 201
    reply = await server.history("c", kind, direction="forwards")
    empty, null, blank = decode(reply)
    for message in (empty, null):
        assert message.keys() == {"id", "serial", "timestamp", "action", "version"}
    assert (blank["name"], blank["data"]) == ("", "")
    assert None not in [value for found in decode(reply) for value in found.values()]


@pytest.mark.parametrize("kind", TYPES)
async def test_extras_come_back_unchanged(server: RestServer, kind: str) -> None:
    extras = {
        "headers": {"a": "b", "n": 1.5, "i": 2**40, "t": True, "nothing": None},
        "ref": {"type": "t", "timeserial": "x"},
        "ai": [{"deep": [1, {"er": None}]}],
    }
    assert (await server.publish("c", {"extras": extras}, kind)).status_code == 201
    for read_as in TYPES:
        assert (await server.stored("c", read_as))[0]["extras"] == extras


@pytest.mark.parametrize("kind", TYPES)
async def test_what_devices_are_to_be_sent_comes_back_unchanged(
    server: RestServer, kind: str
) -> None:
    """The seed's Push with every field, on a channel whose devices are told or not."""
    await server.broker.apps.set_namespace(server.app, "told", NamespaceRules(push_enabled=True))
    notification = {
        "title": "t",
        "body": "b",
        "icon": "i",
        "sound": "s",
        "collapseKey": "k",
    }
    platform = {"notification": notification}
    push = {
        "notification": notification,
        "data": "text",
        "apns": platform,
        "fcm": platform,
        "web": platform,
    }
    for channel in ("c", "told:c"):
        for data in ("text", {"key": "value"}):
            extras = {"push": {**push, "data": data}}
            assert (await server.publish(channel, {"extras": extras}, kind)).status_code == 201
            assert (await server.stored(channel, kind))[0]["extras"] == extras


@pytest.mark.parametrize("kind", TYPES)
async def test_what_is_the_server_s_to_say_is_not_read(server: RestServer, kind: str) -> None:
    """The seed has a publisher send these too, and calls some of them read-only."""
    before = decode(await server.client.get("/time"))[0]
    own = {"timestamp": 1, "connectionId": "another's", "version": {"serial": "x"}, "action": 0}
    for timestamp in (1, "soon", None):
        message = {**own, "timestamp": timestamp, "annotations": {"summary": {}}}
        assert (await server.publish("c", message, kind)).status_code == 201
        (found, *_) = await server.stored("c", kind)
        assert found.keys() == {"id", "serial", "timestamp", "action", "version"}
        assert found["timestamp"] >= before
        assert found["version"]["serial"] == found["serial"]


async def test_a_repeat_is_answered_like_the_first_and_publishes_nothing(
    server: RestServer,
) -> None:
    for message in ({"id": "i", "data": "x"}, {"id": "b64+/==:0", "data": "x"}, IDS):
        first = await server.publish("c", message)
        for repeat, kind in ((message, JSON), (message, MSGPACK)):
            again = await server.publish("c", repeat, kind)
            assert (again.status_code, decode(again)) == (201, decode(first))
    changed = await server.publish("c", {"id": "i", "data": "y"})
    assert decode(changed)["messageId"] == "i"
    found = await server.stored("c")
    assert [message["id"] for message in found] == ["base:1", "base:0", "b64+/==:0", "i"]
    assert [message["data"] for message in found] == ["b", "a", "x", "x"]


async def test_equal_publishes_at_the_same_time_are_one(server: RestServer) -> None:
    replies: list[Any] = []

    async def publish() -> None:
        replies.append(decode(await server.publish("c", IDS)))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(publish)
    assert replies == [replies[0]] * 20
    assert len(await server.stored("c")) == 2


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ([], 400, 40030),
        ("text", 400, 40001),
        (None, 400, 40001),
        (7, 400, 40001),
        ([[]], 400, 40001),
        ([{"data": "fine"}, "not a message"], 400, 40001),
        ({"id": ""}, 400, 40031),
        ({"id": 5}, 400, 40031),
        ([{"id": "a:1"}, {"id": "a:0"}], 400, 40031),
        ([{"id": "a:0"}, {}], 400, 40031),
        ([{"id": "a:0"}, {"id": "b:1"}], 400, 40031),
        ({"name": {}}, 400, 40016),
        ({"data": 1}, 400, 40013),
        ({"data": True}, 400, 40013),
        ({"data": "x", "encoding": 5}, 400, 40013),
        ({"data": "!", "encoding": "base64"}, 400, 40013),
        ({"clientId": "*"}, 400, 40012),
        ({"clientId": ""}, 400, 40012),
        ({"clientId": []}, 400, 40012),
        ({"connectionKey": "nobody's"}, 400, 40006),
        ({"extras": []}, 400, 40032),
        ({"extras": {"surprise": 1}}, 400, 40032),
        ({"extras": {"delta": {}}}, 400, 40032),
        ({"extras": {"headers": {"a": {}}}}, 400, 40032),
        ([{"data": "fine"}, {"extras": {"ephemeral": True}}], 400, 40030),
        ([{"data": "fine"}, {"data": 5}], 400, 40013),
        ([{}] * 1001, 400, 40034),
        ({"data": "x" * 65_537}, 413, 40009),
        ([{"data": "x" * 40_000}, {"data": "y" * 40_000}], 413, 40009),
        ({"serial": "s", "action": 1}, 400, 93002),
    ],
)
async def test_refusals_change_nothing(
    server: RestServer, kind: str, body: Any, status: int, code: int
) -> None:
    position = server.broker.log.position
    reply = await server.publish("c", body, kind)
    assert reply.headers["content-type"] == kind
    assert error_of(reply) == (status, code)
    assert server.broker.log.position == position


@pytest.mark.parametrize("kind", TYPES)
async def test_the_size_limit_counts_the_payload_not_its_transport(
    server: RestServer, kind: str
) -> None:
    assert (await server.publish("c", {"data": "x" * 65_536}, kind)).status_code == 201
    assert (await server.publish("c", {"data": "é" * 32_769}, kind)).status_code == 413
    name = {"name": "n" * 36, "clientId": "c" * 500}
    assert (await server.publish("c", {**name, "data": "x" * 65_000}, kind)).status_code == 201
    assert (await server.publish("c", {**name, "data": "x" * 65_001}, kind)).status_code == 413
    raw = bytes(65_536)
    assert (await server.publish("c", {"data": raw}, MSGPACK)).status_code == 201
    assert (await server.publish("c", {"data": raw + b"x"}, MSGPACK)).status_code == 413


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", JSON),
        (b"{", JSON),
        (b'{"data":"\xff"}', JSON),
        (b'{"data":NaN}', JSON),
        (b'{"data":"\\ud800"}', JSON),
        (b"[" * 100_000, JSON),
        (b"{}x", JSON),
        (b"", MSGPACK),
        (b"\xc1", MSGPACK),
        (b"\x81\xa4data", MSGPACK),
        (b"\x81\x01\x02", MSGPACK),
        (b"\x81\xa4data\xa1\xff", MSGPACK),
        (b"\x91" * 100_000, MSGPACK),
        (b"\xdd\xff\xff\xff\xff", MSGPACK),
        (b"\x81\xa4data\xd4\x01\x00", MSGPACK),
        (b"hello", "text/plain"),
        (b"\x80", "application/octet-stream"),
    ],
)
async def test_bodies_that_cannot_be_decoded(server: RestServer, body: bytes, kind: str) -> None:
    reply = await server.client.post(
        messages_path("c"), content=body, headers={"Content-Type": kind}
    )
    assert error_of(reply) == (400, 40001)
    assert await server.stored("c") == []


@pytest.mark.parametrize("kind", [None, "", "text/plain", "application/json; charset=utf-8"])
async def test_a_body_that_looks_like_json_is(server: RestServer, kind: str | None) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    reply = await server.client.post(messages_path("c"), content=b' {"data":"x"}', headers=headers)
    assert reply.status_code == 201
    assert (await server.stored("c"))[0]["data"] == "x"


@pytest.mark.parametrize("value", ["true", "True"])
async def test_a_nack_can_be_forced(server: RestServer, value: str) -> None:
    reply = await server.client.post(f"{messages_path('c')}?_forceNack={value}", json={})
    assert error_of(reply) == (400, 40099)
    assert await server.stored("c") == []


async def test_ephemeral_messages_are_not_in_history(server: RestServer) -> None:
    path = messages_path("c")
    assert (await server.client.post(f"{path}?ephemeral=true", json={})).status_code == 201
    extras = {"extras": {"ephemeral": True}}
    assert (await server.publish("c", [extras, extras])).status_code == 201
    assert (await server.client.post(f"{path}?ephemeral=true", json=[extras, {}])).is_success
    assert await server.stored("c") == []
    assert (await server.client.post(f"{path}?ephemeral=false", json={})).status_code == 201
    assert len(await server.stored("c")) == 1


async def publish_as(client: httpx.AsyncClient, message: Mapping[str, Any]) -> httpx.Response:
    return await client.post(messages_path("c"), json=message)


async def test_client_ids(server: RestServer) -> None:
    """Reference 1.7.1 and 2.6: who may say which client id, and which is implied."""
    me, any_ = server.token(**{"x-ably-clientId": "me"}), server.token(**{"x-ably-clientId": "*"})
    asserted = {**basic(server.key.string), **client_id_header("héllo")}
    clients = {
        "key": await server.connect(),
        "key as héllo": await server.connect(asserted),
        "token me": await server.connect(bearer(me)),
        "token *": await server.connect(bearer(any_)),
        "token": await server.connect(bearer(server.token())),
    }
    implied = {"key as héllo": "héllo", "token me": "me"}
    for who, client in clients.items():
        assert (await publish_as(client, {})).status_code == 201, who
        (newest, *_) = await server.stored("c", limit=1)
        assert newest.get("clientId") == implied.get(who), who
    may_say_you = {"key", "token *"}
    for who, client in clients.items():
        reply = await publish_as(client, {"clientId": "you"})
        if who in may_say_you:
            assert reply.status_code == 201, who
        else:
            assert error_of(reply) == (400, 40012), who
    for who, name in implied.items():
        assert (await publish_as(clients[who], {"clientId": name})).status_code == 201


@pytest.mark.parametrize("value", ["***", "Kg==", "", "/w=="])
async def test_an_asserted_client_id_must_be_usable(server: RestServer, value: str) -> None:
    headers = {**basic(server.key.string), "X-Ably-ClientId": value}
    reply = await publish_as(await server.connect(headers), {})
    if value:
        assert error_of(reply) == (400, 40012)
    else:
        assert reply.status_code == 201


async def test_an_identified_namespace(server: RestServer) -> None:
    rules = NamespaceRules(identified=True)
    await server.broker.apps.set_namespace(server.app, "id", rules)
    assert error_of(await server.publish("id:c", {})) == (401, 40161)
    assert (await server.publish("id:c", {"clientId": "me"})).status_code == 201


async def test_many_publishers_at_once(server: RestServer) -> None:
    """Every reply's serial names exactly the message it was for."""
    sent: dict[str, str] = {}

    async def publish(client: httpx.AsyncClient, number: int) -> None:
        for round_ in range(10):
            data, kind = f"{number}.{round_}", TYPES[round_ % 2]
            reply = await client.post(
                messages_path("c"),
                content=encode({"data": data}, kind),
                headers={"Content-Type": kind},
            )
            sent[decode(reply)["serials"][0]] = data

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(publish, await server.connect(), number)
    found = await server.stored("c", limit=1000)
    assert {message["serial"]: message["data"] for message in found} == sent
    assert len(sent) == 200
