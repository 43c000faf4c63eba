"""`GET /channels`: which channels are active, by pages (reference 1.6.4)."""

from base64 import urlsafe_b64encode
from typing import Any

import httpx
import pytest

from broker.channels.presence import PresenceAction
from broker.live.idle_channels import CloseChannel
from tests.api.members import change
from tests.api.rest_server import (
    TYPES,
    RestServer,
    basic,
    bearer,
    decode,
    error_of,
    links,
    messages_path,
)
from tests.api.test_rest_channels import status_of

V3 = {"X-Ably-Version": "3"}
LONG = "l" * 440


async def publish(server: RestServer, *channels: str) -> None:
    """What makes a channel active, one after the other."""
    for channel in channels:
        assert (await server.publish(channel, {})).status_code == 201


async def close(server: RestServer, channel: str) -> None:
    """As the broker does it once a channel was idle for long enough."""
    epoch = server.broker.epoch.connections.epoch
    await server.broker.submit(CloseChannel(server.app, channel, epoch), app=server.app)


async def names(server: RestServer, **params: Any) -> list[str]:
    """Of one page."""
    reply = await server.client.get("/channels", params=params, headers=V3)
    assert reply.status_code == 200, reply.text
    found: list[str] = decode(reply)
    return found


async def pages(server: RestServer, **params: Any) -> list[list[str]]:
    """Every page, as links lead from one to the next."""
    found = []
    query: str | None = str(httpx.QueryParams(params))
    while query is not None:
        reply = await server.client.get(f"/channels?{query}", headers=V3)
        found.append(decode(reply))
        query = links(reply, "channels").get("next")
    return found


async def test_nothing_is_active(server: RestServer) -> None:
    reply = await server.client.get("/channels", headers=V3)
    assert (reply.status_code, decode(reply)) == (200, [])
    assert set(links(reply, "channels")) == {"first", "current"}


@pytest.mark.parametrize("kind", TYPES)
async def test_by_version_and_by_wish(server: RestServer, kind: str) -> None:
    await publish(server, "b", "a/ü")
    await change(server, PresenceAction.ENTER, "ann", channel="b")
    details = [status_of("a/ü"), status_of("b", presenceMembers=1)]
    accept = {"Accept": kind}
    for headers, params, expected in (
        ({}, {}, details),
        ({"X-Ably-Version": "2"}, {}, details),
        ({"X-Ably-Version": "1.2"}, {}, details),
        (V3, {}, ["a/ü", "b"]),
        ({"X-Ably-Version": "6"}, {}, ["a/ü", "b"]),
        ({}, {"v": "3"}, ["a/ü", "b"]),
        (V3, {"by": "value"}, details),
        ({}, {"by": "id"}, ["a/ü", "b"]),
        (V3, {"by": ""}, ["a/ü", "b"]),
    ):
        reply = await server.client.get("/channels", params=params, headers=accept | headers)
        assert (reply.status_code, reply.headers["content-type"]) == (200, kind)
        found = decode(reply)
        if expected is details:
            assert [item.pop("status")["isActive"] for item in found] == [True, True]
            plain = [{k: v for k, v in item.items() if k != "status"} for item in details]
            assert found == plain
        else:
            assert found == expected


async def test_details_are_those_of_each_channel(server: RestServer) -> None:
    await publish(server, "a", "b")
    await change(server, PresenceAction.ENTER, "ann", channel="b")
    for item in decode(await server.client.get("/channels?by=value")):
        assert item == decode(await server.client.get(item["href"]))


async def test_a_page_means_the_same_whoever_follows_its_links(server: RestServer) -> None:
    """The links say what was the default, so another version's client gets the same items."""
    await publish(server, "a", "b", "c")
    first = await server.client.get("/channels?limit=1", headers=V3)
    for query in links(first, "channels").values():
        assert httpx.QueryParams(query)["by"] == "id"
    following = await server.client.get(f"/channels?{links(first, 'channels')['next']}")
    assert decode(following) == ["b"]


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 6, 100, 1_000])
async def test_pages(server: RestServer, limit: int) -> None:
    channels = ["c", "a", "e", "b", "d", "A"]
    await publish(server, *channels)
    found = await pages(server, limit=limit)
    assert [name for page in found for name in page] == sorted(channels)
    assert [len(page) for page in found[:-1]] == [limit] * (len(found) - 1)
    assert 0 < len(found[-1]) <= limit


async def test_the_order_is_that_of_names_in_utf_8(server: RestServer) -> None:
    channels = ["a", "a:b", "a/b", "a\0", "Z", "é", "\U0001f600", "\uffff", "z", "%2F", " "]
    await publish(server, *channels)
    expected = sorted(channels, key=str.encode)
    assert await names(server) == expected
    assert [name for (name,) in await pages(server, limit=1)] == expected


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("", ["a", "a:1", "a:2", "ab", "b", "é:1", "é:2"]),
        ("a", ["a", "a:1", "a:2", "ab"]),
        ("a:", ["a:1", "a:2"]),
        ("a:2", ["a:2"]),
        ("a:2x", []),
        ("A", []),
        ("é", ["é:1", "é:2"]),
        ("é:2", ["é:2"]),
        ("x" * 2_000, []),
    ],
)
async def test_prefixes(server: RestServer, prefix: str, expected: list[str]) -> None:
    await publish(server, "é:1", "b", "a:2", "a", "ab", "a:1", "é:2")
    assert await names(server, prefix=prefix) == expected
    by_one = await pages(server, prefix=prefix, limit=1)
    assert [name for page in by_one for name in page] == expected


