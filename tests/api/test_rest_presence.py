"""`/channels/{channel}/presence` and its history over the wire: fields, filters, pages, rights."""

from typing import Any
from urllib.parse import parse_qsl, quote

import httpx
import pytest

from broker.channels.presence import PresenceAction
from tests.api.members import change
from tests.api.rest_server import JSON, MSGPACK, TYPES, RestServer, basic, decode, error_of, links

ENTER, LEAVE, UPDATE = PresenceAction.ENTER, PresenceAction.LEAVE, PresenceAction.UPDATE


def presence_path(channel: str = "c", below: str = "") -> str:
    return f"/channels/{quote(channel, safe='')}/presence{below}"


async def enter(server: RestServer, count: int, **fields: Any) -> set[str]:
    clients = {f"client{number}" for number in range(count)}
    for client in clients:
        await change(server, ENTER, client, **fields)
    return clients


def clients_of(reply: httpx.Response) -> list[str]:
    assert reply.status_code == 200, reply.text
    return [item["clientId"] for item in decode(reply)]


@pytest.mark.parametrize("kind", TYPES)
async def test_nobody_is_there(server: RestServer, kind: str) -> None:
    for below, word in (("", "presence"), ("/history", "history")):
        reply = await server.client.get(presence_path(below=below), headers={"Accept": kind})
        assert (reply.status_code, decode(reply)) == (200, [])
        assert set(links(reply, word)) == {"first", "current"}


async def test_a_member_on_the_wire(server: RestServer) -> None:
    extras = {"headers": {"a": 1}}
    await change(server, ENTER, "a", data=b"\x00\xff", encoding="cipher+aes", extras=extras)
    await change(server, ENTER, "b")
    await change(server, ENTER, "c", data="", encoding="")
    bodies = {
        kind: decode(await server.client.get(presence_path(), headers={"Accept": kind}))
        for kind in TYPES
    }
    by_client = {kind: {item["clientId"]: item for item in body} for kind, body in bodies.items()}
    for kind, data, encoding in (
        (JSON, "AP8=", "cipher+aes/base64"),
        (MSGPACK, b"\x00\xff", "cipher+aes"),
    ):
        item = by_client[kind]["a"]
        assert item == {
            "id": item["id"],
            "action": 1,
            "clientId": "a",
            "connectionId": "conn",
            "timestamp": item["timestamp"],
            "data": data,
            "encoding": encoding,
            "extras": extras,
        }
        assert item["id"].startswith("conn:")
        assert type(item["timestamp"]) is int
        assert set(by_client[kind]["b"]) == {
            "id",
            "action",
            "clientId",
            "connectionId",
            "timestamp",
        }
        assert by_client[kind]["c"]["data"] == ""


async def test_who_is_there_is_what_was_last_said(server: RestServer) -> None:
    await change(server, ENTER, "a", data="1")
    await change(server, UPDATE, "a", data="2")
    await change(server, ENTER, "b")
    await change(server, LEAVE, "b")
    await change(server, ENTER, "a", connection="other", data="3")
    present = decode(await server.client.get(presence_path()))
    found = {(item["connectionId"], item["clientId"], item["data"]) for item in present}
    assert found == {("conn", "a", "2"), ("other", "a", "3")}
    assert clients_of(await server.client.get(presence_path("C"))) == []


async def test_filters(server: RestServer) -> None:
    for connection in ("one", "two"):
        for client in ("a", "b", "ü &,"):
            await change(server, ENTER, client, connection=connection)
    for params, expected in (
        ({"clientId": "a"}, {("one", "a"), ("two", "a")}),
        ({"connectionId": "two", "clientId": "ü &,"}, {("two", "ü &,")}),
        ({"connectionId": "one"}, {("one", "a"), ("one", "b"), ("one", "ü &,")}),
        ({"clientId": "nobody"}, set()),
        (
            {"clientId": "", "connectionId": ""},
            {(o, c) for o in ("one", "two") for c in ("a", "b", "ü &,")},
        ),
    ):
        present = decode(await server.client.get(presence_path(), params=params))
        assert {(item["connectionId"], item["clientId"]) for item in present} == expected


@pytest.mark.parametrize("limit", [1, 3, 7, 8])
async def test_pages_do_not_repeat_while_members_come_and_go(
    server: RestServer, limit: int
) -> None:
    staying = await enter(server, 7)
    reply = await server.client.get(presence_path(), params={"limit": limit})
    found = clients_of(reply)
    while query := links(reply, "presence").get("next"):
        await change(server, ENTER, f"late{query}")
        await change(server, ENTER, "passing")
        await change(server, LEAVE, "passing")
        assert dict(parse_qsl(query))["limit"] == str(limit)
        reply = await server.client.get(f"{presence_path()}?{query}")
        assert 0 < len(clients_of(reply)) <= limit
        current = await server.client.get(
            f"{presence_path()}?{links(reply, 'presence')['current']}"
        )
        assert clients_of(current) == clients_of(reply)
        found += clients_of(reply)
    assert len(found) == len(set(found))
    assert staying <= set(found)


async def test_an_exactly_full_page_is_the_last(server: RestServer) -> None:
    await enter(server, 3)
    reply = await server.client.get(presence_path(), params={"limit": 3})
    assert set(links(reply, "presence")) == {"first", "current"}


