"""Every reply in every format: JSON, MessagePack, JSONP, HTML; who asks for it and how."""

from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.api.any_format import ALL_TYPES, HTML, JSONP, called, check_headers, value_of
from tests.api.pages import EMPTY, page
from tests.api.rest_content import BINARY, PAGED, RESOURCES, fill, target
from tests.api.rest_server import (
    JSON,
    MSGPACK,
    RestServer,
    basic,
    decode,
    encode,
    error_of,
    messages_path,
)

FORMATS = sorted(ALL_TYPES)


def shown(value: Any) -> Any:
    """What HTML shows of a value."""
    if isinstance(value, dict | list) and not value:
        return EMPTY
    if isinstance(value, dict):
        return {name: shown(inner) for name, inner in value.items()}
    return [shown(item) for item in value] if isinstance(value, list) else value


async def plain_client(server: RestServer, auth: dict[str, str] | None = None) -> httpx.AsyncClient:
    """One that does not say what it accepts."""
    client = await server.connect(basic(server.key.string) if auth is None else auth)
    del client.headers["accept"]
    return client


@pytest.mark.parametrize("path", RESOURCES.values(), ids=RESOURCES)
async def test_every_resource_says_the_same_in_every_format(server: RestServer, path: str) -> None:
    await fill(server)
    client = await plain_client(server)
    said = {}
    for name, kind in ALL_TYPES.items():
        by_accept = await client.get(path, headers={"Accept": kind})
        joined = f"{path}{'&' if '?' in path else '?'}format={name}"
        by_parameter = await client.get(joined)
        for reply in (by_accept, by_parameter):
            assert (reply.status_code, reply.headers["content-type"]) == (200, kind)
            check_headers(reply)
        if not path.startswith("/time"):
            assert value_of(by_accept) == value_of(by_parameter)
            said[name] = value_of(by_accept)
    if said:
        assert said["jsonp"] == said["json"]
        assert said["html"] == shown(said["json"])
        assert as_json(said["msgpack"]) == as_json(said["json"])


