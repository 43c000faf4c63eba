"""Webhooks of Beams: what a receiver verifies, in which form each event comes, when it is over."""

import hashlib
import hmac
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
import trio
from trio.testing import MockClock

from api.push.beams_webhook import SUCCESS_S, WAITS_S
from api.push.transports import Transports
from broker.push.transport import RETRIES_EXHAUSTED, SENT, Result, Verdict
from tests.api.push import rig
from tests.api.push.http_gateway import Act, Answer, Gateway, Reply, Request, serving
from tests.api.push.rig import ID, NOW_MS, Now, outgoing
from tests.api.push.scripted import Script

SECRET, HOOK_ID, EVENT_ID = "s3cr3t", "0b6c3f0e-0000-4000-8000-000000000001", "an event"
OF = {"instance_id": "i", "publish_id": "pubid-p"}
REQUEST = {"interests": ["a"], "web": {}}


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
async def hook(script: Script) -> AsyncIterator[Gateway]:
    async def handle(request: Request) -> Answer:
        return script.next() or Reply(200)

    async with serving(handle) as gateway:
        yield gateway


@pytest.fixture
async def transports(hook: Gateway, tmp_path: Path, now: Now) -> AsyncIterator[Transports]:
    async with rig.built({"allow_loopback_targets": True}, tmp_path, now) as transports:
        yield transports


def told(event: str, payload: dict[str, Any] = OF, **more: Any) -> dict[str, Any]:
    return {"event": event, "eventId": EVENT_ID, "at": NOW_MS, "payload": payload, **more}


async def send(
    transports: Transports, url: str, payload: dict[str, Any], made: int = 0, **more: Any
) -> Result:
    recipient = {"url": url, "secret": SECRET, "id": HOOK_ID, **more}
    return await transports.by_type["beamsWebhook"].send(outgoing(recipient, payload, made=made))


async def hooked(transports: Transports, url: str, **more: Any) -> Result:
    payload = {"publishId": "pubid-p", "requestBody": REQUEST, "status": "STARTED", **more}
    return await transports.by_type["beamsPublishHook"].send(outgoing({"url": url}, payload))


async def test_an_event_and_its_headers(hook: Gateway, transports: Transports) -> None:
    payload = told("v1.UserNotificationOpen", OF | {"user_id": "é"})
    assert await send(transports, f"{hook.url}/hook?a=b", payload, customData={"n": [1]}) == SENT
    (request,) = hook.requests
    assert (request.method, request.path) == ("POST", "/hook?a=b")
    assert msgspec.json.decode(request.body) == {
        "payload": OF | {"user_id": "é"},
        "metadata": {
            "created_at": "2026-09-21T14:13:20+0000",
            "event_type": "v1.UserNotificationOpen",
            "event_id": EVENT_ID,
            "product": "beams",
        },
        "custom_data": {"n": [1]},
    }
    expected = {
        "user-agent": "pusher-webhooks",
        "content-type": "application/json",
        "webhook-event-type": "v1.UserNotificationOpen",
        "webhook-id-uuid": HOOK_ID,
        "webhook-request-id-uuid": str(UUID(ID)),
        "webhook-signature": hmac.new(SECRET.encode(), request.body, hashlib.sha1).hexdigest(),
    }
    assert {name: request.headers[name] for name in expected} == expected


async def test_users_are_told_by_what_came_of_them(hook: Gateway, transports: Transports) -> None:
    tally = {"reached": ["a", "b"], "missed": ["c"]}
    payload = told("v1.PublishToUsersAttempt", clients=["c", "b", "x", "a", "x"], tally=tally)
    assert await send(transports, hook.url, payload) == SENT
    assert msgspec.json.decode(hook.requests[0].body)["payload"] == {
        **OF,
        "users_delivered_to_gateway": ["b", "a"],
        "users_no_devices": ["x"],
        "users_gateway_failed": ["c"],
    }


async def test_a_request_is_the_same_at_every_attempt(
    hook: Gateway, transports: Transports, script: Script, now: Now
) -> None:
    payload = told("v1.UserNotificationOpen")
    script.then(Reply(500))
    await send(transports, hook.url, payload)
    now.pass_minutes(5)
    await send(transports, hook.url, payload, made=1)
    first, second = hook.requests
    assert (first.body, first.headers) == (second.body, second.headers)


@pytest.mark.parametrize("answer", [Reply(302), Reply(400), Reply(410), Reply(503), Act.HANG_UP])
@pytest.mark.parametrize("made", range(5))
async def test_what_is_not_2xx_is_tried_four_times_more(
    hook: Gateway, transports: Transports, script: Script, answer: Answer, made: int
) -> None:
    script.then(answer)
    result = await send(transports, hook.url, told("v1.UserNotificationOpen"), made)
    if made == len(WAITS_S):
        assert (result.verdict, result.code) == (Verdict.REJECTED, RETRIES_EXHAUSTED)
    else:
        assert result.verdict is Verdict.TRANSIENT
        assert result.retry_after_ms == (10, 30, 120, 300)[made] * 1_000
        assert result.is_of_address is isinstance(answer, Reply)


async def test_an_answer_has_three_seconds(
    hook: Gateway, transports: Transports, script: Script, autojump_clock: MockClock
) -> None:
    script.then(Act.STALL)
    began = trio.current_time()
    result = await send(transports, hook.url, told("v1.UserNotificationOpen"))
    assert result.verdict is Verdict.TRANSIENT
    assert trio.current_time() - began == pytest.approx(SUCCESS_S, abs=0.5)


async def test_the_hook_of_a_publish(hook: Gateway, transports: Transports) -> None:
    url = hook.url.replace("//", "//us%40er:pa%3Ass@")
    assert await hooked(transports, f"{url}/h") == SENT
    tally = {"sent": {"web": 2}, "failed": {"fcm": 1, "web": 1}}
    finished = {"status": "FINISHED", "tally": tally, "platforms": ["web", "apns"]}
    assert await hooked(transports, f"{url}/h", **finished) == SENT
    started, over = (msgspec.json.decode(request.body) for request in hook.requests)
    told_first = {"publishId": "pubid-p", "status": "STARTED", "requestBody": REQUEST}
    assert started == told_first
    assert over == told_first | {
        "status": "FINISHED",
        "results": {
            "web": {"numSuccessfulPublishes": 2, "numFailedPublishes": 1},
            "apns": {"numSuccessfulPublishes": 0, "numFailedPublishes": 0},
        },
    }
    assert hook.requests[0].path == "/h"
    assert hook.requests[0].headers["authorization"] == "Basic dXNAZXI6cGE6c3M="


@pytest.mark.parametrize("url", ["http://10.0.0.1/", "https://10.0.0.1/", "ftp://a", "?", ""])
async def test_what_the_guard_refuses_is_over(transports: Transports, url: str) -> None:
    assert (await send(transports, url, told("v1.UserNotificationOpen"))).verdict is Verdict.DEAD
    assert (await hooked(transports, url)).verdict is Verdict.DEAD


async def test_loopback_is_refused_unless_it_is_allowed(
    hook: Gateway, tmp_path: Path, now: Now
) -> None:
    async with rig.built({}, tmp_path, now) as guarded:
        result = await send(guarded, hook.url, told("v1.UserNotificationOpen"))
        assert result.verdict is Verdict.DEAD
        assert (await hooked(guarded, hook.url)).verdict is Verdict.DEAD
    assert hook.connections == 0
