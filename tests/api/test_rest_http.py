"""What a stranger would check: methods, formats, headers, CORS, names in paths, request ids."""

from typing import Any

import httpx
import pytest

from api.app import create_app
from api.settings import ServerSettings
from tests.api.rest_server import (
    JSON,
    MSGPACK,
    TYPES,
    RestServer,
    basic,
    decode,
    error_of,
    messages_path,
)

NOT_FOUND = [
    "/",
    "/nothing",
    "/channels//",
    "/channels//messages",
    "/apps",
    "/channels/a/b/messages",
]
PATHS = ["/time", "/health", "/ready", messages_path("c"), "/nothing"]


async def test_time_needs_no_credentials(server: RestServer) -> None:
    for kind in TYPES:
        reply = await httpx_get(server, "/time", {"Accept": kind})
        assert (reply.status_code, reply.headers["content-type"]) == (200, kind)
        (now,) = decode(reply)
        assert abs(now - server.broker.clock()) < 60_000


async def httpx_get(server: RestServer, path: str, headers: dict[str, str]) -> httpx.Response:
    client = await server.connect({})
    return await client.get(path, headers=headers)


async def test_health_and_readiness(server: RestServer) -> None:
    client = await server.connect({})
    for path, status in (("/health", "ok"), ("/ready", "ready")):
        assert decode(await client.get(path)) == {"status": status}
    assert (await client.get("/is-the-internet-up.txt")).text == "yes\n"


@pytest.mark.parametrize("path", PATHS)
async def test_head_is_get_without_a_body(server: RestServer, path: str) -> None:
    head, get = await server.client.head(path), await server.client.get(path)
    assert (head.status_code, head.content) == (get.status_code, b"")
    ignored = {"date", "x-request-id", "link"}
    for name in {*head.headers, *get.headers} - ignored:
        assert head.headers.get(name) == get.headers.get(name), name


@pytest.mark.parametrize("kind", TYPES)
async def test_unknown_paths(server: RestServer, kind: str) -> None:
    for path in NOT_FOUND:
        for method in ("GET", "POST", "DELETE"):
            reply = await server.client.request(method, path, headers={"Accept": kind})
            assert reply.headers["content-type"] == kind
            assert error_of(reply) == (404, 40400), path


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_comet_is_refused_but_not_for_good(server: RestServer, method: str) -> None:
    """ably-js gives a connection up on any code of 40000 to 49999 that it gets here."""
    client = await server.connect({})
    for path in ("/comet/connect?key=a.b:c&stream=true", "/comet/key!abc/send"):
        assert error_of(await client.request(method, path)) == (404, 80003)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/time", {"GET", "HEAD", "OPTIONS"}),
        (messages_path("c"), {"GET", "HEAD", "POST", "OPTIONS"}),
    ],
)
async def test_other_methods_are_told_which_are_allowed(
    server: RestServer, path: str, allowed: set[str]
) -> None:
    for method in {"POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW"} - allowed:
        reply = await server.client.request(method, path)
        assert error_of(reply) == (405, 40500), method
        assert set(reply.headers["allow"].split(", ")) == allowed
    options = await server.client.options(path)
    assert set(options.headers["allow"].split(", ")) == allowed


@pytest.mark.parametrize("path", PATHS)
async def test_cors(server: RestServer, path: str) -> None:
    """A browser asks without credentials, sends them then, and lets the page read every answer."""
    origin = {"Origin": "https://example.com:8443"}
    names = "authorization,x-ably-version,content-type,x-anything"
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": names}
    client = await server.connect({})
    preflight = await client.options(path, headers=origin | asks)
    assert (preflight.status_code, preflight.content) == (204, b"")
    assert not {"content-type", "content-length"} & set(preflight.headers)
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert preflight.headers["access-control-allow-headers"] == names
    for reply in (preflight, await client.get(path, headers=origin)):
        assert reply.headers["access-control-allow-origin"] == origin["Origin"]
        assert reply.headers["access-control-allow-credentials"] == "true"
        assert reply.headers["vary"] == "Origin"
        exposed = reply.headers["access-control-expose-headers"].lower().split(", ")
        assert {"link", "x-ably-errorcode", "x-ably-errormessage"} <= set(exposed)


@pytest.mark.parametrize("origin", [None, "", "https://a b", "x", "https://é", "a://b, c://d"])
async def test_only_an_origin_is_repeated(server: RestServer, origin: str | None) -> None:
    headers = {} if origin is None else {"Origin": origin.encode("latin-1")}
    asked = {b"Access-Control-Request-Headers": "é".encode("latin-1")}
    for reply in (
        await server.client.get("/time", headers=headers),
        await server.client.options("/time", headers={**headers, **asked}),
    ):
        assert reply.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in reply.headers
    assert reply.headers["access-control-allow-headers"] == "*, Authorization"


