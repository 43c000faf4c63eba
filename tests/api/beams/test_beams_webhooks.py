"""What webhooks are told of publishes and reports; that they are until they answer, or it is over.

The receiver is a real one. Time passes when a test says so, for the broker and for trio.
"""

import hashlib
import hmac
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from broker.beams.webhooks import DELIVERED, EVENTS, OPENED, PUBLISHED_TO_USERS
from tests.api.beams.beams_server import ID
from tests.api.beams.publishing import HELLO, Publishing, publishing
from tests.api.push.http_gateway import Act, Reply
from tests.broker.acting import Time

WAITS_S = (10, 30, 120, 300)
CREATED = "2023-11-14T22:13:20+0000"


@pytest.fixture
async def beams(tmp_path: Path, time: Time) -> AsyncIterator[Publishing]:
    async with publishing(tmp_path, time) as running:
        yield running


async def hooked(beams: Publishing, *events: str, **more: Any) -> Any:
    url = beams.receiver.url
    return await beams.broker.beams.add_webhook(beams.app, url, "hush", events, **more)


def signed(beams: Publishing, number: int = 0) -> bool:
    request = beams.receiver.requests[number]
    expected = hmac.new(b"hush", request.body, hashlib.sha1).hexdigest()
    return hmac.compare_digest(request.headers["webhook-signature"], expected)


async def test_a_publish_to_users_says_who_was_reached(beams: Publishing) -> None:
    webhook = await hooked(beams, PUBLISHED_TO_USERS, custom_data={"shop": 7})
    await hooked(beams, OPENED)
    await beams.device("web-1", user="ann")
    await beams.device("web-2", user="ann")
    await beams.device("fcm-1", user="bob")
    await beams.device("web-3", user="eve")
    beams.web.fake.browsers["browser-1"].is_gone = True  # of ann's two the one
    beams.web.fake.browsers["browser-2"].is_gone = True
    beams.fcm.fake.script.then(Reply(503))
    users = ["nobody", "bob", "ann", "eve"]
    id_ = await beams.published({"users": users, "web": HELLO, "fcm": HELLO})
    await beams.until(lambda: bool(beams.receiver.requests))
    (told,) = beams.receiver.told
    event_id = told["metadata"].pop("event_id")
    assert told == {
        "payload": {
            "instance_id": ID,
            "publish_id": id_,
            "users_delivered_to_gateway": ["ann"],
            "users_no_devices": ["nobody"],
            "users_gateway_failed": ["bob", "eve"],
        },
        "metadata": {
            "created_at": CREATED,
            "event_type": PUBLISHED_TO_USERS,
            "product": "beams",
        },
        "custom_data": {"shop": 7},
    }
    headers = beams.receiver.requests[0].headers
    assert headers["webhook-id-uuid"] == webhook.id
    assert event_id != headers["webhook-request-id-uuid"]
    assert signed(beams)


async def test_reports_are_told_of_the_user_whose_the_device_is(beams: Publishing) -> None:
    await hooked(beams, DELIVERED, OPENED)
    await beams.device("web-1", user="ann")
    await beams.device("web-2")
    await beams.report()
    await beams.report()  # told once
    await beams.report(event="Open", userId="ann")
    await beams.report(event="open", deviceId="web-2", userId="eve")
    await beams.report(event="delivery", deviceId="web-2")
    await beams.until_delivered()
    payload = {"instance_id": ID, "publish_id": f"pubid-{ID}", "user_id": "ann"}
    told = [(one["metadata"]["event_type"], one["payload"]) for one in beams.receiver.told]
    assert sorted(told, key=str) == [(DELIVERED, payload), (OPENED, payload)]
    assert {one["metadata"]["created_at"] for one in beams.receiver.told} == {CREATED}


async def test_nobody_else_is_told(beams: Publishing) -> None:
    webhook = await hooked(beams, *EVENTS)
    await beams.device("web-1", "a", user="ann")
    await beams.published({"interests": ["a"], "web": HELLO})
    await beams.report(userId="eve")
    await beams.broker.beams.remove_webhook(beams.app, webhook.id)
    await beams.published({"users": ["ann"], "web": HELLO})
    await beams.until_delivered()
    assert beams.receiver.requests == []


