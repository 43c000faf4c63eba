"""`GET /channels/{channel}/messages` over the wire: pages, links, time ranges, bad parameters."""

import base64
import random
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from api.realtime.protocol import Action
from tests.api.realtime_server import realtime_server
from tests.api.rest_server import (
    TYPES,
    RestServer,
    basic,
    decode,
    error_of,
    links,
    messages_path,
)


async def follow(server: RestServer, channel: str, query: str) -> httpx.Response:
    reply = await server.client.get(f"{messages_path(channel)}?{query}")
    assert reply.status_code == 200, reply.text
    return reply


async def fill(server: RestServer, count: int, channel: str = "c") -> list[str]:
    names = [str(number) for number in range(count)]
    assert (await server.publish(channel, [{"name": name} for name in names])).is_success
    return names


def names(reply: httpx.Response) -> list[str]:
    return [message["name"] for message in decode(reply)]


@pytest.mark.parametrize("direction", ["forwards", "backwards"])
@pytest.mark.parametrize("limit", [1, 2, 4, 8, 9])
async def test_paging_while_messages_arrive(server: RestServer, direction: str, limit: int) -> None:
    """Following next from first to last gives everything once; first and current stay put."""
    expected = await fill(server, 8)
    if direction == "backwards":
        expected.reverse()
    reply = await server.history("c", direction=direction, limit=limit)
    first, found = reply, names(reply)
    while query := links(reply, "messages").get("next"):
        await server.publish("c", {"name": "late"})
        reply = await follow(server, "c", query)
        again = await follow(server, "c", links(reply, "messages")["current"])
        assert names(again) == names(reply)
        beginning = await follow(server, "c", links(reply, "messages")["first"])
        assert names(beginning) == names(first)
        assert links(beginning, "messages")["next"] == links(first, "messages")["next"]
        found += names(reply)
    assert found == expected
    assert names(reply) != []  # nothing behind an exactly full last page


async def test_links_hold_every_effective_parameter(server: RestServer) -> None:
    await fill(server, 3)
    reply = await server.history("c", limit=2, start=5)
    queries = {
        relation: dict(parse_qsl(query)) for relation, query in links(reply, "messages").items()
    }
    assert set(queries) == {"first", "current", "next"}
    for query in queries.values():
        assert query["limit"] == "2"
        assert query["direction"] == "backwards"
        assert query["start"] == "5"
        assert int(query["end"]) > 0
    assert "cursor" not in queries["first"]


async def test_each_relation_has_a_header_of_its_own(server: RestServer) -> None:
    await fill(server, 3)
    reply = await server.history("c", limit=1)
    relations = [header.rpartition("; ")[2] for header in reply.headers.get_list("link")]
    assert relations == ['rel="first"', 'rel="current"', 'rel="next"']


async def test_links_resolve_against_the_url(server: RestServer) -> None:
    """As ably-python follows them, also from a channel with an encoded slash."""
    channel = "a/b c"
    await fill(server, 3, channel)
    reply = await server.history(channel, limit=2)
    following = reply.url.join(reply.links["next"]["url"])
    assert urlsplit(str(following)).path.endswith("/messages")
    assert names(await server.client.get(following)) == ["0"]


@pytest.mark.parametrize("kind", TYPES)
async def test_an_empty_history(server: RestServer, kind: str) -> None:
    reply = await server.history("never used", kind)
    assert (reply.status_code, reply.headers["content-type"], decode(reply)) == (200, kind, [])
    assert set(links(reply, "messages")) == {"first", "current"}


@pytest.mark.parametrize(
    "params",
    [
        {"limit": "abc"},
        {"limit": "0"},
        {"limit": "-1"},
        {"limit": "1001"},
        {"limit": "1.5"},
        {"limit": "1" * 30},
        {"limit": "\uff11\uff10"},
        {"start": "abc"},
        {"start": "-1"},
        {"end": "yesterday"},
        {"end": "9" * 20},
        {"start": "2", "end": "1"},
        {"direction": "sideways"},
        {"cursor": "abc"},
        {"cursor": "01726585978590-001@otherseries:001"},
    ],
)
@pytest.mark.parametrize("kind", TYPES)
async def test_bad_parameters(server: RestServer, kind: str, params: dict[str, str]) -> None:
    reply = await server.history("c", kind, **params)
    assert reply.headers["content-type"] == kind
    assert error_of(reply) == (400, 40003)


