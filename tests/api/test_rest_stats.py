"""`/stats` over the wire: shapes, units, pages, bounds, fixtures, and what this server counts."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest

from tests.api.rest_server import (
    JSON,
    TYPES,
    RestServer,
    basic,
    bearer,
    decode,
    encode,
    error_of,
    links,
    rest_server,
)
from tests.broker.conftest import FakeClock

UNITS = ("minute", "hour", "day", "month")
SCHEMA = "https://schemas.ably.com/json/app-stats-0.0.5.json"
INBOUND = "messages.inbound.realtime.messages"
# What the SDKs' own tests inject (reference 1.14).
THREE = [
    {
        "intervalId": "2023-02-03:15:03",
        "inbound": {"realtime": {"messages": {"count": 50, "data": 5000}}},
        "outbound": {"realtime": {"messages": {"count": 20, "data": 2000}}},
    },
    {
        "intervalId": "2023-02-03:15:04",
        "inbound": {"realtime": {"messages": {"count": 60, "data": 6000}}},
        "outbound": {"realtime": {"messages": {"count": 10, "data": 1000}}},
    },
    {
        "intervalId": "2023-02-03:15:05",
        "inbound": {"realtime": {"messages": {"count": 70, "data": 7000}}},
        "outbound": {"realtime": {"messages": {"count": 40, "data": 4000}}},
        "persisted": {"presence": {"count": 20, "data": 2000}},
        "connections": {"tls": {"peak": 20, "opened": 10}},
        "channels": {"peak": 50, "opened": 30},
        "apiRequests": {"succeeded": 50, "failed": 10},
        "tokenRequests": {"succeeded": 60, "failed": 20},
    },
]


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[RestServer]:
    async with rest_server(tmp_path / "data", sandbox=True) as running:
        yield running


@pytest.fixture
async def three(sandbox: RestServer) -> RestServer:
    assert (await inject(sandbox, THREE)).status_code == 201
    return sandbox


async def inject(server: RestServer, fixtures: Any, kind: str = JSON) -> httpx.Response:
    headers = {"Content-Type": kind, "Accept": kind}
    return await server.client.post("/stats", content=encode(fixtures, kind), headers=headers)


async def ask(
    server: RestServer, query: str = "", kind: str = JSON, version: str = "2", **params: Any
) -> Any:
    path = f"/stats?{query}" if query else "/stats"
    headers = {"Accept": kind, "X-Ably-Version": version}
    reply = await server.client.get(path, params=params or None, headers=headers)
    assert reply.status_code == 200, reply.text
    return reply


async def stats(server: RestServer, **params: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = decode(await ask(server, **params))
    return found


def ids(items: list[dict[str, Any]]) -> list[str]:
    return [item["intervalId"] for item in items]


@pytest.mark.parametrize("kind", TYPES)
async def test_the_whole_answer(three: RestServer, kind: str) -> None:
    reply = await ask(three, kind=kind, start="2023-02-03:15:04", end="2023-02-03:15:04")
    assert reply.headers["content-type"] == kind
    count, data = {"in": 60, "out": 10, "all": 70}, {"in": 6000, "out": 1000, "all": 7000}
    entries = {}
    for metric, amounts in (("count", count), ("data", data)):
        for via in ("realtime", "all"):
            for type_ in ("messages", "all"):
                entries[f"messages.inbound.{via}.{type_}.{metric}"] = amounts["in"]
                entries[f"messages.outbound.{via}.{type_}.{metric}"] = amounts["out"]
        for type_ in ("messages", "all"):
            entries[f"messages.all.{type_}.{metric}"] = amounts["all"]
    assert decode(reply) == [
        {
            "intervalId": "2023-02-03:15:04",
            "unit": "minute",
            "entries": entries,
            "schema": SCHEMA,
            "appId": three.app,
        }
    ]


@pytest.mark.parametrize("version", ["", "1.2", "1", "x"])
async def test_who_says_no_version_is_told_nested_families_too(
    three: RestServer, version: str
) -> None:
    """As the seed's examples of `fields`, `flatten` and `select` expect them."""
    minute = "2023-02-03:15:05"
    where = {"start": minute, "end": minute, "version": version}
    (found,) = decode(await ask(three, **where))
    assert found["channels"] == {"peak": 50, "opened": 30}
    assert found["inbound"]["realtime"]["messages"] == {"count": 70, "data": 7000}
    assert found["all"]["all"] == {"count": 110, "data": 11000}
    assert found["tokenRequests"] == {"succeeded": 60, "failed": 20}
    assert found["entries"]["channels.peak"] == 50
    shaped = {"fields": "channels.peak,intervalId"}
    assert decode(await ask(three, **where, **shaped)) == [
        {"channels": {"peak": 50}, "intervalId": minute}
    ]
    assert decode(await ask(three, **where, **shaped, flatten="true")) == {
        "0.channels.peak": 50,
        "0.intervalId": minute,
    }
    assert decode(await ask(three, **where, select="*.channels.*")) == {
        "0.channels.peak": 50,
        "0.channels.opened": 30,
    }


