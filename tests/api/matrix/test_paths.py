"""Where the API is: each alias of each operation, below which base, on which hosts; and what of
Ably's own stays where it was. Browsers may read it all."""

import ssl
from pathlib import Path

import pytest

from api import tls
from tests.api.matrix.asking import (
    ALIASES,
    AVAILABLE,
    BASE,
    EVERY_ALIAS,
    LIST,
    OF_ALIAS,
    PUSHKEY,
    READ,
    SET,
    VERSIONS,
    WRITE,
    Asking,
    asking,
    refusal,
)
from tests.api.matrix.bodies import AT_FIRST, CHANNELS, channels, pusher
from tests.api.rest_server import RestServer, error_of, rest_server

UNAMBIGUOUS = [
    alias
    for alias in EVERY_ALIAS
    if alias.split(" ")[1].startswith(("/_matrix/client", "/pushers", "/push/v1/"))
]
AMBIGUOUS = [alias for alias in EVERY_ALIAS if alias not in UNAMBIGUOUS]
COUNTED = ("apiRequests.push.succeeded", "apiRequests.push.failed")
ORIGIN = {"Origin": "https://app.example.com"}


async def does_what_it_should(ann: Asking, alias: str) -> None:
    """The operation of an alias, on a pusher that is there."""
    route = OF_ALIAS.get(alias, VERSIONS)
    ways = {
        VERSIONS: (None, {"versions": ["v1.11"]}),
        LIST: (None, {"pushers": [pusher()]}),
        SET: (pusher(), {}),
        AVAILABLE: (None, channels(**CHANNELS)),
        READ: (None, channels(**AT_FIRST)),
        WRITE: (channels(task="not_set"), {}),
    }
    body, answer = ways[route]
    assert await ann.fine(alias, body) == answer


async def test_every_alias_is_below_the_base(ann: Asking) -> None:
    await ann.fine(SET, pusher())
    for alias in EVERY_ALIAS:
        await does_what_it_should(Asking(ann.client, ann.token, BASE, {}), alias)


async def test_every_alias_is_on_a_host_of_its_own(ann: Asking) -> None:
    await ann.fine(SET, pusher())
    for alias in EVERY_ALIAS:
        await does_what_it_should(ann, alias)


async def test_what_is_nobody_else_s_is_on_every_host(ann: Asking) -> None:
    await ann.fine(SET, pusher())
    for alias in UNAMBIGUOUS:
        await does_what_it_should(Asking(ann.client, ann.token, headers={}), alias)


async def test_what_is_ably_s_is_so_elsewhere(server: RestServer) -> None:
    for alias in AMBIGUOUS:
        method, path = alias.split(" ")
        reply = await server.client.request(method, path.replace("{pushkey}", "x"))
        assert "errcode" not in reply.text
        assert reply.status_code in (200, 404, 405)
        if reply.status_code != 200:
            error_of(reply)


@pytest.mark.parametrize(
    "path",
    ["/push/channels", "/push/channelSubscriptions", "/push/deviceRegistrations", "/channels"],
)
async def test_ably_s_own_lists_are_where_they_were(server: RestServer, path: str) -> None:
    reply = await server.client.get(path)
    assert (reply.status_code, reply.json()) == (200, [])


@pytest.mark.parametrize("host", ["push.example.org", "PUSH.example.org", "push.example.org:8443"])
async def test_hosts_by_any_spelling(ann: Asking, host: str) -> None:
    there = Asking(ann.client, ann.token, "", {"Host": host})
    assert await there.fine("GET /channels") == channels(**CHANNELS)
    assert refusal(await there("GET /time")) == (404, "M_UNRECOGNIZED")


async def test_a_host_over_http2(tmp_path: Path) -> None:
    certificate = tls.dev_certificate(tmp_path / "tls")
    context = tls.server_context(certificate.cert_file, certificate.key_file)
    verify = ssl.create_default_context(cafile=str(certificate.ca_file))
    serving = rest_server(
        tmp_path / "data", ssl_context=context, verify=verify, matrix_hosts=("localhost",)
    )
    async with serving as server:
        ann = asking(server, "ann", await server.connect({}, http2=True))
        ann.headers.clear()
        reply = await ann("GET /channels")
        assert reply.http_version == "HTTP/2"
        assert reply.json() == {"channels": []}


