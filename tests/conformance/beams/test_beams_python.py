"""The PyPI `pusher-push-notifications` SDK, over TLS, which is all that it speaks."""

from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from pusher_push_notifications import (
    PusherAuthError,
    PusherMissingInstanceError,
    PusherServerError,
    PusherValidationError,
    PushNotifications,
)

from tests.conformance.beams.world import ID, KEY, OTHER, World, world

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning"),
]

ALL = {
    "apns": {"aps": {"alert": {"title": "Hi"}}, "data": {"n": 1}},
    "fcm": {"notification": {"title": "Hi"}, "data": {"n": "1"}},
    "web": {"notification": {"title": "Hi", "deep_link": "https://example.com/"}},
}
WEB = {"web": {"notification": {"title": "é"}}}


@pytest.fixture
async def beams(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path, tls=True) as running:
        yield running


def sdk(beams: World, instance: str = ID, key: str = KEY) -> PushNotifications:
    client = PushNotifications(instance, key, endpoint=f"localhost:{beams.server.port}")
    client.session.verify = str(beams.server.ca_file)  # it does not look at the environment
    return client


async def call(method: Callable[..., Any], *args: Any) -> Any:
    """It blocks: in a thread."""
    return await trio.to_thread.run_sync(partial(method, *args))


async def test_notifications_to_interests_arrive(beams: World) -> None:
    for platform in ("apns", "fcm", "web"):
        await beams.device(platform, "donuts", "pizza")
    await beams.device("web", "else")
    published = await call(sdk(beams).publish_to_interests, ["pizza", "donuts"], ALL)
    assert published.keys() == {"publishId"}
    await beams.until(beams.apns.gateway, lambda: beams.apns.fake.delivered)
    await beams.until(beams.fcm.gateway, lambda: beams.fcm.fake.delivered)
    await beams.until(beams.web.gateway, lambda: beams.web.fake.delivered)
    (at_apple,), (at_google,) = beams.apns.fake.delivered, beams.fcm.fake.delivered
    (at_browser,) = beams.web.fake.delivered
    assert at_apple.body["aps"] == ALL["apns"]["aps"]
    assert at_google["notification"] == {"title": "Hi"}
    assert at_browser.body["notification"] == ALL["web"]["notification"]
    pusher = at_browser.body["data"]["pusher"]
    assert (pusher["instanceId"], pusher["publishId"]) == (ID, published["publishId"])


async def test_the_deprecated_publish_arrives_too(beams: World) -> None:
    await beams.device("web", "donuts")
    with pytest.warns(DeprecationWarning, match="publish_to_interests"):
        await call(sdk(beams).publish, ["donuts"], WEB)
    await beams.until(beams.web.gateway, lambda: beams.web.fake.delivered)


@pytest.mark.parametrize("user", ["alice", "a/b é"])
async def test_a_user_has_a_token_is_notified_and_deleted(beams: World, user: str) -> None:
    client = sdk(beams)
    device, other = await beams.device("web"), await beams.device("web")
    token = await call(client.generate_token, user)
    bound = await beams.set_user(device, token["token"])
    assert (bound.status_code, bound.content) == (200, b""), bound.text
    published = await call(client.publish_to_users, [user, "nobody"], WEB)
    await beams.until(beams.web.gateway, lambda: beams.web.fake.delivered)
    assert [one.browser for one in beams.web.fake.delivered] == ["browser-0"]
    await beams.report("delivery", published["publishId"], device)
    acknowledged = "v1.UserNotificationAcknowledgement"
    await beams.until(beams.hook, lambda: beams.told(acknowledged))
    of = {"instance_id": ID, "publish_id": published["publishId"]}
    assert beams.told(acknowledged) == [of | {"user_id": user}]
    await beams.until(beams.hook, lambda: beams.told("v1.PublishToUsersAttempt"))
    assert beams.told("v1.PublishToUsersAttempt") == [
        of
        | {
            "users_delivered_to_gateway": [user],
            "users_no_devices": ["nobody"],
            "users_gateway_failed": [],
        }
    ]
    assert await call(client.delete_user, user) is None
    assert not await beams.is_there(device)
    assert await beams.is_there(other)
    assert await call(client.delete_user, user) is None


async def test_errors_are_the_exceptions_that_it_has_for_them(beams: World) -> None:
    client = sdk(beams)
    wrong_key, wrong_instance = sdk(beams, key="x"), sdk(beams, OTHER)
    with pytest.raises(PusherAuthError, match=r"^Unauthorized: Incorrect API Key\.$"):
        await call(wrong_key.publish_to_interests, ["a"], WEB)
    with pytest.raises(PusherAuthError):
        await call(wrong_key.delete_user, "a")
    with pytest.raises(PusherMissingInstanceError, match="Could not find the instance"):
        await call(wrong_instance.publish_to_users, ["a"], WEB)
    with pytest.raises(PusherMissingInstanceError):
        await call(wrong_instance.delete_user, "a")
    with pytest.raises(PusherValidationError, match="JSON does not our match schema"):
        await call(client.publish_to_interests, ["a"], {})
    with pytest.raises(PusherValidationError, match="max 10KiB"):
        await call(client.publish_to_interests, ["a"], {"web": {"data": {"a": "x" * 10_240}}})
    with pytest.raises(PusherValidationError, match="schema"):
        await call(client.publish_to_users, ["a"], {"web": {"data": {"pusher": {}}}})


async def test_a_full_log_is_a_server_error(tmp_path: Path) -> None:
    full = ("--set", "log.max_bytes=1048576")
    async with world(tmp_path, tls=True, options=full, is_sound=False) as beams:
        users = [f"{number:0164}" for number in range(1_000)]

        async def publish_until_it_is_full() -> None:
            for _ in range(1_000):
                await call(sdk(beams).publish_to_users, users, WEB)

        with pytest.raises(PusherServerError, match="Something went wrong: Internal server"):
            await publish_until_it_is_full()
