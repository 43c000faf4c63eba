"""What holds for every route of the Device API: its instance, its body's type, faults of ours."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from broker import BrokerSettings
from storage import LogSettings
from tests.api.beams.beams_server import (
    BAD_INSTANCE_ID,
    BAD_TYPE,
    BROKEN,
    ID,
    INSTANCE_NOT_FOUND,
    NO_DEVICE_ID,
    NO_INSTANCE_ID,
    NOBODY,
    NOT_JSON,
    OTHER,
    PLATFORMS,
    BeamsServer,
    beams_server,
    every_platform,
    is_done,
    refused,
    registration,
)
from tests.api.push.rig import Keys


class Route(NamedTuple):
    """`below`: a device, or None of a route that names none. `body`: what will do; "registration"
    is that of the platform."""

    method: str
    below: str | None
    body: Any = None
    platforms: tuple[str, ...] = PLATFORMS

    def body_for(self, platform: str) -> Any:
        return registration(platform) if self.body == "registration" else self.body


ROUTES = (
    Route("POST", None, "registration"),
    Route("GET", ""),
    Route("PUT", "/metadata", {}),
    Route("PUT", "/token", {"token": "t"}, ("fcm",)),
    Route("PUT", "/user"),
    Route("GET", "/interests"),
    Route("PUT", "/interests", {"interests": ["a"]}),
    Route("POST", "/interests/a"),
    Route("DELETE", "/interests/b"),
    Route("DELETE", ""),
)
WRITING = [route for route in ROUTES if route.method != "GET"]
READING = [route for route in ROUTES if route.method == "GET"]
TYPED = [
    route
    for route in ROUTES
    if route.method in ("POST", "PUT") and not (route.below or "").startswith("/interests")
]
REMOVAL = ROUTES[-1]


async def call(
    beams: BeamsServer, route: Route, platform: str, device: str, instance: str = ID, **sent: Any
) -> httpx.Response:
    below = () if route.below is None else (f"{device}{route.below}",)
    headers = {"Authorization": f"Bearer {beams.token()}", **sent.pop("headers", {})}
    return await beams.ask(
        route.method, platform, *below, instance=instance, headers=headers, **sent
    )


@pytest.mark.parametrize("route", ROUTES)
async def test_every_route_looks_at_its_instance(beams: BeamsServer, route: Route) -> None:
    for platform in route.platforms:
        id_ = await beams.register(platform)
        for instance, expected in (
            ("", NO_INSTANCE_ID),
            ("x", BAD_INSTANCE_ID),
            (OTHER, INSTANCE_NOT_FOUND),
        ):
            body = route.body_for(platform)
            reply = await call(beams, route, platform, id_, instance, json=body)
            if route is REMOVAL and instance == OTHER:
                assert is_done(reply)  # told 404, mobile SDKs try for ever
            else:
                assert refused(reply) == expected
        assert (await beams.described(id_))["id"] == id_


async def test_every_route_wants_its_device_named(beams: BeamsServer) -> None:
    for route in ROUTES:
        for platform in route.platforms if route.below is not None else ():
            reply = await call(beams, route, platform, "", json=route.body_for(platform))
            assert refused(reply) == NO_DEVICE_ID, route


@pytest.mark.parametrize("route", TYPED)
async def test_only_json_is_taken(beams: BeamsServer, route: Route) -> None:
    for platform in route.platforms:
        id_ = await beams.register(platform)
        sent: dict[str, Any] = {"content": json.dumps(route.body_for(platform)).encode()}
        for kind in ("text/plain", "", "application/x-msgpack", "application/jsonx"):
            sent["headers"] = {"Content-Type": kind}
            assert refused(await call(beams, route, platform, id_, **sent)) == BAD_TYPE, kind
        sent["headers"] = {"Content-Type": "Application/JSON; charset=utf-8"}
        reply = await call(beams, route, platform, id_, **sent)
        assert reply.status_code == 200


@pytest.mark.parametrize("route", [route for route in ROUTES if route.body is not None])
async def test_a_body_is_a_json_object(beams: BeamsServer, route: Route) -> None:
    headers = {"Content-Type": "application/json"}
    for platform in route.platforms:
        id_ = await beams.register(platform)
        for content in (b"", b"{", b"[]", b'"x"', b"null", b"\xff", b"{" * 100, b'{"\\ud800": 1}'):
            sent = {"content": content, "headers": headers}
            assert refused(await call(beams, route, platform, id_, **sent)) == NOT_JSON, content


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_where_no_type_is_asked_for_any_is_fine(beams: BeamsServer, platform: str) -> None:
    """SDKs say one with requests that have no body, and none with some that have."""
    id_ = await beams.register(platform)
    sent = {"content": b"{}", "headers": {"Content-Type": "text/plain"}}
    assert refused(await beams.ask("GET", platform, id_, **sent)) == BAD_TYPE
    reply = await beams.ask("PUT", platform, id_, "interests", content=b'{"interests":["a"]}')
    assert is_done(reply)
    for method in ("GET", "DELETE"):
        reply = await beams.ask(method, platform, id_, headers={"Content-Type": "text/plain"})
        assert reply.status_code == 200


async def test_a_log_that_takes_nothing_is_our_fault_and_changes_nothing(
    tmp_path: Path, keys: Keys, may_log: set[str]
) -> None:
    may_log.add("tidelog.http")
    push = every_platform(tmp_path, keys)
    ids = {}
    async with beams_server(tmp_path, push) as beams:
        for platform in PLATFORMS:
            ids[platform] = await beams.register(platform, 7)
            await beams.ask("POST", platform, ids[platform], "interests", "b")
        before = await beams.whole()
    full = BrokerSettings(log=LogSettings(max_bytes=1))
    async with beams_server(tmp_path, push, settings=full) as beams:
        for route in WRITING:
            for platform in route.platforms:
                body = route.body_for(platform)
                reply = await call(beams, route, platform, ids[platform], json=body)
                assert refused(reply) == BROKEN, route
        assert await beams.whole() == before


@pytest.mark.parametrize("route", READING)
async def test_a_bug_is_not_told(
    beams: BeamsServer, may_log: set[str], monkeypatch: pytest.MonkeyPatch, route: Route
) -> None:
    may_log.add("tidelog.http")

    def broken(*_: object) -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr(beams.broker.push, "device", broken)
    for platform in PLATFORMS:
        assert refused(await call(beams, route, platform, f"{platform}-{NOBODY}")) == BROKEN