async def test_the_filters_stay_on_the_next_pages(server: RestServer) -> None:
    for number in range(3):
        await enter(server, 3, connection=f"c{number}")
    reply = await server.client.get(presence_path(), params={"limit": 1, "clientId": "client1"})
    count = 1
    while query := links(reply, "presence").get("next"):
        reply = await server.client.get(f"{presence_path()}?{query}")
        assert clients_of(reply) == ["client1"]
        count += 1
    assert count == 3


@pytest.mark.parametrize(
    "params",
    [
        {"limit": "abc"},
        {"limit": "0"},
        {"limit": "-1"},
        {"limit": "1001"},
        {"cursor": "x"},
        {"cursor": "é"},
        {"cursor": "A" * 1_000},
    ],
)
@pytest.mark.parametrize("kind", TYPES)
async def test_bad_parameters(server: RestServer, kind: str, params: dict[str, str]) -> None:
    reply = await server.client.get(presence_path(), params=params, headers={"Accept": kind})
    assert error_of(reply) == (400, 40003)


@pytest.mark.parametrize(
    "params", [{"limit": "abc"}, {"limit": "1001"}, {"start": "2", "end": "1"}]
)
async def test_bad_parameters_of_history(server: RestServer, params: dict[str, str]) -> None:
    reply = await server.client.get(presence_path(below="/history"), params=params)
    assert error_of(reply) == (400, 40003)


@pytest.mark.parametrize("kind", TYPES)
async def test_history_says_who_came_and_went(server: RestServer, kind: str) -> None:
    await change(server, ENTER, "a", data="1")
    await change(server, UPDATE, "a", data="2")
    await change(server, LEAVE, "a")
    path = presence_path(below="/history")
    backwards = decode(await server.client.get(path, headers={"Accept": kind}))
    said = [(item["action"], item["clientId"], item["data"]) for item in backwards]
    assert said == [(3, "a", "2"), (4, "a", "2"), (2, "a", "1")]
    for item in backwards:
        assert set(item) == {"id", "action", "clientId", "connectionId", "timestamp", "data"}
    forwards = await server.client.get(
        path, params={"direction": "forwards"}, headers={"Accept": kind}
    )
    assert decode(forwards) == backwards[::-1]


@pytest.mark.parametrize("direction", ["forwards", "backwards"])
async def test_pages_of_history(server: RestServer, direction: str) -> None:
    for number in range(5):
        await change(server, ENTER, str(number))
    path = presence_path(below="/history")
    reply = await server.client.get(path, params={"limit": 2, "direction": direction})
    found = clients_of(reply)
    while query := links(reply, "history").get("next"):
        await change(server, ENTER, "late")
        reply = await server.client.get(f"{path}?{query}")
        found += clients_of(reply)
    assert found == [str(n) for n in (range(5) if direction == "forwards" else reversed(range(5)))]


async def test_history_between_times_and_until_an_attachment(server: RestServer) -> None:
    await change(server, ENTER, "a")
    t1 = decode(await server.client.get("/time"))[0]
    await change(server, ENTER, "b")
    published = decode(await server.publish("c", {"name": "attached here"}))["serials"][0]
    t2 = decode(await server.client.get("/time"))[0]
    await change(server, ENTER, "c")
    path = presence_path(below="/history")
    assert clients_of(await server.client.get(path, params={"start": t1, "end": t2})) == ["b"]
    until = await server.client.get(path, params={"from_serial": published})
    assert clients_of(until) == ["b", "a"]


async def test_rights(server: RestServer) -> None:
    await change(server, ENTER, "a")
    for operation, members, history in (
        ("subscribe", 200, 401),
        ("presence", 200, 401),
        ("history", 401, 200),
        ("publish", 401, 401),
    ):
        key = await server.broker.apps.create_key(server.app, granted=f'{{"c":["{operation}"]}}')
        client = await server.connect(basic(key.string))
        for below, expected in (("", members), ("/history", history)):
            reply = await client.get(presence_path(below=below))
            assert reply.status_code == expected, (operation, below)
            if expected == 401:
                assert error_of(reply) == (401, 40160)
            assert error_of(await client.get(presence_path("d", below))) == (401, 40160)
    nobody = await server.connect({})
    for below in ("", "/history"):
        assert error_of(await nobody.get(presence_path(below=below))) == (401, 40101)


async def test_names_and_methods(server: RestServer) -> None:
    name = "a/b c:ü"
    await change(server, ENTER, "a", channel=name)
    for below in ("", "/history"):
        path = presence_path(name, below)
        assert clients_of(await server.client.get(path)) == ["a"]
        head = await server.client.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert error_of(await server.client.post(path)) == (405, 40500)
        for bad in ("[meta]c", ":c", "%FF"):
            quoted = bad if bad == "%FF" else quote(bad, safe="")
            reply = await server.client.get(f"/channels/{quoted}/presence{below}")
            assert error_of(reply) == (400, 40010), bad


async def test_apps_do_not_see_each_others_members(server: RestServer) -> None:
    await change(server, ENTER, "a")
    app = await server.broker.apps.create()
    client = await server.connect(basic(server.broker.apps.keys(app.id)[0].string))
    for below in ("", "/history"):
        assert clients_of(await client.get(presence_path(below=below))) == []