async def test_flat_entries_are_found_by_their_dots(three: RestServer) -> None:
    minute = "2023-02-03:15:05"
    where = {"start": minute, "end": minute, "select": "*.entries.channels.*"}
    assert decode(await ask(three, **where)) == {
        "0.entries.channels.peak": 50,
        "0.entries.channels.opened": 30,
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("messages.inbound.realtime.messages.count", 70),
        ("messages.inbound.realtime.all.data", 7000),
        ("messages.inbound.all.messages.count", 70),
        ("messages.inbound.all.all.count", 70),
        ("messages.outbound.realtime.all.count", 40),
        ("messages.outbound.realtime.messages.data", 4000),
        ("messages.all.messages.count", 110),
        ("messages.all.all.data", 11000),
        ("messages.persisted.presence.count", 20),
        ("messages.persisted.all.count", 20),
        ("messages.persisted.all.data", 2000),
        ("connections.all.peak", 20),
        ("connections.all.opened", 10),
        ("channels.peak", 50),
        ("channels.opened", 30),
        ("apiRequests.other.succeeded", 50),
        ("apiRequests.other.failed", 10),
        ("apiRequests.tokenRequests.succeeded", 60),
        ("apiRequests.tokenRequests.failed", 20),
        ("apiRequests.all.succeeded", 110),
        ("apiRequests.all.failed", 30),
    ],
)
async def test_what_a_fixture_expands_to(three: RestServer, name: str, expected: int) -> None:
    (item,) = await stats(three, start="2023-02-03:15:05", end="2023-02-03:15:05")
    assert item["entries"][name] == expected


@pytest.mark.parametrize("name", ["unit", "by"])
@pytest.mark.parametrize(
    ("unit", "interval"),
    [("hour", "2023-02-03:15"), ("day", "2023-02-03"), ("month", "2023-02")],
)
async def test_longer_units_add_up(three: RestServer, unit: str, interval: str, name: str) -> None:
    bounds = {"start": "2023-02-03:15:03", "end": "2023-02-03:15:03"}
    (item,) = await stats(three, **{name: unit}, **bounds)
    assert (item["intervalId"], item["unit"]) == (interval, unit)
    entries = item["entries"]
    assert entries["messages.all.messages.count"] == 50 + 20 + 60 + 10 + 70 + 40
    assert entries["messages.all.messages.data"] == 25_000
    assert (entries["channels.peak"], entries["channels.opened"]) == (50, 30)
    assert "inProgress" not in item


def as_ms(*moment: int) -> int:
    return int(datetime(*moment, tzinfo=UTC).timestamp() * 1000)  # type: ignore[arg-type, misc]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("2023-02-03:15:03", "2023-02-03:15:05", "345"),
        ("2023-02-03:15:04", "2023-02-03:15:04", "4"),
        ("2023-02-03:15", "2023-02-03:15", "345"),
        ("2023-02-03", "2023-02-03", "345"),
        ("2023-02", "2023-02", "345"),
        ("2023-02-03:15:04", "2023-02", "45"),
        ("2023-02-03:16", "2023-02", ""),
        ("2023-01", "2023-02-03:15:04", "34"),
        (as_ms(2023, 2, 3, 15, 3, 59), as_ms(2023, 2, 3, 15, 5), "345"),
        (as_ms(2023, 2, 3, 15, 4), as_ms(2023, 2, 3, 15, 4, 59), "4"),
        ("", "now", "345"),
        ("0", "", "345"),
        ("now", "now", ""),
    ],
)
async def test_bounds(sandbox: RestServer, start: Any, end: Any, expected: str) -> None:
    """Minutes end in the digit that is expected. This minute is not one of the three."""
    await inject(sandbox, THREE)
    found = await stats(sandbox, start=start, end=end, direction="forwards")
    assert "".join(id_[-1] for id_ in ids(found) if id_.startswith("2023")) == expected