@pytest.mark.parametrize("host", ["example.org", "push.example.org.evil.example", "x:1:2"])
async def test_other_hosts_are_ably_s(server: RestServer, host: str) -> None:
    reply = await server.client.get("/time", headers={"Host": host})
    assert reply.status_code == 200


PUSHKEYS = ("a/b", "/a", "a/", "//", "a+b", "a=b==", "a b", "a%2Fb", "é", "😀", "v1/x", "set", "?#")


async def test_any_pushkey_in_a_path(ann: Asking) -> None:
    for number, pushkey in enumerate(PUSHKEYS):
        await ann.fine(SET, pusher(pushkey))
        for route in ALIASES[READ]:
            assert (await ann.statuses_at(route, pushkey)) == AT_FIRST
        assert len(await ann.pushers()) == number + 1


@pytest.mark.parametrize(
    ("pushkey", "raw"),
    [
        ("a/b", "a/b"),
        ("a+b=", "a+b="),
        ("device pushkey", "device%20pushkey"),
        ("a/", "a/"),
        ("/a", "/a"),
        ("é", "%c3%a9"),
        ("a:@b", "a:@b"),
    ],
)
async def test_a_pushkey_that_is_hardly_encoded(ann: Asking, pushkey: str, raw: str) -> None:
    """Slashes may be as they are: what is behind the path is the pushkey."""
    await ann.fine(SET, pusher(pushkey))
    for route, status in zip(ALIASES[WRITE], ("enabled", "disabled", "enabled"), strict=True):
        await ann.fine(route.replace("{pushkey}", raw), channels(task=status))
        assert (await ann.statuses(pushkey))["task"] == status


async def test_the_list_of_channels_is_no_pusher_s(ann: Asking) -> None:
    await ann.fine(SET, pusher("v1"))
    assert await ann.fine("GET /channels/v1") == channels(**CHANNELS)
    assert refusal(await ann("POST /channels/v1", channels())) == (405, "M_UNRECOGNIZED")
    assert await ann.statuses_at("GET /channels/v1/{pushkey}", "v1") == AT_FIRST


async def test_head_and_slashes_at_the_end(ann: Asking) -> None:
    assert (await ann(LIST.replace("GET", "HEAD"))).status_code == 200
    assert await ann.fine(f"{LIST}/") == {"pushers": []}
    assert await ann.fine(f"{AVAILABLE}/") == channels(**CHANNELS)


async def test_a_browser_may_ask(ann: Asking) -> None:
    for alias in EVERY_ALIAS:
        method, path = alias.split(" ")
        asked = {
            **ORIGIN,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": "authorization,content-type",
        }
        reply = await Asking(ann.client)(f"OPTIONS {path}", headers=asked)
        assert reply.status_code == 204
        assert reply.headers["access-control-allow-origin"] == ORIGIN["Origin"]
        assert method in reply.headers["access-control-allow-methods"]
        assert reply.headers["access-control-allow-headers"] == "authorization,content-type"


async def test_a_browser_may_read_what_is_answered(ann: Asking) -> None:
    for reply in (
        await ann(LIST, headers=ORIGIN),
        await Asking(ann.client)(SET, headers=ORIGIN),
        await ann("GET /nothing", headers=ORIGIN),
    ):
        assert reply.headers["access-control-allow-origin"] == ORIGIN["Origin"]
        exposed = reply.headers["access-control-expose-headers"].split(", ")
        assert {"Retry-After", "X-Request-Id"} <= set(exposed)


async def test_requests_are_counted_as_push(ann: Asking, server: RestServer) -> None:
    await ann.fine(SET, pusher())
    await ann(READ, pushkey=PUSHKEY[1:])
    stats = (await server.client.get("/stats")).json()
    counted = {name: stats[0]["entries"].get(name) for name in COUNTED}
    assert counted == dict.fromkeys(COUNTED, 1)