@pytest.mark.parametrize(
    ("accept", "parameter", "kind"),
    [
        (None, None, JSON),
        ("*/*", None, JSON),
        (JSON, None, JSON),
        (MSGPACK, None, MSGPACK),
        ("Application/X-MsgPack; q=1", None, MSGPACK),
        ("text/plain, application/x-msgpack", None, MSGPACK),
        ("text/html;q=0.1, application/x-msgpack;q=0.5, application/json;q=0", None, MSGPACK),
        ("application/x-msgpack;q=much, application/json;q=0.1", None, JSON),
        (None, "msgpack", MSGPACK),
        (None, "json", JSON),
        (None, "xml", JSON),
        (JSON, "msgpack", JSON),
        ("*/*", "msgpack", MSGPACK),
    ],
)
async def test_formats_are_negotiated(
    server: RestServer, accept: str | None, parameter: str | None, kind: str
) -> None:
    headers = {} if accept is None else {"Accept": accept}
    client = await server.connect(basic(server.key.string))
    del client.headers["accept"]
    params = {} if parameter is None else {"format": parameter}
    for method, path, status in (
        ("GET", "/time", 200),
        ("GET", messages_path("c"), 200),
        ("GET", "/nothing", 404),
        ("POST", messages_path("c"), 201),
        ("DELETE", "/time", 405),
    ):
        content = b"{}" if method == "POST" else None
        reply = await client.request(method, path, headers=headers, params=params, content=content)
        assert (reply.status_code, reply.headers["content-type"]) == (status, kind)
        decode(reply)


@pytest.mark.parametrize(
    "channel",
    [
        "plain",
        "with space",
        "a/b",
        "a//b",
        "/",
        "a+b",
        "100%",
        "%2F",
        "a%2Fb",
        "ns:one:two",
        "a?b=c&d#e",
        "\U0001f600 ünï",
        "!$'\"()*,;=@~",
        "../time",
        "a\\b",
        "a\0b",
        "x" * 2000,
    ],
)
async def test_any_channel_name_survives_the_path(server: RestServer, channel: str) -> None:
    reply = await server.publish(channel, {"data": "x"})
    assert decode(reply)["channel"] == channel
    assert len(await server.stored(channel)) == 1
    assert len((await server.broker.channel(channel).history()).messages) == 1


@pytest.mark.parametrize("segment", ["%2E", "%2e%2e"])
async def test_encoded_dots_are_a_name(server: RestServer, segment: str) -> None:
    path = f"/channels/{segment}/messages"
    name = "." * segment.lower().count("%2e")
    assert decode(await server.client.post(path, json={}))["channel"] == name


async def test_a_plus_in_a_path_is_a_plus(server: RestServer) -> None:
    assert (await server.client.post("/channels/a+b/messages", json={})).is_success
    assert len(await server.stored("a+b")) == 1
    assert await server.stored("a b") == []


@pytest.mark.parametrize(
    "segment", ["%ff", "%0a", "a%0Db", "%5Bb", "%5Bmeta%5Db", "%5B%3Frewind%3D1", ":a", "x" * 2048]
)
async def test_bad_channel_names(server: RestServer, segment: str) -> None:
    path = f"/channels/{segment}/messages"
    for reply in (await server.client.get(path), await server.client.post(path, json={})):
        assert error_of(reply) == (400, 40010)


async def test_what_the_guard_refuses_has_our_shape(server: RestServer) -> None:
    reply = await server.client.post(messages_path("c"), content=b" " * (2 << 20) + b"{}")
    assert error_of(reply) == (413, 40009)
    assert error_of(await server.client.get("/time?" + "x" * 9_000)) == (414, 41400)
    big = await server.client.get("/time", headers={"X-Big": "x" * 20_000})
    assert error_of(big) == (431, 43100)


async def test_an_unexpected_exception_is_a_500_without_details(
    server: RestServer, may_log: set[str], caplog: pytest.LogCaptureFixture
) -> None:
    may_log.add("tidelog.http")

    async def broken(*_: Any) -> None:
        raise RuntimeError("a detail of ours")

    server.broker.read_history = broken  # type: ignore[assignment]
    reply = await server.history("c")
    assert error_of(reply) == (500, 50000)
    assert b"detail" not in reply.content
    (record,) = [r for r in caplog.records if r.name == "tidelog.http"]
    assert record.exc_info
    assert "a detail of ours" in str(record.exc_info[1])


@pytest.mark.parametrize("path", [*PATHS, "/is-the-internet-up.txt"])
async def test_every_reply_has_a_request_id(server: RestServer, path: str) -> None:
    seen = set()
    for method in ("GET", "HEAD", "OPTIONS", "DELETE"):
        seen.add((await server.client.request(method, path)).headers["x-request-id"])
    assert len(seen) == 4
    echoed = await server.client.get(path, headers={"X-Request-Id": "mine-1"})
    assert echoed.headers.get_list("x-request-id") == ["mine-1"]
    by_parameter = await server.client.get(f"{path}?request_id=mine%3D2")
    assert by_parameter.headers["x-request-id"] == "mine=2"
    replaced = await server.client.get(path, headers={"X-Request-Id": "no spaces, please"})
    assert "spaces" not in replaced.headers["x-request-id"]


async def test_no_url_is_built_from_a_route(server: RestServer) -> None:
    """Or every application would pay for code that nobody runs; a newer werkzeug may do so."""
    app = create_app(server.broker, ServerSettings(port=0))
    rules = list(app.url_map.iter_rules())
    assert rules
    for rule in rules:
        with pytest.raises(NotImplementedError, match="not built from routes"):
            rule.build({})