@pytest.mark.parametrize(("direction", "expected"), [("forwards", "345"), ("backwards", "543")])
async def test_pages_of_one(three: RestServer, direction: str, expected: str) -> None:
    reply = first = await ask(three, end="2023-02-03:15:05", direction=direction, limit=1)
    found = ids(decode(reply))
    while query := links(reply, "stats").get("next"):
        reply = await ask(three, query)
        assert decode(await ask(three, links(reply, "stats")["current"])) == decode(reply)
        assert decode(await ask(three, links(reply, "stats")["first"])) == decode(first)
        found += ids(decode(reply))
    assert "".join(id_[-1] for id_ in found) == expected


@pytest.mark.parametrize("kind", TYPES)
async def test_a_hundred_and_twenty_minutes(sandbox: RestServer, kind: str) -> None:
    """One of them is a minute of zeros, and is there."""
    last = datetime(2022, 2, 3, 15, 5, tzinfo=UTC)
    fixtures = [
        {
            "intervalId": (last - timedelta(minutes=n)).strftime("%Y-%m-%d:%H:%M"),
            "inbound": {"realtime": {"messages": {"count": n}}},
        }
        for n in range(120)
    ]
    reply = await inject(sandbox, THREE + fixtures, kind)
    assert (reply.status_code, decode(reply)) == (201, [])
    reply = await ask(sandbox, kind=kind, end=int(last.timestamp() * 1000))
    assert len(decode(reply)) == 100
    assert decode(reply)[0]["entries"] == {}
    reply = await sandbox.client.get(reply.url.join(reply.links["next"]["url"]))
    counts = [item["entries"][f"{INBOUND}.count"] for item in decode(reply)]
    assert counts == list(range(100, 120))
    assert set(links(reply, "stats")) == {"first", "current"}


async def test_links_hold_every_effective_parameter(three: RestServer) -> None:
    before = three.broker.clock()
    reply = await ask(three, limit=2, by="minute")
    for relation, query in links(reply, "stats").items():
        found = dict(parse_qsl(query))
        assert ("cursor" in found) == (relation == "next")
        assert before <= int(found["end"]) <= three.broker.clock() + 1_000
        names = ("start", "limit", "direction", "unit")
        assert [found[name] for name in names] == ["0", "2", "backwards", "minute"]


@pytest.mark.parametrize("kind", TYPES)
async def test_no_statistics(server: RestServer, kind: str) -> None:
    reply = await ask(server, kind=kind)
    assert (decode(reply), set(links(reply, "stats"))) == ([], {"first", "current"})


@pytest.mark.parametrize(
    "params",
    [
        {"limit": "0"},
        {"limit": "1001"},
        {"limit": "-1"},
        {"limit": "x"},
        {"unit": "second"},
        {"unit": "MINUTE"},
        {"by": "year"},
        {"direction": "sideways"},
        {"start": "yesterday"},
        {"start": "-1"},
        {"end": "2023-02-30"},
        {"end": "2023-2-3"},
        {"end": "2023-02-03:15:05:00"},
        {"start": "2023-02-03:15:06", "end": "2023-02-03:15:05"},
        {"start": "2", "end": "1"},
        {"start": "9" * 15},
        {"cursor": "x"},
        {"cursor": "2023-02"},
    ],
)
@pytest.mark.parametrize("kind", TYPES)
async def test_bad_parameters(server: RestServer, kind: str, params: dict[str, str]) -> None:
    reply = await server.client.get("/stats", params=params, headers={"Accept": kind})
    assert reply.headers["content-type"] == kind
    assert error_of(reply) == (400, 40003)


