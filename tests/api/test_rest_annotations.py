"""`/channels/{channel}/messages/{serial}/annotations` over the wire."""

from typing import Any

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
)
from tests.api.test_rest_message import CHANNEL, get, path, published

TOTAL = {"action": 0, "type": "t:total.v1"}


@pytest.fixture
async def m(server: RestServer) -> RestServer:
    await server.broker.apps.set_namespace(server.app, "m", NamespaceRules(mutable_messages=True))
    return server


async def annotate(
    m: RestServer, serial: str, items: Any, kind: str = JSON, **more: Any
) -> httpx.Response:
    client = more.pop("by", m.client)
    return await client.post(  # type: ignore[no-any-return]
        path(serial, "annotations", **more),
        content=encode(items, kind),
        headers={"Content-Type": kind, "Accept": kind},
    )


async def listed(m: RestServer, serial: str, kind: str = JSON) -> list[dict[str, Any]]:
    reply = await m.client.get(path(serial, "annotations"), headers={"Accept": kind})
    assert reply.status_code == 200
    found: list[dict[str, Any]] = decode(reply)
    return found


@pytest.mark.parametrize("kind", TYPES)
async def test_made_listed_and_summed_up(m: RestServer, kind: str) -> None:
    serial = await published(m)
    data = b"\x00\xff" if kind == MSGPACK else "why"
    item = {
        "action": 0, "type": "r:distinct.v1", "name": "+1", "clientId": "me", "data": data,
        "messageSerial": serial, "extras": {"a": [1]}, "count": 2,
    }  # fmt: skip
    reply = await annotate(m, serial, [item, {**item, "action": 1, "name": "-1"}], kind)
    assert reply.status_code == 201, reply.text
    answer = decode(reply)
    found = await listed(m, serial, kind)
    assert [one["serial"] for one in found] == answer["serials"]
    assert answer["serials"] == sorted(answer["serials"])
    assert answer["serials"][0] > serial
    first = found[0]
    assert first == {
        **item,
        "id": first["id"],
        "serial": answer["serials"][0],
        "timestamp": first["timestamp"],
    }
    assert [one["action"] for one in found] == [0, 1]
    assert [one["id"].rpartition(":")[2] for one in found] == ["0", "1"]
    counted = {"r:distinct.v1": {"+1": {"total": 1, "clientIds": ["me"], "clipped": False}}}
    message = await get(m, serial, kind)
    assert message["annotations"] == {"summary": counted}
    assert await m.stored(CHANNEL, kind) == [message]


@pytest.mark.parametrize("limit", [1, 2, 5, 6])
async def test_by_pages(m: RestServer, limit: int) -> None:
    serial = await published(m)
    reply = await annotate(m, serial, [TOTAL] * 5)
    expected, found = decode(reply)["serials"], []
    query: str | None = f"limit={limit}"
    while query is not None:
        page = await m.client.get(f"{path(serial, 'annotations')}?{query}")
        assert 0 < len(decode(page)) <= limit
        found += [one["serial"] for one in decode(page)]
        query = links(page, "annotations").get("next")
    assert found == expected


async def test_of_nothing(m: RestServer) -> None:
    serial = await published(m)
    assert await listed(m, serial) == []
    assert "annotations" not in await get(m, serial)


REFUSED: dict[str, tuple[Any, tuple[int, int]]] = {
    "a bare object": (TOTAL, (400, 40001)),
    "a text": ("text", (400, 40001)),
    "nothing": ([], (400, 40001)),
    "too many": ([TOTAL] * 101, (400, 40001)),
    "no object": ([1], (400, 40001)),
    "no action": ([{"type": "t"}], (400, 40001)),
    "no type": ([{"action": 0}], (400, 40001)),
    "an empty type": ([{"action": 0, "type": ""}], (400, 40000)),
    "another action": ([{**TOTAL, "action": 2}], (400, 40000)),
    "no name": ([{"action": 0, "type": "t:multiple.v1"}], (400, 40000)),
    "nobody's": ([{"action": 0, "type": "t:flag.v1"}], (401, 40161)),
    "a count": ([{**TOTAL, "count": -1}], (400, 40000)),
    "data": ([{**TOTAL, "data": 1}], (400, 40013)),
    "a large number": ([{**TOTAL, "extras": {"a": 2**70}}], (400, 40032)),
    "ids": ([{**TOTAL, "id": "a"}, {**TOTAL, "id": "b"}], (400, 40031)),
    "of another": ([{**TOTAL, "messageSerial": "other"}], (400, 40003)),
    "a client that nobody is": ([{**TOTAL, "clientId": "*"}], (400, 40012)),
    "large": ([{**TOTAL, "data": "x" * 65_537}], (413, 40009)),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_annotations_that_cannot_be(m: RestServer, what: str) -> None:
    """None of the request is made."""
    items, expected = REFUSED[what]
    serial = await published(m)
    assert error_of(await annotate(m, serial, items)) == expected
    if isinstance(items, list) and len(items) == 1:
        assert error_of(await annotate(m, serial, [TOTAL, *items]))[0] == expected[0]
    assert await listed(m, serial) == []
    reply = await m.client.post(
        path(serial, "annotations"), content=b"{", headers={"Content-Type": JSON}
    )
    assert error_of(reply) == (400, 40001)


async def test_where_and_of_what(m: RestServer) -> None:
    serial, fixed = await published(m), await published(m, "other")
    assert error_of(await annotate(m, fixed, [TOTAL], channel="other")) == (400, 93002)
    assert error_of(await annotate(m, fixed, [TOTAL])) == (404, 40400)
    assert error_of(await annotate(m, "nonsense", [TOTAL])) == (404, 40400)
    assert error_of(await annotate(m, serial, [TOTAL], channel="[filter=x]m:a")) == (400, 40010)


@pytest.mark.parametrize(
    ("operation", "post", "read"),
    [
        ("annotation-publish", 201, 401),
        ("annotation-subscribe", 401, 200),
        ("history", 401, 200),
        ("publish", 401, 401),
        ("*", 201, 200),
    ],
)
async def test_what_a_token_permits(m: RestServer, operation: str, post: int, read: int) -> None:
    serial = await published(m)
    by = await m.connect(bearer(m.token(**{"x-ably-capability": f'{{"*":["{operation}"]}}'})))
    assert (await annotate(m, serial, [TOTAL], by=by)).status_code == post
    assert (await by.get(path(serial, "annotations"))).status_code == read


async def test_an_id_counts_once(m: RestServer) -> None:
    serial = await published(m)
    items = [{**TOTAL, "id": "mine:0"}, {**TOTAL, "id": "mine:1"}]
    first = await annotate(m, serial, items)
    again = await annotate(m, serial, items)
    assert (first.status_code, again.status_code) == (201, 201)
    assert decode(again) == decode(first)
    assert (await get(m, serial))["annotations"] == {"summary": {"t:total.v1": {"total": 2}}}


async def test_a_token_says_who_it_is(m: RestServer) -> None:
    serial = await published(m)
    by = await m.connect(bearer(m.token(**{"x-ably-clientId": "me"})))
    flag = {"action": 0, "type": "t:flag.v1"}
    assert (await annotate(m, serial, [flag], by=by)).status_code == 201
    assert error_of(await annotate(m, serial, [{**flag, "clientId": "you"}], by=by)) == (400, 40012)
    assert [one["clientId"] for one in await listed(m, serial)] == ["me"]
