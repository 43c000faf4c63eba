"""`/channels/{channel}/messages/{serial}` over the wire: get, versions, changing; and changes that
come as publishes."""

from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest

from broker.tenancy import NamespaceRules
from tests.api.rest_server import (
    JSON,
    MSGPACK,
    TYPES,
    RestServer,
    bearer,
    decode,
    encode,
    error_of,
    links,
    messages_path,
)

FORM = "application/x-www-form-urlencoded"
CHANNEL = "m:a/b"
UPDATE, DELETE, APPEND = 1, 2, 5


@pytest.fixture
async def m(server: RestServer) -> RestServer:
    """With a namespace whose messages can change."""
    await server.broker.apps.set_namespace(server.app, "m", NamespaceRules(mutable_messages=True))
    return server


def path(serial: str, *more: str, channel: str = CHANNEL) -> str:
    return "/".join([messages_path(channel), quote(serial, safe=""), *more])


async def published(m: RestServer, channel: str = CHANNEL, **fields: Any) -> str:
    reply = await m.publish(channel, {"data": "x", **fields}, MSGPACK)
    assert reply.status_code == 201, reply.text
    serial: str = decode(reply)["serials"][0]
    return serial


async def change(
    m: RestServer, serial: str, fields: Any, kind: str = JSON, **more: Any
) -> httpx.Response:
    client = more.pop("by", m.client)
    return await client.patch(  # type: ignore[no-any-return]
        path(serial, **more),
        content=encode(fields, kind),
        headers={"Content-Type": kind, "Accept": kind},
    )


async def changed(m: RestServer, serial: str, **fields: Any) -> str:
    reply = await change(m, serial, fields)
    assert reply.status_code == 200, reply.text
    version: str = decode(reply)["versionSerial"]
    return version


async def get(m: RestServer, serial: str, kind: str = JSON) -> dict[str, Any]:
    reply = await m.client.get(path(serial), headers={"Accept": kind})
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = decode(reply)
    return found


@pytest.mark.parametrize("kind", TYPES)
async def test_a_message_as_it_was_published(m: RestServer, kind: str) -> None:
    data = b"\x00\xff" if kind == MSGPACK else "text"
    serial = await published(m, data=data, name="n", extras={"headers": {"a": 1}})
    found = await get(m, serial, kind)
    (listed,) = await m.stored(CHANNEL, kind)
    assert found == listed
    assert (found["action"], found["data"], found["serial"]) == (0, data, serial)
    assert found["version"] == {"serial": serial, "timestamp": found["timestamp"]}


@pytest.mark.parametrize("kind", TYPES)
async def test_update_delete_append(m: RestServer, kind: str) -> None:
    serial = await published(m, name="n", clientId="me", extras={"headers": {"a": 1}})
    created = await get(m, serial)
    steps: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"data": "y"}, {"action": UPDATE, "data": "y"}),
        ({"action": UPDATE, "name": "other"}, {"action": UPDATE, "data": "y", "name": "other"}),
        ({"action": APPEND, "data": "z"}, {"action": UPDATE, "data": "yz", "name": "other"}),
        ({"action": DELETE}, {"action": DELETE, "data": "yz"}),
        ({"action": DELETE, "data": ""}, {"action": DELETE, "data": ""}),
        ({"action": DELETE, "data": {}}, {"action": DELETE, "data": "{}", "encoding": "json"}),
        ({"data": "w", "extras": {}}, {"action": UPDATE, "data": "w", "extras": {}}),
    ]
    versions = [serial]
    for given, expected in steps:
        reply = await change(m, serial, {"serial": serial, **given}, kind)
        assert reply.status_code == 200, reply.text
        answer = decode(reply)
        assert answer == {"channel": CHANNEL, "versionSerial": answer["versionSerial"]}
        versions.append(answer["versionSerial"])
        found = await get(m, serial)
        assert {name: found.get(name) for name in expected} == expected
        for kept in ("id", "serial", "timestamp", "clientId"):
            assert found[kept] == created[kept]
        assert found["version"]["serial"] == answer["versionSerial"]
        assert found["version"]["timestamp"] > created["timestamp"]
        assert await m.stored(CHANNEL) == [found]
    assert versions == sorted(set(versions))


async def test_what_an_operator_says(m: RestServer) -> None:
    """From a form, too: its version is JSON, its action text."""
    serial = await published(m)
    operation = '{"clientId":"me","description":"why","metadata":{"k":"v"},"serial":"ignored"}'
    form = urlencode({"action": "5", "data": "y", "version": operation})
    reply = await m.client.patch(path(serial), content=form, headers={"Content-Type": FORM})
    assert reply.status_code == 200, reply.text
    found = await get(m, serial)
    assert (found["action"], found["data"]) == (UPDATE, "xy")
    said = {"clientId": "me", "description": "why", "metadata": {"k": "v"}}
    assert found["version"].items() >= said.items()
    assert found["version"]["serial"] == decode(reply)["versionSerial"]
    assert "clientId" not in found


