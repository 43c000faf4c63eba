"""What holds for every path of Beams: its shape of errors, statuses, CORS, counting."""

import json
from pathlib import Path

import pytest

from broker import BrokerSettings
from broker.stats.query import StatsQuery
from storage import LogSettings
from tests.api.beams.beams_server import (
    BAD_INSTANCE_ID,
    BAD_TYPE,
    BROKEN,
    ID,
    INSTANCE_NOT_FOUND,
    NO_INSTANCE_ID,
    NOT_JSON,
    OTHER,
    BeamsServer,
    beams_server,
    every_platform,
    refused,
    registration,
)
from tests.api.push.rig import Keys
from tests.api.rest_server import error_of, rest_server

KEY = "/device_api/v1/instances/{}/web-vapid-public-key"
PREFIXES = ("device_api/v1", "publish_api/v1", "customer_api/v1", "user_api/v1", "reporting_api/v2")


async def test_the_key_that_browsers_subscribe_to(beams: BeamsServer) -> None:
    ably = await beams.server.connect()
    for id_ in (ID, ID.upper()):
        reply = await beams.client.get(KEY.format(id_))
        assert reply.status_code == 200
        served = await ably.get("/push/publicVapidKey")
        assert reply.json() == {"vapidPublicKey": served.text}


@pytest.mark.parametrize(
    ("id_", "expected"),
    [
        ("", NO_INSTANCE_ID),
        ("x", BAD_INSTANCE_ID),
        (ID + "%0A", BAD_INSTANCE_ID),
        ("%FF", BAD_INSTANCE_ID),
        (OTHER, INSTANCE_NOT_FOUND),
    ],
)
async def test_instances_that_a_path_may_not_name(
    beams: BeamsServer, id_: str, expected: tuple[int, str, str]
) -> None:
    assert refused(await beams.client.get(KEY.format(id_))) == expected


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_unknown_paths_get_the_shape_of_beams(beams: BeamsServer, prefix: str) -> None:
    for path in (f"/{prefix}", f"/{prefix}/", f"/{prefix}/nothing", f"/{prefix}/instances/{ID}"):
        assert refused(await beams.client.get(path))[:2] == (404, "Not found"), path
    for path in (f"/{prefix}/instances", f"/{prefix}/instances/"):
        assert refused(await beams.client.get(path))[1] == "Incomplete Request", path
    beside = await beams.client.get(f"/{prefix}x")
    assert error_of(beside) == (404, 40400)


async def test_a_wrong_method_says_which_are_right(beams: BeamsServer) -> None:
    reply = await beams.client.post(KEY.format(ID))
    assert refused(reply)[:2] == (405, "Method not allowed")
    assert reply.headers["allow"] == "GET, HEAD, OPTIONS"