@pytest.mark.parametrize(
    ("capability", "status"),
    [
        ('{"*":["stats"]}', 200),
        ('{"[*]*":["*"]}', 200),
        ('{"*":["publish"]}', 401),
        ('{"c":["*"]}', 401),
    ],
)
async def test_it_takes_stats_on_everything(
    server: RestServer, capability: str, status: int
) -> None:
    key = await server.broker.apps.create_key(server.app, granted=capability)
    for headers in (basic(key.string), bearer(server.token(key=key))):
        reply = await server.client.get("/stats", headers=headers)
        assert reply.status_code == status
        if status == 401:
            assert error_of(reply) == (401, 40160)


async def test_it_takes_credentials(sandbox: RestServer) -> None:
    client = await sandbox.connect({})
    assert error_of(await client.get("/stats"))[0] == 401
    assert error_of(await client.post("/stats", json=THREE))[0] == 401
    token = bearer(sandbox.token())
    assert error_of(await client.post("/stats", json=THREE, headers=token)) == (401, 40101)
    assert await stats(sandbox, end="2023-12") == []


async def test_without_sandbox_nothing_is_made_up(server: RestServer) -> None:
    assert error_of(await inject(server, THREE)) == (405, 40500)
    assert await stats(server, end="2023-12") == []


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"intervalId": 5},
        {"intervalId": "2023-02-03:15:03", "inbound": 1},
        {"intervalId": "2023-02-03:15:03", "channels": {"peak": -1}},
        {"intervalId": "2023-02-03:15:03", "channels": {"peak": 1.5}},
        {"intervalId": "2023-02-03:15:03", "channels": {"peak": "1"}},
        {"intervalId": "2023-02-03:15:03", "channels": {"peak": 1 << 33}},
        {"intervalId": "2023-02-03:15:03", "inbound": {"realtime": {"messages": [1]}}},
        5,
        None,
    ],
)
@pytest.mark.parametrize("kind", TYPES)
async def test_what_is_no_fixture_changes_nothing(sandbox: RestServer, kind: str, bad: Any) -> None:
    for body in ([*THREE, bad], {"stats": [bad]}, {"intervalId": "2023-02"}):
        assert error_of(await inject(sandbox, body, kind)) == (400, 40000)
    assert await stats(sandbox, end="2023-12") == []


@pytest.mark.parametrize("bad", ["now", "2023", "2023-02-30:00:00", "2023-02-03:15:03:00", ""])
async def test_fixtures_of_no_interval(sandbox: RestServer, bad: str) -> None:
    assert error_of(await inject(sandbox, [*THREE, {"intervalId": bad}])) == (400, 40003)
    assert await stats(sandbox, end="2023-12") == []


async def test_fixtures_are_bounded(sandbox: RestServer) -> None:
    fixtures = [{"intervalId": "2023-02"}] * 1_000
    assert (await inject(sandbox, fixtures)).status_code == 201
    assert ids(await stats(sandbox, end="2023-12")) == ["2023-02-01:00:00"]
    assert error_of(await inject(sandbox, [*fixtures, *THREE])) == (400, 40000)
    assert len(await stats(sandbox, end="2023-12")) == 1


async def test_fixtures_of_one_minute_add_up(sandbox: RestServer) -> None:
    one = {
        "intervalId": "2023-02-03:15:03",
        "inbound": {"rest": {"presence": {"count": 1, "refused": 2}}},
        "connections": {"tls": {"peak": 2, "opened": 1}, "plain": {"peak": 5, "opened": 2}},
        "channels": {"min": None, "unknown": 7},
        "unknown": True,
    }
    await inject(sandbox, [one, one])
    await inject(sandbox, [one])
    (item,) = await stats(sandbox, end="2023-12")
    entries = item["entries"]
    assert entries["messages.inbound.rest.presence.count"] == 3
    assert entries["messages.inbound.all.all.refused"] == 6
    assert (entries["connections.all.peak"], entries["connections.all.opened"]) == (5, 9)


async def today(server: RestServer) -> dict[str, Any]:
    """This month so far: it does not end while a test runs, as a minute may."""
    found = await stats(server, unit="month", end="now", limit=1)
    return dict(found[0]["entries"]) if found else {}