async def test_long_names(server: RestServer) -> None:
    """More than a key holds, and the same as far as it holds them."""
    same = [LONG + end for end in ("", "a", "b", "ab", "a" * 1_000, "é" * 700)]
    others = ["k", "m", "é" * 300, "é" * 300 + "x"]
    await publish(server, *same, *others)
    assert len(await names(server)) == len(same) + len(others)
    for limit in (1, 2, 4, 100):
        found = [name for page in await pages(server, limit=limit) for name in page]
        assert sorted(found) == sorted(same + others)
        assert len(set(found)) == len(found)
        assert (found[0], [name for name in found if len(name) == 1]) == ("k", ["k", "m"])
    for prefix in (LONG, LONG + "a", LONG + "a" * 900, "é" * 300, "é" * 220, "é" * 301):
        expected = [name for name in same + others if name.startswith(prefix)]
        found = [name for page in await pages(server, prefix=prefix, limit=1) for name in page]
        assert sorted(found) == sorted(expected)


async def test_channels_that_come_and_go_between_pages(server: RestServer) -> None:
    """Nobody is told twice, and who was there all the time is told."""
    await publish(server, *(f"c{number}" for number in range(6)))
    reply = await server.client.get("/channels?limit=2", headers=V3)
    assert decode(reply) == ["c0", "c1"]
    await publish(server, "b", "c11", "c3a", "d")
    for gone in ("c1", "c3", "c0"):
        await close(server, gone)
    query = links(reply, "channels")["next"]
    rest = []
    while query:
        page = await server.client.get(f"/channels?{query}", headers=V3)
        rest += decode(page)
        query = links(page, "channels").get("next", "")
    assert rest == ["c11", "c2", "c3a", "c4", "c5", "d"]
    again = await server.client.get(f"/channels?{links(reply, 'channels')['first']}")
    assert decode(again) == ["b", "c11"]


async def test_closed_channels_vanish_and_come_back(server: RestServer) -> None:
    await publish(server, "a", LONG + "x", "b")
    await close(server, "a")
    await close(server, LONG + "x")
    assert await names(server) == ["b"]
    await publish(server, "a")
    await change(server, PresenceAction.ENTER, "ann", channel="present")
    await close(server, "present")
    assert await names(server) == ["a", "b", "present"]


async def test_apps_have_their_own(server: RestServer) -> None:
    await publish(server, "mine", "both")
    for _ in range(3):  # before and behind ours in whatever order apps have
        other = await server.broker.apps.create()
        key = await server.broker.apps.create_key(other.id)
        client = await server.connect(basic(key.string))
        assert decode(await client.get("/channels", headers=V3)) == []
        for channel in ("both", "theirs"):
            assert (await client.post(messages_path(channel), json={})).status_code == 201
        assert decode(await client.get("/channels", headers=V3)) == ["both", "theirs"]
        mine = await server.client.get("/channels?limit=1", headers=V3)
        query = links(mine, "channels")["next"]
        assert decode(await client.get(f"/channels?{query}")) == ["theirs"]
    assert await names(server) == ["both", "mine"]


@pytest.mark.parametrize(
    ("capability", "status"),
    [
        ('{"*":["channel-metadata"]}', 200),
        ('{"[*]*":["channel-metadata"]}', 200),
        ('{"*":["*"]}', 200),
        ('{"a":["*"],"*":["channel-metadata"]}', 200),
        ('{"a":["channel-metadata"]}', 401),
        ('{"a:*":["*"]}', 401),
        ('{"*":["publish","subscribe","history"]}', 401),
        ('{"[meta]*":["channel-metadata"]}', 401),
    ],
)
async def test_rights(server: RestServer, capability: str, status: int) -> None:
    await publish(server, "a")
    by_token = bearer(server.token(**{"x-ably-capability": capability}))
    key = await server.broker.apps.create_key(server.app, granted=capability)
    for credentials in (by_token, basic(key.string)):
        reply = await (await server.connect(credentials)).get("/channels")
        assert reply.status_code == status
        if status == 401:
            assert error_of(reply) == (401, 40160)
    assert error_of(await (await server.connect({})).get("/channels")) == (401, 40101)


def cursor(place: bytes) -> str:
    return urlsafe_b64encode(place).decode()


@pytest.mark.parametrize(
    "params",
    [
        {"cursor": "é"},
        {"cursor": "a"},
        {"cursor": "YWJj\n"},
        {"cursor": cursor(b"x" * 513)},
        {"limit": "0"},
        {"limit": "1001"},
        {"limit": "many"},
        {"by": "name"},
        {"by": "ID"},
    ],
)
async def test_what_is_refused(server: RestServer, params: dict[str, str]) -> None:
    assert error_of(await server.client.get("/channels", params=params)) == (400, 40003)


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (b"", ["a", "b"]),
        (b"\0", ["a", "b"]),
        (b"a", ["b"]),
        (b"a" * 512, ["b"]),
        (b"\xff" * 512, []),
    ],
)
async def test_any_place_is_a_place_in_the_order(
    server: RestServer, place: bytes, expected: list[str]
) -> None:
    """A cursor that somebody made up leads no further than the app's own channels."""
    other = await server.broker.apps.create()
    key = await server.broker.apps.create_key(other.id)
    client = await server.connect(basic(key.string))
    await client.post(messages_path("theirs"), json={})
    await publish(server, "a", "b")
    assert await names(server, cursor=cursor(place)) == expected
    assert await names(server, cursor=cursor(place), prefix="b") == expected[-1:]