async def test_binary_is_appended_to_binary(m: RestServer) -> None:
    serial = await published(m, data=b"\x00")
    reply = await change(m, serial, {"action": APPEND, "data": b"\x01"}, MSGPACK)
    assert reply.status_code == 200
    reply = await change(m, serial, {"action": APPEND, "data": "Ag==", "encoding": "base64"})
    assert reply.status_code == 200
    assert (await get(m, serial, MSGPACK))["data"] == b"\x00\x01\x02"
    found = await get(m, serial)
    assert (found["data"], found["encoding"]) == ("AAEC", "base64")


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("limit", [1, 2, 3, 4, 100])
async def test_versions_by_pages(m: RestServer, limit: int, kind: str) -> None:
    serial = await published(m, data="a")
    await changed(m, serial, action=APPEND, data="b")
    await changed(m, serial, action=APPEND, data="c")
    await changed(m, serial, data="d")
    await changed(m, serial, action=DELETE)
    url: str | None = path(serial, "versions") + f"?limit={limit}"
    found = []
    while url is not None:
        reply = await m.client.get(url, headers={"Accept": kind})
        assert reply.status_code == 200
        page = decode(reply)
        assert len(page) <= limit
        found += page
        linked = links(reply, "versions")
        again = await m.client.get(path(serial, "versions") + "?" + linked["current"])
        assert [one["version"] for one in decode(again)] == [one["version"] for one in page]
        following = linked.get("next")
        url = path(serial, "versions") + f"?{following}" if following else None
    told = [(one["action"], one["data"]) for one in found]
    assert told == [(0, "a"), (1, "abc"), (1, "d"), (2, "d")]
    assert found[0]["version"]["serial"] == serial
    assert {one["serial"] for one in found} == {serial}


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "cursor=nonsense", "cursor=01@x:0"]
)
async def test_pages_that_cannot_be(m: RestServer, query: str) -> None:
    serial = await published(m)
    for word in ("versions", "annotations"):
        reply = await m.client.get(f"{path(serial, word)}?{query}")
        assert error_of(reply)[0] in (400, 404)


async def test_what_is_not_there(m: RestServer) -> None:
    serial = await published(m)
    elsewhere = await published(m, "m:other")
    later = serial.replace(serial[:14], "99999999999999")
    for wrong in (elsewhere, later, "nonsense", serial + "x", " "):
        for more in ((), ("versions",), ("annotations",)):
            assert error_of(await m.client.get(path(wrong, *more))) == (404, 40400)
        assert error_of(await change(m, wrong, {"data": "y"})) == (404, 40400)
    assert (await get(m, serial))["data"] == "x"


