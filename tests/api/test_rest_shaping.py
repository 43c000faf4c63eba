"""`fields`, `flatten`, `select` and `envelope` of every resource, in every format, page by page."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from api.shaping import PATHS_MAX, flat, only, selected
from tests.api.any_format import ALL_TYPES, called, value_of
from tests.api.rest_content import PAGED, RESOURCES, fill, target
from tests.api.rest_server import (
    RestServer,
    basic,
    decode,
    error_of,
    links,
    messages_path,
    rest_server,
)
from tests.api.test_rest_formats import shown

ENVELOPES = sorted(ALL_TYPES)
SHAPES: list[dict[str, str]] = [
    {"fields": "name,clientId,status.occupancy.metrics.connections,results.channel"},
    {"flatten": "true"},
    {"select": "*,*.name,*.status.*,results.*.presence.*.clientId"},
    {"fields": "clientId,timestamp,extras", "select": "*.*", "flatten": "1"},
    {"fields": "nothing.at.all"},
    {"flatten": "false"},
]


def shaped(value: Any, shape: dict[str, str]) -> Any:
    if "fields" in shape:
        value = only(value, [tuple(path.split(".")) for path in shape["fields"].split(",")])
    if "select" in shape:
        value = selected(value, [tuple(path.split(".")) for path in shape["select"].split(",")])
    return flat(value) if shape.get("flatten") in ("true", "1") else value


def with_params(path: str, *params: dict[str, str]) -> httpx.URL:
    url = httpx.URL(path)
    for more in params:
        url = url.copy_merge_params(more)
    return url


async def client_of(server: RestServer) -> httpx.AsyncClient:
    """One that does not say what it accepts."""
    client = await server.connect(basic(server.key.string))
    del client.headers["accept"]
    return client


@pytest.mark.parametrize("path", RESOURCES.values(), ids=RESOURCES)
async def test_every_resource_in_every_shape_and_format(server: RestServer, path: str) -> None:
    if path == "/time":  # which is never the same; see below
        return
    await fill(server)
    client = await client_of(server)
    for name in ALL_TYPES:
        plain = value_of(await client.get(with_params(path, {"format": format_for(name)})))
        for shape in SHAPES:
            reply = await client.get(with_params(path, shape, {"format": name}))
            assert reply.status_code == 200
            expected = shaped(plain, shape)
            assert value_of(reply) == (shown(expected) if name == "html" else expected)


def format_for(name: str) -> str:
    """HTML does not tell {} from []: its value is made of JSON's."""
    return "json" if name == "html" else name


async def test_time_is_an_array_of_one(server: RestServer) -> None:
    for params, key in (({"flatten": "true"}, "0"), ({"select": "*"}, "0")):
        reply = decode(await server.client.get("/time", params=params))
        assert list(reply) == [key]
    assert isinstance(decode(await server.client.get("/time?fields=x"))[0], int)


@pytest.mark.parametrize("path", RESOURCES.values(), ids=RESOURCES)
@pytest.mark.parametrize("envelope", ENVELOPES)
async def test_every_resource_in_an_envelope(server: RestServer, path: str, envelope: str) -> None:
    await fill(server)
    client = await client_of(server)
    plain = await client.get(with_params(path, {"format": format_for(envelope)}))
    reply = await client.get(with_params(path, {"envelope": envelope}))
    assert (reply.status_code, reply.headers["content-type"]) == (200, ALL_TYPES[envelope])
    told = value_of(reply)
    assert told["statusCode"] == 200
    if path != "/time":
        expected = value_of(plain)
        assert told["response"] == (shown(expected) if envelope == "html" else expected)
    is_paged = path in PAGED.values()
    assert ("rel" in told) == is_paged
    if is_paged:
        assert told["rel"].keys() == {"first", "current", "next"}
        by_header = {rel: f"./{word_of(path)}?{query}" for rel, query in of_header(reply, path)}
        assert told["rel"] == by_header
        assert told["headers"] == {"link": reply.headers["link"]}


def word_of(path: str) -> str:
    return httpx.URL(path).path.rpartition("/")[2]


def of_header(reply: httpx.Response, path: str) -> list[tuple[str, str]]:
    return list(links(reply, word_of(path)).items())