async def test_a_webhook_is_tried_five_times(beams: Publishing, time: Time) -> None:
    await hooked(beams, OPENED)
    await beams.device("web-1", user="ann")
    beams.receiver.script.then(
        Reply(500), Reply(302, headers={"location": "/"}), Act.HANG_UP, Reply(404), Reply(503)
    )
    await beams.report(event="open")
    for number, wait_s in enumerate(WAITS_S, start=1):
        await beams.until(lambda number=number: _made(beams) == number)  # type: ignore[misc]
        assert beams.due()[0].at_ms - time.wall() == wait_s * 1_000
        await time.passes(wait_s * 1_000 - 5, beams)
        assert len(beams.receiver.requests) == number
        await time.passes(10, beams)
    await beams.until_delivered()
    assert len(beams.receiver.requests) == 1 + len(WAITS_S)
    assert len({request.body for request in beams.receiver.requests}) == 1
    ids = {request.headers["webhook-request-id-uuid"] for request in beams.receiver.requests}
    assert len(ids) == 1
    assert all(signed(beams, number) for number in range(5))


def _made(beams: Publishing) -> int:
    due = beams.due()
    return due[0].waiting.attempt.made if due else 0


async def test_a_webhook_that_answers_at_last_is_not_tried_again(
    beams: Publishing, time: Time
) -> None:
    await hooked(beams, OPENED)
    await beams.device("web-1", user="ann")
    beams.receiver.script.then(Reply(500))
    await beams.report(event="open")
    await beams.until(lambda: _made(beams) == 1)
    await time.passes(10_005, beams)
    await beams.until_delivered()
    assert [one["payload"]["user_id"] for one in beams.receiver.told] == ["ann", "ann"]


async def test_what_a_webhook_is_told_survives_a_restart(tmp_path: Path, time: Time) -> None:
    async with publishing(tmp_path, time) as beams:
        await hooked(beams, OPENED)
        await beams.device("web-1", user="ann")
        beams.receiver.script.then(Reply(500))
        await beams.report(event="open")
        await beams.until(lambda: _made(beams) == 1)
        url, first = beams.receiver.url, beams.receiver.requests[0]
    time.wall.advance(10_000)
    async with publishing(tmp_path, time) as beams:
        assert beams.broker.beams.webhooks(beams.app)[0].url == url
        await beams.until(lambda: _made(beams) == 2)  # its receiver is gone: tried, and not heard
        assert beams.due()[0].at_ms - time.wall() == 30_000
        assert first.headers["webhook-event-type"] == OPENED


async def test_the_publisher_is_told_when_it_begins_and_when_everybody_was_tried(
    beams: Publishing,
) -> None:
    await beams.device("web-1", "a")
    await beams.device("web-2", "a")
    await beams.device("fcm-1", "a")
    beams.fcm.fake.script.then(Reply(503))
    beams.web.fake.browsers["browser-0"].is_gone = True
    hook = beams.receiver.url.replace("//", "//us:er@")
    body = {"interests": ["a"], "web": HELLO, "fcm": HELLO, "apns": {}, "webhookUrl": hook}
    id_ = await beams.published(body)
    await beams.until(lambda: len(beams.receiver.requests) == 2)
    by_status = {one["status"]: one for one in beams.receiver.told}
    started = {"publishId": id_, "status": "STARTED", "requestBody": body}
    assert by_status["STARTED"] == started
    assert by_status["FINISHED"] == started | {
        "status": "FINISHED",
        "results": {
            "apns": {"numSuccessfulPublishes": 0, "numFailedPublishes": 0},
            "fcm": {"numSuccessfulPublishes": 0, "numFailedPublishes": 1},
            "web": {"numSuccessfulPublishes": 1, "numFailedPublishes": 1},
        },
    }
    for request in beams.receiver.requests:
        assert request.headers["authorization"] == "Basic dXM6ZXI="
        assert "webhook-signature" not in request.headers


async def test_a_publish_with_a_hook_to_users_tells_both(beams: Publishing) -> None:
    await hooked(beams, PUBLISHED_TO_USERS)
    hook = beams.receiver.url
    await beams.published({"users": ["nobody"], "web": HELLO, "webhookUrl": hook})
    await beams.until_delivered()
    kinds = [one.get("status") or one["metadata"]["event_type"] for one in beams.receiver.told]
    assert sorted(kinds) == ["FINISHED", "STARTED", PUBLISHED_TO_USERS]