REFUSED: dict[str, tuple[Any, tuple[int, int]]] = {
    "an array": ([], (400, 40001)),
    "a text": ("text", (400, 40001)),
    "another serial": ({"serial": "other"}, (400, 40003)),
    "a serial that is no text": ({"serial": 7}, (400, 40003)),
    "to create": ({"action": 0}, (400, 40000)),
    "to summarise": ({"action": 4}, (400, 40000)),
    "a text of an action": ({"action": "update"}, (400, 40000)),
    "true": ({"action": True}, (400, 40000)),
    "a fraction": ({"action": 1.5}, (400, 40000)),
    "data": ({"data": 7}, (400, 40013)),
    "binary on text": ({"action": APPEND, "data": "eA==", "encoding": "base64"}, (400, 40013)),
    "a name": ({"name": 7}, (400, 40016)),
    "a long name": ({"name": "x" * 2_049}, (400, 40016)),
    "extras": ({"extras": {"delta": 1}}, (400, 40032)),
    "a version": ({"version": "x"}, (400, 40000)),
    "a long description": ({"version": {"description": "x" * 2_049}}, (400, 40000)),
    "metadata of numbers": ({"version": {"metadata": {"a": 1}}}, (400, 40000)),
    "large": ({"data": "x" * 65_537}, (413, 40009)),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_changes_that_cannot_be(m: RestServer, what: str) -> None:
    body, expected = REFUSED[what]
    serial = await published(m)
    assert error_of(await change(m, serial, body)) == expected
    found = await get(m, serial)
    assert (found["action"], found["data"]) == (0, "x")


async def test_where_messages_cannot_change(m: RestServer) -> None:
    serial = await published(m, "other")
    for action in (UPDATE, DELETE, APPEND):
        reply = await change(m, serial, {"action": action, "data": "y"}, channel="other")
        assert error_of(reply) == (400, 93002)
    reply = await m.client.get(path(serial, "versions", channel="other"))
    assert [one["data"] for one in decode(reply)] == ["x"]


@pytest.mark.parametrize("channel", ["[filter=name]m:a", "[meta]log", ":x", "[?rewind=1"])
async def test_names_of_no_channel(m: RestServer, channel: str) -> None:
    serial = await published(m)
    for more in ((), ("versions",), ("annotations",)):
        reply = await m.client.get(path(serial, *more, channel=channel))
        assert error_of(reply) == (400, 40010)
    assert error_of(await change(m, serial, {}, channel=channel)) == (400, 40010)


OPERATIONS: list[tuple[list[str], str | None, dict[int, str]]] = [
    (["message-update-any"], None, {UPDATE: "any", APPEND: "any", DELETE: "none"}),
    (["message-delete-any"], None, {UPDATE: "none", APPEND: "none", DELETE: "any"}),
    (["message-update-own"], "me", {UPDATE: "own", APPEND: "own", DELETE: "none"}),
    (["message-delete-own"], "me", {UPDATE: "none", APPEND: "none", DELETE: "own"}),
    (["message-update-own"], None, {UPDATE: "nobody", APPEND: "nobody", DELETE: "none"}),
    (["*"], None, {UPDATE: "any", APPEND: "any", DELETE: "any"}),
    (["publish", "history"], "me", {UPDATE: "none", APPEND: "none", DELETE: "none"}),
]


@pytest.mark.parametrize(("operations", "client_id", "may"), OPERATIONS)
async def test_what_a_token_permits(
    m: RestServer, operations: list[str], client_id: str | None, may: dict[int, str]
) -> None:
    listed = ",".join(f'"{operation}"' for operation in operations)
    claims = {"x-ably-capability": f'{{"m:*":[{listed}]}}', "x-ably-clientId": client_id}
    by = await m.connect(bearer(m.token(**claims)))
    mine, others = await published(m, clientId="me"), await published(m, clientId="you")
    expected = {
        "any": (200, 200),
        "own": (200, (401, 40160)),
        "none": ((401, 40160), (401, 40160)),
        "nobody": ((401, 40166), (401, 40166)),
    }
    for action, what in may.items():
        for serial, outcome in zip((mine, others), expected[what], strict=True):
            reply = await change(m, serial, {"action": action, "data": "y"}, by=by)
            found = reply.status_code if reply.is_success else error_of(reply)
            assert found == outcome, (action, serial)


async def test_reading_needs_history(m: RestServer) -> None:
    serial = await published(m)
    claims = {"x-ably-capability": '{"*":["subscribe","publish","message-update-any"]}'}
    by = await m.connect(bearer(m.token(**claims)))
    for more in ((), ("versions",)):
        assert error_of(await by.get(path(serial, *more))) == (401, 40160)


@pytest.mark.parametrize("as_array", [True, False])
async def test_a_change_that_comes_as_a_publish(m: RestServer, as_array: bool) -> None:
    """One message with an action and a serial (reference 1.7.1); several are refused."""
    serial = await published(m)
    given = {"action": APPEND, "serial": serial, "data": "y"}
    reply = await m.publish(CHANNEL, [given] if as_array else given)
    assert reply.status_code == 201, reply.text
    answer = decode(reply)
    found = await get(m, serial)
    assert found["data"] == "xy"
    assert answer["channel"] == CHANNEL
    assert answer["serials"] == [found["version"]["serial"]]
    assert error_of(await m.publish(CHANNEL, [given, given])) == (400, 40000)
    assert error_of(await m.publish("other", given)) == (400, 93002)
    created = await m.publish(CHANNEL, {"action": 0, "serial": serial, "data": "z"})
    assert created.status_code == 201
    assert [one["data"] for one in await m.stored(CHANNEL)] == ["z", "xy"]


async def test_history_shows_each_where_it_was_published(m: RestServer) -> None:
    first = await published(m, data="1")
    await published(m, data="2")
    await changed(m, first, data="one")
    assert [one["data"] for one in await m.stored(CHANNEL)] == ["2", "one"]
    until = {"from_serial": first}
    assert [one["data"] for one in await m.stored(CHANNEL, **until)] == ["one"]
    start = (await get(m, first))["version"]["timestamp"] + 60_000
    assert await m.stored(CHANNEL, start=start, end=start) == []