@pytest.mark.parametrize("name", ["from_serial", "fromSerial"])
async def test_history_until_attach(server: RestServer, name: str) -> None:
    await fill(server, 4)
    serials = [message["serial"] for message in await server.stored("c", direction="forwards")]
    until = {name: serials[2]}
    assert names(await server.history("c", **until)) == ["2", "1", "0"]
    page = await server.history("c", limit=2, **until)
    assert names(await follow(server, "c", links(page, "messages")["next"])) == ["0"]
    channel_serial = serials[1].rpartition(":")[0]  # without an index: the whole publish
    assert len(await server.stored("c", **{name: channel_serial})) == 4
    for unknown in ("nonsense", "01726585978590-001@otherseries:001"):
        assert error_of(await server.history("c", **{name: unknown})) == (400, 90008)


async def test_a_filtered_channel(server: RestServer) -> None:
    """Its pages hold what the filter lets through, whatever lies between."""
    await server.publish("c", [{"name": name} for name in "xyxyx"])
    expression = base64.b64encode(b'name == `"x"`').decode()
    for named in (f"[filter={expression}]c", '[filter=name == `"x"`]c'):
        reply = await server.history(named, limit=2)
        assert names(reply) == ["x", "x"]
        following = await follow(server, named, links(reply, "messages")["next"])
        assert names(following) == ["x"]
        assert "next" not in links(following, "messages")
    for bad in ("[filter=name ==]c", "[filter=]c"):
        assert error_of(await server.history(bad))[0] == 400


async def test_the_connection_that_a_message_came_over(tmp_path: Path) -> None:
    """Or was published for, by the connection's key; of other messages there is none to tell."""
    async with realtime_server(tmp_path / "data") as server:
        me = await server.connect()
        await me.publish("c", 0, "over it")
        await me.hears(Action.ACK)
        base_url = f"http://127.0.0.1:{server.listening.port}"
        async with httpx.AsyncClient(base_url=base_url, headers=basic(server.key)) as client:
            for message in ({"name": "for it", "connectionKey": me.key}, {"name": "alone"}):
                reply = await client.post(messages_path("c"), json=message)
                assert reply.status_code == 201, reply.text
            found = decode(await client.get(messages_path("c")))
    connections = {message["name"]: message.get("connectionId") for message in found}
    assert connections == {"over it": me.id, "for it": me.id, "alone": None}


async def test_limits(server: RestServer) -> None:
    await fill(server, 150)
    assert len(await server.stored("c")) == 100
    assert len(await server.stored("c", limit=1000)) == 150
    assert len(await server.stored("c", limit="")) == 100


async def test_end_now(server: RestServer) -> None:
    await fill(server, 2)
    for params in ({"end": "now"}, {"start": "0", "end": "now"}, {"start": "", "end": ""}):
        reply = await server.history("c", limit=1, **params)
        assert names(reply) == ["1"]
        await server.publish("c", {"name": "late"})
        assert names(await follow(server, "c", links(reply, "messages")["next"])) == ["0"]
        await server.broker.purge(server.app, channel="c")
        await fill(server, 2)


async def time(server: RestServer) -> int:
    reply = await server.client.get("/time", headers={"Authorization": ""})
    (now,) = decode(reply)
    assert type(now) is int
    return now


async def test_time_ranges_part_exactly(server: RestServer) -> None:
    """Reference 1.6.2: a fast server puts a publish and a /time into one millisecond."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    choices = random.Random(seed)
    for iteration in range(200):
        channel = f"c{iteration}"
        counts = [choices.randint(1, 3) for _ in range(3)]
        times = []
        for part, count in zip("abc", counts, strict=True):
            await server.publish(channel, [{"name": part}] * count)
            times.append(await time(server))
        found = names(await server.history(channel, start=times[0], end=times[1]))
        assert found == ["b"] * counts[1], iteration


async def test_time_never_goes_back(server: RestServer) -> None:
    times = []
    for _ in range(50):
        times.append(await time(server))
        reply = await server.publish("c", {})
        serial = decode(reply)["serials"][0]
        times.append(int(serial[:14]))
    assert times == sorted(times)