@pytest.mark.parametrize("name", ENVELOPES)
async def test_the_format_of_an_envelope(server: RestServer, name: str) -> None:
    """Its own, where neither Accept nor `format` names one."""
    client = await client_of(server)
    for params, accept, kind in (
        ({"envelope": name}, None, ALL_TYPES[name]),
        ({"envelope": "json", "format": name}, None, ALL_TYPES[name]),
        ({"envelope": "json"}, ALL_TYPES[name], ALL_TYPES[name]),
        ({"envelope": name}, "*/*", ALL_TYPES[name]),
    ):
        headers = {} if accept is None else {"Accept": accept}
        reply = await client.get("/health", params=params, headers=headers)
        assert reply.headers["content-type"] == kind
        told = value_of(reply)
        assert (told["statusCode"], told["response"]) == (200, {"status": "ok"})


@pytest.mark.parametrize("envelope", ENVELOPES)
async def test_errors_in_an_envelope(server: RestServer, envelope: str) -> None:
    nobody = await server.connect({})
    del nobody.headers["accept"]
    for method, path, status, code in (
        ("GET", "/nothing", 404, 40400),
        ("GET", messages_path("c"), 401, 40101),
        ("POST", messages_path("c"), 401, 40101),
        ("DELETE", "/time", 405, 40500),
        ("GET", "/channels/%5Bx", 400, 40010),
    ):
        reply = await nobody.request(method, path, params={"envelope": envelope})
        assert (reply.status_code, reply.headers["content-type"]) == (200, ALL_TYPES[envelope])
        told = value_of(reply)
        error = told["response"]["error"]
        assert (told["statusCode"], error["statusCode"], error["code"]) == (status, status, code)
        headers = told["headers"]
        assert headers["x-ably-errorcode"] == str(code)
        assert headers["x-ably-errormessage"] == error["message"]
        assert ("www-authenticate" in headers) == (status == 401)
        assert ("allow" in headers) == (status == 405)
        assert all(reply.headers[name] == text for name, text in headers.items())


async def test_created_in_an_envelope(server: RestServer) -> None:
    reply = await server.client.post(
        messages_path("c"), json={"data": "x"}, params={"envelope": "json"}
    )
    told = decode(reply)
    assert (reply.status_code, told["statusCode"]) == (200, 201)
    assert told["response"]["serials"] == [(await server.stored("c"))[0]["serial"]]
    assert "rel" not in told


async def test_nothing_in_an_envelope(tmp_path: Path) -> None:
    async with rest_server(tmp_path / "data", sandbox=True) as sandbox:
        path = f"/apps/{sandbox.app}"
        reply = await sandbox.client.delete(path, params={"envelope": "json"})
        assert (reply.status_code, decode(reply)) == (200, {"statusCode": 204})
        assert not sandbox.broker.apps.app_exists(sandbox.app)


async def test_an_envelope_calls_the_function(server: RestServer) -> None:
    client = await client_of(server)
    reply = await client.get("/nothing?envelope=jsonp&callback=on.reply")
    assert reply.status_code == 200
    assert called(reply.content)[0] == "on.reply"


async def test_what_is_no_envelope(server: RestServer) -> None:
    for bad in ("true", "xml", "JSON", "1"):
        assert error_of(await server.client.get("/time", params={"envelope": bad})) == (400, 40003)
    assert decode(await server.client.get("/health?envelope=")) == {"status": "ok"}


