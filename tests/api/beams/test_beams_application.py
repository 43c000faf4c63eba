"""What holds for every path of Beams: its shape of errors, statuses, CORS, counting."""

from pathlib import Path

import pytest

from broker.stats.query import StatsQuery
from tests.api.beams.beams_server import (
    BAD_INSTANCE_ID,
    ID,
    INSTANCE_NOT_FOUND,
    NO_INSTANCE_ID,
    OTHER,
    BeamsServer,
    refused,
)
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


async def test_the_whole_url_may_be_asked_for(beams: BeamsServer) -> None:
    """As proxies ask (RFC 9112 3.2.2)."""
    target = b"http://proxied.example" + KEY.format(ID).encode()
    reply = await beams.client.get("/", extensions={"target": target})
    assert reply.status_code == 200
    assert "vapidPublicKey" in reply.json()


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


async def test_requests_are_counted_for_the_app(beams: BeamsServer) -> None:
    await beams.register("fcm")
    await beams.ask("GET", "fcm", f"fcm-{OTHER}")
    page = await beams.broker.stats(beams.app, StatsQuery(limit=1))
    entries = page.intervals[0].entries
    assert entries["apiRequests.push.succeeded"] == entries["apiRequests.push.failed"] == 1