def as_json(value: Any) -> Any:
    """Apart from what formats do to binary data."""
    if isinstance(value, list):
        return [as_json(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {name: as_json(inner) for name, inner in value.items() if name != "encoding"}
    if isinstance(value.get("data"), bytes) or str(value.get("encoding")).endswith("base64"):
        del kept["data"]
    return kept


@pytest.mark.parametrize(
    ("accept", "parameter", "kind"),
    [
        (None, "jsonp", JSONP),
        (None, "html", HTML),
        (None, "HTML", JSON),
        (JSONP, "msgpack", JSONP),
        (HTML, "json", HTML),
        ("text/javascript", None, JSONP),
        ("application/msgpack", None, MSGPACK),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "json", HTML),
        ("application/xhtml+xml", None, HTML),
        ("text/html;level=1;q=0.4, application/json;q=0.7", None, JSON),
        ("text/html;q=0.7, application/json;q=0.7", None, HTML),
        ("text/html;q=0, application/javascript;q=0.001", None, JSONP),
        ("text/html;Q=0.1 , application/x-msgpack ; q=0.2", None, MSGPACK),
        ("text/html;q=nan, application/json;q=0.1, application/x-msgpack", None, MSGPACK),
        ("application/json;q=0.1, text/html;q=nan, application/x-msgpack;q=1", None, MSGPACK),
        ("text/html;q=inf, application/json;q=0.1", None, JSON),
        ("text/html;q=-1", None, JSON),
        ("text/html;q=", None, JSON),
        ("text/html;q=1e0, application/json;q=0.1", None, JSON),
        ("text/html;q=5", None, HTML),
        (", ,;", None, JSON),
        ("", "html", HTML),
        ("text/plain", "jsonp", JSONP),
    ],
)
async def test_negotiation(
    server: RestServer, accept: str | None, parameter: str | None, kind: str
) -> None:
    client = await plain_client(server)
    headers = {} if accept is None else {"Accept": accept}
    params = {} if parameter is None else {"format": parameter}
    for method, path, status in (
        ("GET", "/time", 200),
        ("GET", "/nothing", 404),
        ("DELETE", "/time", 405),
        ("GET", "/channels/c?callback=1", 400),
        ("POST", messages_path("c"), 201),
    ):
        content = b"{}" if method == "POST" else None
        reply = await client.request(
            method, httpx.URL(path).copy_merge_params(params), headers=headers, content=content
        )
        wanted = JSON if status == 400 and accept in (None, "", "text/plain") else kind
        assert (reply.status_code, reply.headers["content-type"]) == (status, wanted)
        check_headers(reply)


@pytest.mark.parametrize("name", FORMATS)
async def test_errors_in_every_format(server: RestServer, name: str) -> None:
    nobody = await plain_client(server, {})
    kind = ALL_TYPES[name]
    for path, status, code in (
        ("/nothing", 404, 40400),
        (messages_path("c"), 401, 40101),
        ("/channels/%5Bx", 400, 40010),
        ("/comet/x", 404, 80003),
    ):
        for reply in (
            await nobody.get(path, headers={"Accept": kind}),
            await nobody.get(path, params={"format": name}),
        ):
            assert (reply.status_code, reply.headers["content-type"]) == (status, kind)
            error = value_of(reply)["error"]
            assert (error["code"], error["statusCode"]) == (code, status)
            assert reply.headers["x-ably-errorcode"] == str(code)
            check_headers(reply)


@pytest.mark.parametrize("name", FORMATS)
async def test_head(server: RestServer, name: str) -> None:
    await fill(server)
    for path in (*PAGED.values(), "/nothing"):
        params = {"format": name}
        url = httpx.URL(path).copy_merge_params(params)
        client = await plain_client(server)
        head, read = await client.head(url), await client.get(url)
        assert (head.status_code, head.content) == (read.status_code, b"")
        assert head.headers["content-type"] == ALL_TYPES[name]
        if "history" not in path and "messages" not in path:  # whose links name the moment
            assert head.headers["content-length"] == read.headers["content-length"]


async def test_the_function_that_is_called(server: RestServer) -> None:
    client = await plain_client(server)
    for params, function in (
        ({}, "callback"),
        ({"callback": ""}, "callback"),
        ({"callback": "a.b.$c1"}, "a.b.$c1"),
    ):
        reply = await client.get("/health", params={"format": "jsonp", **params})
        assert called(reply.content) == (function, b'{"status":"ok"}')
    for bad in ("a b", "1", "alert(1)//", "a\n", "<", "é", "x" * 129):
        for method in ("GET", "POST", "DELETE", "HEAD"):
            reply = await client.request(method, "/health", params={"callback": bad})
            assert reply.status_code == 400
        reply = await client.get("/health", params={"format": "jsonp", "callback": bad})
        assert error_of(reply) == (400, 40003)


async def test_line_ends_in_a_script(server: RestServer) -> None:
    await server.publish("c", {"data": "\u2028\u2029"})
    client = await plain_client(server)
    reply = await client.get("/channels/c/messages?format=jsonp")
    assert b"\\u2028\\u2029" in reply.content
    assert "\u2028" not in reply.text
    assert value_of(reply)[0]["data"] == "\u2028\u2029"


@pytest.mark.parametrize("by_url", [False, True])
@pytest.mark.parametrize("path", RESOURCES.values(), ids=RESOURCES)
async def test_links_of_pages_lead_on(server: RestServer, path: str, by_url: bool) -> None:
    """Every link, from page to page; who came with a key in the URL goes on with it. No header has
    the key."""
    await fill(server)
    secret = server.key.secret
    credentials = {"key": server.key.string} if by_url else {}
    client = await plain_client(server, {} if by_url else None)
    client.headers["Accept"] = HTML
    start = httpx.URL(path).copy_merge_params(credentials)
    waiting, seen = [str(start)], set[str]()
    while waiting and len(seen) < 30:
        reply = await client.get(waiting.pop())
        assert (reply.status_code, reply.headers["content-type"]) == (200, HTML)
        assert secret not in str(reply.headers)
        assert quote(secret, safe="") not in str(reply.headers)
        read = page(reply.text)
        if by_url:
            assert all("key=" in href for href in read.hrefs)
        else:
            assert secret not in reply.text
        followed = {target(reply, href) for href in read.hrefs} - seen
        seen |= followed
        waiting += sorted(followed)
    if path in PAGED.values():
        assert len(seen) > 1


async def test_a_token_in_the_url_goes_on_too(server: RestServer) -> None:
    await fill(server)
    client = await plain_client(server, {})
    for name in ("access_token", "accessToken"):
        url = f"/channels/c/messages?format=html&limit=2&{name}={server.token()}"
        read = page((await client.get(url)).text)
        following = await client.get(f"/channels/c/{read.links['next'][2:]}")
        assert following.status_code == 200
        assert len(page(following.text).value) == 2


async def test_what_was_published_is_no_link_elsewhere(server: RestServer) -> None:
    hostile = {"href": "/\t/evil.example", "b": {"href": "//evil.example"}}
    await server.publish("c", {"extras": {"ref": hostile}})
    reply = await server.client.get(
        "/channels/c/messages", headers={"Accept": HTML}, params={"key": server.key.string}
    )
    read = page(reply.text)
    assert read.value[0]["extras"]["ref"] == hostile
    assert len(read.hrefs) == len(read.links)


@pytest.mark.parametrize("way", ["messages", "presence", "presence/history", "batch"])
async def test_binary_data(server: RestServer, way: str) -> None:
    """As it is in MessagePack, base64 elsewhere."""
    await fill(server)
    path = "/presence?channels=c&v=3" if way == "batch" else f"/channels/c/{way}"

    async def data(name: str) -> set[Any]:
        client = await plain_client(server)
        reply = await client.get(httpx.URL(path).copy_merge_params({"format": name}))
        value = value_of(reply)
        items = value["results"][0]["presence"] if way == "batch" else value
        return {(item.get("data"), item.get("encoding")) for item in items}

    is_message = way == "messages"
    as_is = (BINARY, "cipher+aes" if is_message else None)
    as_text = ("AP/+", "cipher+aes/base64" if is_message else "base64")
    assert as_is in await data("msgpack")
    for name in ("json", "jsonp", "html"):
        assert as_text in await data(name)


async def test_binary_batches(server: RestServer) -> None:
    spec = {"channels": ["c", "d"], "messages": [{"data": BINARY}, {"data": "text"}]}
    reply = await server.client.post(
        "/messages",
        content=encode(spec, MSGPACK),
        headers={"Content-Type": MSGPACK, "Accept": MSGPACK},
    )
    assert reply.status_code == 201
    assert [item["channel"] for item in decode(reply)] == ["c", "d"]
    for channel in "cd":
        found = await server.stored(channel, MSGPACK)
        assert [message["data"] for message in found] == ["text", BINARY]