@pytest.mark.parametrize("name", ENVELOPES)
@pytest.mark.parametrize("path", PAGED.values(), ids=PAGED)
async def test_pages_keep_their_shape_to_the_end(server: RestServer, path: str, name: str) -> None:
    """Links repeat how the first page was asked for, and no parameter twice."""
    await fill(server)
    client = await client_of(server)
    asked = {
        "format": name,
        "envelope": "json",
        "callback": "back",
        "flatten": "true",
        "fields": "clientId,name,id,status.isActive",
    }
    shapes, plain = [], []
    url: str | None = str(with_params(path, asked))
    plain_url: str | None = path
    while url is not None:
        assert plain_url is not None
        reply, bare = await client.get(url), await client.get(plain_url)
        shapes.append(value_of(reply))
        plain.append(decode(bare))
        assert reply.headers["content-type"] == ALL_TYPES[name]
        rel = value_of(reply)["rel"]
        for link in rel.values():
            params = httpx.URL(link).params
            assert {key: params[key] for key in asked} == asked
            assert len(params.multi_items()) == len(params)
        next_link = dict(of_header(bare, path)).get("next")
        url = target(reply, rel["next"]) if "next" in rel else None
        plain_url = f"{httpx.URL(path).path}?{next_link}" if next_link else None
        again = await client.get(target(reply, rel["current"]))
        assert value_of(again)["response"] == value_of(reply)["response"]
    assert plain_url is None
    assert len(shapes) > 1
    for told, value in zip(shapes, plain, strict=True):
        expected = shaped(value, {"fields": asked["fields"], "flatten": "true"})
        assert told["response"] == (shown(expected) if name == "html" else expected)


async def test_the_version_is_repeated(server: RestServer) -> None:
    await fill(server)
    reply = await server.client.get("/channels?limit=1&v=2")
    for query in links(reply, "channels").values():
        assert httpx.QueryParams(query)["v"] == "2"
        assert httpx.QueryParams(query)["by"] == "value"


async def test_what_changes_something_is_answered_as_it_is(server: RestServer) -> None:
    params = {"fields": "channel", "flatten": "true", "select": "*"}
    reply = await server.client.post(messages_path("c"), json={}, params=params)
    assert reply.status_code == 201
    assert decode(reply).keys() == {"channel", "messageId", "serials"}
    batch = {"channels": "c", "messages": {}}
    reply = await server.client.post("/messages", json=batch, params=params)
    assert isinstance(decode(reply), list)


async def test_errors_are_not_shaped(server: RestServer) -> None:
    params = {"fields": "channel", "flatten": "true", "select": "*.channel"}
    assert error_of(await server.client.get("/nothing", params=params)) == (404, 40400)
    reply = await server.client.get("/presence", params={**params, "channels": "c,[x"})
    assert reply.status_code == 400
    body = decode(reply)
    assert body["error"]["code"] == 40020
    assert [item["channel"] for item in body["batchResponse"]] == ["c", "[x"]


BAD_SHAPES = [
    {"fields": ",".join("a" * (PATHS_MAX + 1))},
    {"select": ",".join("a" * (PATHS_MAX + 1))},
    {"fields": "a,,b"},
    {"select": "a..b"},
    {"flatten": "perhaps"},
    {"envelope": "xml"},
    {"callback": "alert(1)"},
]


@pytest.mark.parametrize("params", BAD_SHAPES, ids=str)
async def test_refused_before_anything_happens(server: RestServer, params: dict[str, str]) -> None:
    key = await server.broker.apps.create_key(server.app, revocable_tokens=True)
    client = await server.connect(basic(key.string))
    before = server.broker.log.position
    spec = {"channels": "c", "messages": {}}
    for method, path, body in (
        ("POST", messages_path("c"), {"data": "x"}),
        ("POST", "/messages", spec),
        ("POST", f"/keys/{key.name}/requestToken", {}),
        ("POST", f"/keys/{key.name}/revokeTokens", {"targets": ["clientId:x"]}),
        ("GET", "/time", None),
        ("GET", messages_path("c"), None),
        ("GET", "/nothing", None),
    ):
        reply = await client.request(method, path, params=params, json=body)
        assert error_of(reply) == (400, 40003), path
        (name,) = params
        assert decode(reply)["error"]["message"].startswith(f"{name}: ")
    assert server.broker.log.position == before


async def test_fields_of_names_with_dots(server: RestServer) -> None:
    await server.publish("c", {"extras": {"headers": {"a.b": 1, "a.c": 2, "d": 3}}})
    read = messages_path("c")
    reply = await server.client.get(read, params={"fields": "extras.headers.a"})
    assert decode(reply) == [{"extras": {"headers": {"a.b": 1, "a.c": 2}}}]
    reply = await server.client.get(read, params={"select": "*.extras.headers.a.*"})
    assert decode(reply) == {"0.extras.headers.a.b": 1, "0.extras.headers.a.c": 2}