async def test_pages_of_any_origin_may_call_it(beams: BeamsServer) -> None:
    asked = {
        "Origin": "https://shop.example",
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    preflight = await beams.client.options(KEY.format(ID), headers=asked)
    assert preflight.status_code == 204
    assert "DELETE" in preflight.headers["access-control-allow-methods"]
    assert preflight.headers["access-control-allow-headers"] == "authorization,content-type"
    for id_ in (ID, OTHER):
        reply = await beams.client.get(KEY.format(id_), headers={"Origin": "https://shop.example"})
        assert reply.headers["access-control-allow-origin"] == "https://shop.example"


async def test_credentials_are_taken_over_tls_only_where_that_is_set(tmp_path: Path) -> None:
    async with rest_server(tmp_path / "data", require_tls=True) as running:
        anybody = await running.connect({"Authorization": "Bearer x"})
        assert refused(await anybody.get(KEY.format(ID))) == (
            401,
            "Unauthorized",
            "credentials are taken over TLS only",
        )


ROUTES = (
    ("POST", "apns", registration("apns")),
    ("POST", "fcm", registration("fcm")),
    ("POST", "web", registration("web")),
    ("GET", "fcm/{}", None),
    ("PUT", "fcm/{}/metadata", {}),
    ("PUT", "fcm/{}/token", {"token": "t"}),
    ("PUT", "fcm/{}/user", None),
    ("GET", "fcm/{}/interests", None),
    ("PUT", "fcm/{}/interests", {"interests": ["a"]}),
    ("POST", "fcm/{}/interests/a", None),
    ("DELETE", "fcm/{}/interests/a", None),
    ("DELETE", "fcm/{}", None),
)
WRITING = [route for route in ROUTES if route[0] != "GET"]


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
async def test_every_route_looks_at_its_instance(
    beams: BeamsServer, method: str, path: str, body: object
) -> None:
    id_ = await beams.register("fcm")
    headers = {"Authorization": f"Bearer {beams.token()}"}
    for instance, expected in (
        ("", NO_INSTANCE_ID),
        ("x", BAD_INSTANCE_ID),
        (OTHER, INSTANCE_NOT_FOUND),
    ):
        parts = path.format(id_)
        reply = await beams.ask(method, parts, instance=instance, json=body, headers=headers)
        if method == "DELETE" and path == "fcm/{}" and instance == OTHER:
            assert (reply.status_code, reply.content) == (200, b"")  # told 404, SDKs try for ever
        else:
            assert refused(reply) == expected
    assert (await beams.described(id_))["id"] == id_


TYPED = [route for route in ROUTES if route[0] in ("POST", "PUT") and "interests" not in route[1]]


@pytest.mark.parametrize(("method", "path", "body"), TYPED)
async def test_only_json_is_taken(beams: BeamsServer, method: str, path: str, body: object) -> None:
    id_ = await beams.register("fcm")
    content = json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {beams.token()}"}
    for kind in ("text/plain", "", "application/x-msgpack", "application/jsonx"):
        headers["Content-Type"] = kind
        reply = await beams.ask(method, path.format(id_), content=content, headers=headers)
        assert refused(reply) == BAD_TYPE, kind
    headers["Content-Type"] = "Application/JSON; charset=utf-8"
    reply = await beams.ask(method, path.format(id_), content=content, headers=headers)
    assert reply.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body"), [route for route in ROUTES if route[2] is not None]
)
async def test_a_body_is_a_json_object(
    beams: BeamsServer, method: str, path: str, body: object
) -> None:
    id_ = await beams.register("fcm")
    headers = {"Content-Type": "application/json"}
    for content in (b"", b"{", b"[]", b'"x"', b"null", b"\xff", b"{" * 100, b'{"\\ud800": 1}'):
        reply = await beams.ask(method, path.format(id_), content=content, headers=headers)
        assert refused(reply) == NOT_JSON, content


async def test_where_nothing_is_said_of_the_type_of_a_body_any_is_fine(beams: BeamsServer) -> None:
    id_ = await beams.register("fcm")
    reply = await beams.ask("PUT", "fcm", id_, "interests", content=b'{"interests":["a"]}')
    assert reply.status_code == 200
    for method in ("GET", "DELETE"):
        reply = await beams.ask(method, "fcm", id_, headers={"Content-Type": "text/plain"})
        assert reply.status_code == 200


async def test_a_log_that_takes_nothing_is_our_fault_and_changes_nothing(
    tmp_path: Path, keys: Keys, may_log: set[str]
) -> None:
    may_log.add("tidelog.http")
    settings = every_platform(tmp_path, keys)
    async with beams_server(tmp_path, settings) as beams:
        id_ = await beams.register("fcm", 7)
        await beams.ask("POST", "fcm", id_, "interests", "b")
        before = await beams.whole()
    full = BrokerSettings(log=LogSettings(max_bytes=1))
    async with beams_server(tmp_path, settings, settings=full) as beams:
        headers = {"Authorization": f"Bearer {beams.token()}"}
        for method, path, body in WRITING:
            parts = path.format(id_)
            if method == "DELETE" and "interests" in path:
                parts = parts[:-1] + "b"
            reply = await beams.ask(method, parts, json=body, headers=headers)
            assert refused(reply) == BROKEN, (method, path)
        assert await beams.whole() == before


async def test_a_bug_is_not_told(
    beams: BeamsServer, may_log: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    may_log.add("tidelog.http")

    def broken(*_: object) -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr(beams.broker.push, "device", broken)
    assert refused(await beams.ask("GET", "fcm", f"fcm-{OTHER}")) == BROKEN


async def test_requests_are_counted_for_the_app(beams: BeamsServer) -> None:
    await beams.register("fcm")
    await beams.ask("GET", "fcm", f"fcm-{OTHER}")
    page = await beams.broker.stats(beams.app, StatsQuery(limit=1))
    entries = page.intervals[0].entries
    assert entries["apiRequests.push.succeeded"] == entries["apiRequests.push.failed"] == 1