@pytest.mark.parametrize("unit", UNITS)
async def test_what_goes_on_is_in_progress(tmp_path: Path, unit: str) -> None:
    """RSC6, TS12: the interval that now lies in says up to which minute it is counted."""
    clock = FakeClock(as_ms(2024, 2, 3, 15, 5))
    async with rest_server(tmp_path / "data", clock=clock) as server:
        await server.publish("c", {"data": "123"})
        (item,) = await stats(server, unit=unit, end="now")
        assert item["inProgress"] == "2024-02-03:15:05"
        assert "2024-02-03:15:05".startswith(item["intervalId"])
        assert item["entries"]["messages.inbound.rest.messages.count"] == 1
        clock.ms = as_ms(2024, 3, 3, 15, 5)
        assert "inProgress" not in (await stats(server, unit=unit, end="2024-02"))[0]


async def test_what_this_server_counts(server: RestServer) -> None:
    assert await today(server) == {}
    await server.publish("c", [{"data": "123"}, {"data": "1"}])
    await server.history("c")
    await server.history("c", limit="x")
    await server.publish("c", {"data": 1})
    token_path = f"/keys/{server.key.name}/requestToken"
    assert (await server.client.post(token_path, json={})).status_code == 201
    other = await server.broker.apps.create_key(server.app, granted='{"d":["*"]}')
    reply = await server.client.post(token_path, json={}, headers=basic(other.string))
    assert reply.status_code == 401
    reply = await server.client.get("/channels/c/messages", headers=basic(other.string))
    assert reply.status_code == 401
    entries = await today(server)
    expected = {
        "messages.inbound.rest.messages.count": 2,
        "messages.inbound.rest.messages.data": 4,
        "messages.inbound.rest.messages.refused": 1,
        "messages.outbound.rest.messages.count": 2,
        "messages.outbound.rest.messages.data": 4,
        "apiRequests.other.succeeded": 3,  # the first question for statistics is one
        "apiRequests.other.failed": 2,
        "apiRequests.other.refused": 1,
        "apiRequests.tokenRequests.succeeded": 1,
        "apiRequests.tokenRequests.refused": 1,
        "channels.opened": 1,
        "channels.peak": 1,
    }
    assert {name: entries.get(name) for name in expected} == expected


async def test_presence_that_is_read(server: RestServer) -> None:
    for path in ("/channels/c/presence", "/channels/c/presence/history"):
        assert (await server.client.get(path)).status_code == 200
    assert "messages.outbound.rest.presence.count" not in await today(server)


async def test_what_has_no_credentials_is_nobody_s(server: RestServer) -> None:
    client = await server.connect({})
    await client.get("/time")
    await client.get("/channels/c/messages")
    await client.get("/channels/c/messages", headers=basic(f"{server.key.name}:wrong"))
    await client.post("/keys/a.b/requestToken", json={})
    await client.request("OPTIONS", "/stats")
    assert await today(server) == {}


async def test_it_is_right_over_a_restart(tmp_path: Path) -> None:
    for count in (1, 2, 3):
        async with rest_server(tmp_path / "data") as server:
            await server.publish("c", {"data": "12"})
            entries = await today(server)
            assert entries["messages.inbound.rest.messages.count"] == count
            assert entries["messages.inbound.rest.messages.data"] == 2 * count
            assert entries["apiRequests.all.succeeded"] == 2 * count - 1
            assert entries["channels.opened"] == 1


async def test_a_deleted_app_has_none(sandbox: RestServer) -> None:
    body = (await sandbox.client.post("/apps", json={"keys": [{}]})).json()
    client = await sandbox.connect(basic(body["keys"][0]["keyStr"]))
    assert (await client.post("/stats", json=THREE)).status_code == 201
    assert len(decode(await client.get("/stats", params={"end": "2023-12"}))) == 3
    assert (await client.delete(f"/apps/{body['appId']}")).status_code == 204
    with sandbox.broker.rows() as rows:
        left = [len(list(rows.scan(table))) for table in ("stats_minutes", "stats")]
    assert left == [0, 1]  # how far was counted
