"""`POST /messages`: many channels in one request (reference 1.10)."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from broker import BrokerSettings
from broker.event import Kind
from storage import Record, Span, Stream
from tests.api.rest_server import (
    JSON,
    TYPES,
    RestServer,
    basic,
    bearer,
    decode,
    encode,
    error_of,
    rest_server,
)
from tests.api.test_rest_publish import client_id_header

OLD = [{}, {"X-Ably-Version": "1.2"}, {"X-Ably-Version": "2"}, {"X-Ably-Version": "x"}]
NEW = [{"X-Ably-Version": "3"}, {"X-Ably-Version": "6"}, {"X-Ably-Version": "3.1"}]
COUNTED = {"X-Ably-Version": "3"}
BAD_NAME = "[x"


async def post(
    client: httpx.AsyncClient, body: Any, headers: dict[str, str] | None = None, kind: str = JSON
) -> httpx.Response:
    sent = {"Content-Type": kind, "Accept": kind, **(headers or {})}
    return await client.post("/messages", content=encode(body, kind), headers=sent)


async def counted(client: httpx.AsyncClient, body: Any) -> list[dict[str, Any]]:
    """The BatchResults of a batch that must be taken."""
    reply = await post(client, body, COUNTED)
    assert reply.status_code == 201, reply.text
    found: list[dict[str, Any]] = decode(reply)
    for result in found:
        failed = sum("error" in item for item in result["results"])
        assert result["failureCount"] == failed
        assert result["successCount"] == len(result["results"]) - failed
    return found


async def data_of(server: RestServer, channel: str) -> list[Any]:
    found = await server.stored(channel, direction="forwards")
    return [message.get("data") for message in found]


async def limited_client(server: RestServer, capability: str) -> httpx.AsyncClient:
    key = await server.broker.apps.create_key(server.app, granted=capability)
    return await server.connect(basic(key.string))


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("headers", [*OLD, *NEW], ids=str)
async def test_by_version(server: RestServer, headers: dict[str, str], kind: str) -> None:
    specs = [
        {"channels": ["b", "a"], "messages": [{"data": "1"}, {"data": "2"}]},
        {"channels": "c", "messages": {"data": "3"}},
    ]
    reply = await post(server.client, specs, headers, kind)
    assert (reply.status_code, reply.headers["content-type"]) == (201, kind)
    told = decode(reply)
    if headers in NEW:
        assert [(r["successCount"], r["failureCount"]) for r in told] == [(2, 0), (1, 0)]
        told = [item for result in told for item in result["results"]]
    assert [item["channel"] for item in told] == ["b", "a", "c"]
    for item in told:
        stored = await server.stored(item["channel"], direction="forwards")
        assert item["serials"] == [message["serial"] for message in stored]
        assert {message["id"].rpartition(":")[0] for message in stored} == {item["messageId"]}
    assert await data_of(server, "a") == await data_of(server, "b") == ["1", "2"]


async def test_by_parameter(server: RestServer) -> None:
    spec = {"channels": "c", "messages": {}}
    for version, is_new in (("2", False), ("3", True), ("1.2", False), ("", False)):
        reply = await server.client.post("/messages", params={"v": version}, json=spec)
        assert ("results" in decode(reply)[0]) == is_new


@pytest.mark.parametrize("headers", [*OLD, *NEW], ids=str)
async def test_partial_failure(server: RestServer, headers: dict[str, str]) -> None:
    client = await limited_client(server, '{"may:*":["publish"]}')
    specs = [
        {"channels": ["may:a", "not", BAD_NAME, "may:b"], "messages": {"data": "x"}},
        {"channels": ["", ":y"], "messages": {"data": "y"}},
    ]
    reply = await post(client, specs, headers)
    told = decode(reply)
    if headers in NEW:
        assert reply.status_code == 201
        assert [(r["successCount"], r["failureCount"]) for r in told] == [(2, 2), (0, 2)]
        items = [item for result in told for item in result["results"]]
    else:
        assert reply.status_code == 400
        assert reply.headers["x-ably-errorcode"] == "40020"
        assert reply.headers["x-ably-errormessage"] == told["error"]["message"]
        assert told.keys() == {"error", "batchResponse"}
        assert (told["error"]["code"], told["error"]["statusCode"]) == (40020, 400)
        items = told["batchResponse"]
    codes = [(i["channel"], i.get("error", {}).get("code")) for i in items]
    assert codes == [
        ("may:a", None),
        ("not", 40160),
        (BAD_NAME, 40010),
        ("may:b", None),
        ("", 40010),
        (":y", 40010),
    ]
    assert items[1]["error"]["statusCode"] == 401
    assert items[1].keys() == {"channel", "error"}
    for channel, expected in (("may:a", ["x"]), ("may:b", ["x"]), ("not", [])):
        assert await data_of(server, channel) == expected


async def test_nothing_of_a_batch_may_be_possible(server: RestServer) -> None:
    before = server.broker.log.position
    (result,) = await counted(server.client, {"channels": [BAD_NAME], "messages": {}})
    assert result["failureCount"] == 1
    assert server.broker.log.position == before
    assert error_of(await post(await server.connect({}), {})) == (401, 40101)


async def test_names_with_attach_params(server: RestServer) -> None:
    """As they came in the answer, without them on disk."""
    (result,) = await counted(server.client, {"channels": ["[?rewind=1]c"], "messages": {}})
    assert result["results"][0]["channel"] == "[?rewind=1]c"
    assert len(await server.stored("c")) == 1


async def test_a_channel_that_is_named_twice_in_a_spec(server: RestServer) -> None:
    spec = {"channels": ["c", "d", "c"], "messages": {"data": "x"}}
    first, second = await counted(server.client, [spec, {**spec, "channels": "c"}])
    assert [item["channel"] for item in first["results"]] == ["c", "d"]
    assert [item["channel"] for item in second["results"]] == ["c"]
    assert await data_of(server, "c") == ["x", "x"]


async def test_client_ids(server: RestServer) -> None:
    spec = {"channels": ["c"], "messages": [{}, {"clientId": "ann"}]}
    bound = await server.connect(bearer(server.token(**{"x-ably-clientId": "ann"})))
    (result,) = await counted(bound, spec)
    assert result["failureCount"] == 0
    assert [message["clientId"] for message in await server.stored("c")] == ["ann", "ann"]
    (result,) = await counted(bound, {"channels": ["c", "d"], "messages": {"clientId": "bob"}})
    assert [item["error"]["code"] for item in result["results"]] == [40012, 40012]
    nobody = await server.connect(bearer(server.token()))
    (result,) = await counted(nobody, spec)
    assert result["results"][0]["error"]["code"] == 40012
    by_header = await post(
        server.client, {"channels": "h", "messages": {}}, client_id_header("eve")
    )
    assert by_header.status_code == 201
    assert (await server.stored("h"))[0]["clientId"] == "eve"
    (result,) = await counted(server.client, {"channels": "h", "messages": {"clientId": "*"}})
    assert result["results"][0]["error"]["code"] == 40012


@pytest.mark.parametrize(
    "messages", [{"id": "i"}, [{"id": "b:0"}, {"id": "b:1"}]], ids=["one", "two"]
)
async def test_ids_are_for_each_channel(server: RestServer, messages: Any) -> None:
    first = await counted(server.client, {"channels": ["a", "b"], "messages": messages})
    again = await counted(server.client, {"channels": ["b", "c"], "messages": messages})
    by_channel = {item["channel"]: item for item in first[0]["results"]}
    assert again[0]["results"][0] == by_channel["b"]
    count = len(messages) if isinstance(messages, list) else 1
    for channel in "abc":
        assert len(await server.stored(channel)) == count
    (single,) = await counted(server.client, {"channels": "a", "messages": messages})
    assert single["results"] == [by_channel["a"]]


async def test_equal_ids_in_one_batch_are_one_message(server: RestServer) -> None:
    spec = {"channels": "c", "messages": {"id": "i", "data": "x"}}
    first, second = await counted(server.client, [spec, spec])
    assert first == second
    assert await data_of(server, "c") == ["x"]


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ([], 40001),
        ("x", 40001),
        (7, 40001),
        (None, 40001),
        ([[]], 40001),
        ({}, 40001),
        ({"channels": "c"}, 40001),
        ({"messages": {}}, 40001),
        ({"channels": [], "messages": {}}, 40001),
        ({"channels": [1], "messages": {}}, 40001),
        ({"channels": {"c": 1}, "messages": {}}, 40001),
        ({"channels": None, "messages": {}}, 40001),
        ({"channels": "c", "messages": None}, 40001),
        ({"channels": "c", "messages": ["x"]}, 40001),
        ({"channels": "c", "messages": {"data": 5}}, 40013),
        ({"channels": "c", "messages": {"id": 5}}, 40031),
        ({"channels": "c", "messages": {"extras": 5}}, 40032),
        ([{"channels": "c", "messages": {}}] * 101, 40001),
        ({"channels": [f"c{n}" for n in range(101)], "messages": {}}, 90010),
        ({"channels": [f"c{n}" for n in range(11)], "messages": [{}] * 1_000}, 40034),
    ],
)
async def test_what_cannot_be_read_publishes_nothing(
    server: RestServer, spec: Any, code: int
) -> None:
    """Not even of the specs before it."""
    good = {"channels": ["good"], "messages": {"data": "x"}}
    before = server.broker.log.position
    batches = [spec] if isinstance(spec, list) else [spec, [good, spec], [spec, good]]
    for body in batches:
        for kind in TYPES:
            assert error_of(await post(server.client, body, COUNTED, kind)) == (400, code)
    assert server.broker.log.position == before
    if isinstance(spec, dict):
        message = decode(await post(server.client, [good, spec]))["error"]["message"]
        assert code in (90010, 40034) or message.startswith("spec 1: ")


async def test_messages_that_are_refused_are_refused_in_their_place(server: RestServer) -> None:
    bad: list[tuple[Any, int]] = [
        ([], 40030),
        ([{}] * 1_001, 40034),
        ({"id": ""}, 40031),
        ([{"id": "a"}, {"id": "b"}], 40031),
        ({"extras": {"unknown": 1}}, 40032),
        ({"data": "x" * 65_537}, 40009),
        ([{"extras": {"ephemeral": True}}, {}], 40030),
    ]
    specs: list[Any] = [{"channels": "bad", "messages": messages} for messages, _ in bad]
    good = {"channels": "good", "messages": {"data": "x"}}
    *results, last = await counted(server.client, [*specs, good])
    codes = [result["results"][0]["error"]["code"] for result in results]
    assert codes == [code for _, code in bad]
    assert last["successCount"] == 1
    assert (await data_of(server, "bad"), await data_of(server, "good")) == ([], ["x"])


async def test_as_many_as_there_may_be(server: RestServer) -> None:
    channels = [f"c{number}" for number in range(100)]
    specs = [{"channels": channels, "messages": [{}] * 50}, {"channels": "c0", "messages": {}}]
    first, second = await counted(server.client, specs)
    assert (first["successCount"], second["successCount"]) == (100, 1)
    assert [item["channel"] for item in first["results"]] == channels
    assert len(await server.stored("c0")) == 51
    assert len(await server.stored("c99")) == 50


async def test_the_limit_is_a_setting(tmp_path: Path) -> None:
    settings = BrokerSettings(batch_messages_max=5)
    async with rest_server(tmp_path / "data", settings=settings) as server:
        fits = {"channels": ["a", "b"], "messages": [{}, {}]}
        await counted(server.client, [fits, {"channels": "c", "messages": {}}])
        reply = await post(server.client, [fits, {"channels": "c", "messages": [{}, {}]}])
        assert error_of(reply) == (400, 40034)


async def test_a_batch_is_one_commit(server: RestServer) -> None:
    specs = [
        {"channels": ["b", "a"], "messages": [{"data": "1"}, {"data": "2"}]},
        {"channels": [BAD_NAME, "a"], "messages": {"data": "3"}},
    ]
    await counted(server.client, {"channels": ["a", "b"], "messages": {"data": "0"}})
    metrics = server.broker.log.writer.metrics
    before = (metrics.commits, metrics.commands, metrics.records)
    await counted(server.client, specs)
    after = (metrics.commits, metrics.commands, metrics.records)
    assert tuple(now - then for now, then in zip(after, before, strict=True)) == (1, 3, 5)
    found: dict[str, list[Record]] = {}
    for channel in "ab":
        stream = Stream(server.app, channel, Kind.MESSAGES)
        page = await server.broker.log.read(stream, Span(), limit=10)
        found[channel] = page.records
    in_order = sorted(found["a"][1:] + found["b"][1:], key=lambda record: record.serial)
    assert [(r.stream.channel, r.event.message.data) for r in in_order] == [
        ("b", "1"),
        ("b", "2"),
        ("a", "1"),
        ("a", "2"),
        ("a", "3"),
    ]
