"""The npm `@pusher/push-notifications-server` SDK, over plain HTTP, as it speaks to an endpoint."""

import json
import os
import subprocess
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.conformance.beams.world import ID, KEY, OTHER, World, world
from tests.conformance.realtime.node_sdk import HOME, missing

pytestmark = pytest.mark.conformance

REQUIRED = "TIDELOG_REQUIRE_SDK_TESTS"
WEB = {"web": {"notification": {"title": "é"}}}


@pytest.fixture
async def beams(tmp_path: Path) -> AsyncIterator[World]:
    is_there = (HOME / "node_modules" / "@pusher").is_dir()
    if lack := missing() or ("" if is_there else "the SDK of Beams is not installed: npm ci"):
        if os.environ.get(REQUIRED):
            pytest.fail(f"{lack}, and {REQUIRED} is set")
        pytest.skip(lack)
    async with world(tmp_path, tls=False) as running:
        yield running


async def calls(beams: World, *made: list[Any], **options: Any) -> list[dict[str, Any]]:
    given = {
        "instanceId": ID,
        "secretKey": KEY,
        "endpoint": "localhost",
        "port": beams.server.port,
        **options,
    }
    run = partial(
        subprocess.run,
        ["node", str(HOME / "beams.mjs")],
        input=json.dumps({"options": given, "calls": made}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    ran = await trio.to_thread.run_sync(run)
    assert ran.returncode == 0, ran.stderr
    results: list[dict[str, Any]] = json.loads(ran.stdout)
    return results


async def test_notifications_to_interests_arrive(beams: World) -> None:
    await beams.device("web", "donuts")
    await beams.device("fcm", "donuts")
    body = WEB | {"fcm": {"notification": {"title": "Hi"}}}
    first, second = await calls(
        beams, ["publishToInterests", ["donuts", "pizza"], body], ["publish", ["donuts"], WEB]
    )
    assert first["value"]["publishId"].startswith("pubid-")
    await beams.until(beams.web.gateway, lambda: len(beams.web.fake.delivered) == 2)
    await beams.until(beams.fcm.gateway, lambda: beams.fcm.fake.delivered)
    got = [one.body["data"]["pusher"]["publishId"] for one in beams.web.fake.delivered]
    assert sorted(got) == sorted(one["value"]["publishId"] for one in (first, second))
    assert beams.fcm.fake.delivered[0]["notification"] == {"title": "Hi"}


@pytest.mark.parametrize("user", ["alice", "a/b é"])
async def test_a_user_has_a_token_is_notified_and_deleted(beams: World, user: str) -> None:
    device, other = await beams.device("web"), await beams.device("web")
    (made,) = await calls(beams, ["generateToken", user])
    bound = await beams.set_user(device, made["value"]["token"])
    assert (bound.status_code, bound.content) == (200, b""), bound.text
    (published,) = await calls(beams, ["publishToUsers", [user], WEB])
    await beams.until(beams.web.gateway, lambda: beams.web.fake.delivered)
    assert [one.browser for one in beams.web.fake.delivered] == ["browser-0"]
    await beams.until(beams.hook, lambda: beams.told("v1.PublishToUsersAttempt"))
    (attempt,) = beams.told("v1.PublishToUsersAttempt")
    assert attempt["publish_id"] == published["value"]["publishId"]
    assert attempt["users_delivered_to_gateway"] == [user]
    deleted = await calls(beams, ["deleteUser", user], ["deleteUser", user])
    assert deleted == [{"nothing": True}] * 2
    assert not await beams.is_there(device)
    assert await beams.is_there(other)


async def test_errors_are_told_as_they_are(beams: World) -> None:
    wrong_key = "401 Unauthorized - Incorrect API Key."
    publish, delete = ["publishToInterests", ["a"], WEB], ["deleteUser", "a"]
    refused = await calls(beams, publish, delete, secretKey="x")
    assert [one["error"] for one in refused] == [wrong_key] * 2
    unknown = await calls(beams, publish, delete, instanceId=OTHER)
    not_found = "404 Instance not found - Could not find the instance."
    assert [one["error"] for one in unknown] == [not_found] * 2
    large = {"web": {"data": {"a": "x" * 10_240}}}
    bad, too_large = await calls(
        beams, ["publishToUsers", ["a"], {}], ["publishToInterests", ["a"], large]
    )
    assert bad["error"] == "422 Unprocessable Entity - JSON does not our match schema."
    said = "400 Bad request - Request body size is too large (max 10KiB)."
    assert too_large["error"] == said
