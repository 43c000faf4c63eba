"""Firefox shows what is published over the Beams API, registered by the SDK of Beams for the web.

The page's origin is not the broker's, so for every call of the SDK the browser asks whether the
broker allows it.
"""

import json
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.conformance.browser_push.beams.conftest import HOOKS, Instance
from tests.conformance.browser_push.beams.webhook import Webhook
from tests.conformance.browser_push.firefox import Firefox, PageError
from tests.conformance.browser_push.push_service import (
    DELIVERED,
    UNDECRYPTABLE,
    PushService,
    Subscription,
)

pytestmark = pytest.mark.conformance

TITLE, BODY = "Tide \U0001f30a", "High water at 21:04, naïve but true"
REGISTERED = "PERMISSION_GRANTED_REGISTERED_WITH_BEAMS"
NOT_REGISTERED = "PERMISSION_GRANTED_NOT_REGISTERED_WITH_BEAMS"
INTERESTS_ON_A_PAGE = 100


def options(instance: Instance) -> dict[str, str]:
    return {"instanceId": instance.id, "endpointOverride": instance.url}


def fresh(name: str) -> str:
    """One that no other test's device has."""
    return f"{name}-{uuid4()}"


def notification(title: str = TITLE, **more: Any) -> dict[str, Any]:
    return {"title": title, "body": BODY, **more}


def acknowledged(service: PushService, subscription: Subscription, *codes: int) -> None:
    service.wait(lambda: len(subscription.acks) >= len(codes))
    assert subscription.acks == list(codes)


def test_start_registers_the_device(
    page: Firefox, instance: Instance, service: PushService
) -> None:
    device = page.call("start", options(instance))
    assert device["id"].startswith("web-")
    assert (device["state"], device["user"]) == (REGISTERED, None)
    key = httpx.get(
        f"{instance.url}/device_api/v1/instances/{instance.id}/web-vapid-public-key"
    ).json()["vapidPublicKey"]
    assert service.of(device["endpoint"]).key == key
    listed = json.loads(instance.broker.operator("push", "devices", "--json"))
    assert {one["id"]: one["api"] for one in listed}[device["id"]] == "beams"
    assert page.call("sdk", "getDeviceInterests") == {"interests": []}


def test_interests(page: Firefox, instance: Instance) -> None:
    page.call("start", options(instance))
    odd = "a=1;b,c@d.e_f-g"
    for interest in ("tides", odd, "tides"):
        page.call("sdk", "addDeviceInterest", interest)
    assert sorted(page.call("sdk", "getDeviceInterests")["interests"]) == [odd, "tides"]
    page.call("sdk", "removeDeviceInterest", odd)
    assert page.call("sdk", "getDeviceInterests") == {"interests": ["tides"]}
    page.call("sdk", "setDeviceInterests", ["wind", "waves", "wind"])
    assert sorted(page.call("sdk", "getDeviceInterests")["interests"]) == ["waves", "wind"]
    page.call("sdk", "clearDeviceInterests")
    assert page.call("sdk", "getDeviceInterests") == {"interests": []}


def test_more_interests_than_on_a_page(page: Firefox, instance: Instance) -> None:
    page.call("start", options(instance))
    wanted = [f"interest-{n:03}" for n in range(INTERESTS_ON_A_PAGE + 1)]
    page.call("sdk", "setDeviceInterests", wanted)
    first = page.call("sdk", "getDeviceInterests")
    rest = page.call("sdk", "getDeviceInterests", INTERESTS_ON_A_PAGE, first["nextCursor"])
    assert len(first["interests"]) == INTERESTS_ON_A_PAGE
    assert sorted(first["interests"] + rest["interests"]) == wanted
    assert "nextCursor" not in rest


def test_a_notification_to_an_interest_is_shown(
    page: Firefox, instance: Instance, service: PushService
) -> None:
    refused = len(service.refusals)
    device = page.call("start", options(instance))
    interest = fresh("tides")
    page.call("sdk", "addDeviceInterest", interest)
    sent = notification(deep_link="https://example.com/tides")
    instance.publish("interests", [interest, fresh("wind")], notification=sent, data={"n": [1]})
    assert page.call("nextShown") == {"title": TITLE}
    (shown,) = page.call("shown")
    assert (shown["title"], shown["body"]) == (TITLE, BODY)
    assert shown["data"]["pusher"]["customerPayload"] == {"notification": sent, "data": {"n": [1]}}
    acknowledged(service, service.of(device["endpoint"]), DELIVERED)
    assert len(service.refusals) == refused


def test_what_becomes_of_it_is_reported(page: Firefox, instance: Instance, told: Webhook) -> None:
    """By the SDK's worker to the broker, and by the broker to the application's server."""
    device = page.call("start", options(instance))
    interest, user = fresh("tides"), fresh("alice")
    page.call("sdk", "addDeviceInterest", interest)
    page.call("setUser", user, "/auth")
    publish_id = instance.publish("interests", [interest], notification=notification())

    def is_reported(event: str) -> None:
        report = page.call("nextReport")
        assert report["path"] == f"/reporting_api/v2/instances/{instance.id}/events"
        assert report.get("status") == 200, report
        said = {"event": event, "publishId": publish_id, "deviceId": device["id"], "userId": user}
        assert report["body"].items() >= {**said, "hasDisplayableContent": True}.items()
        hook = told.next_of(publish_id)
        assert hook["metadata"]["event_type"] == HOOKS[event]
        payload = {"instance_id": instance.id, "publish_id": publish_id, "user_id": user}
        assert hook["payload"] == payload

    assert page.call("nextShown") == {"title": TITLE}
    is_reported("delivery")
    page.call("click", TITLE)
    is_reported("open")
    assert page.call("shown") == []  # the SDK closes what was clicked on


def test_a_notification_to_a_user_is_shown(
    page: Firefox, instance: Instance, service: PushService
) -> None:
    device = page.call("start", options(instance))
    user = fresh("alice/märz")
    for _ in range(2):  # applications do at every visit
        page.call("setUser", user, "/auth")
    assert page.call("device")["user"] == user
    assert instance.device(device["id"])["userId"] == user
    instance.publish("users", [fresh("bob")], notification=notification("to bob"))
    instance.publish("users", [user], notification=notification("to alice"))
    assert page.call("nextShown") == {"title": "to alice"}
    assert [one["title"] for one in page.call("shown")] == ["to alice"]
    acknowledged(service, service.of(device["endpoint"]), DELIVERED)


def test_a_forged_user_is_refused(page: Firefox, instance: Instance) -> None:
    """And the page may read why, though the broker is another origin."""
    device = page.call("start", options(instance))
    with pytest.raises(PageError) as refused:
        page.call("setUser", fresh("mallory"), "/forged")
    assert refused.value.value["message"] == (
        "Unexpected status code 401: Unauthorized, Authorization header token is malformed."
    )
    assert page.call("device")["user"] is None
    assert instance.device(device["id"])["userId"] is None


def test_one_flipped_bit_is_not_shown(
    page: Firefox, instance: Instance, service: PushService
) -> None:
    device = page.call("start", options(instance))
    interest = fresh("tides")
    page.call("sdk", "addDeviceInterest", interest)
    subscription = service.of(device["endpoint"])
    service.flip_next()
    instance.publish("interests", [interest], notification=notification("flipped"))
    acknowledged(service, subscription, UNDECRYPTABLE)
    sent = instance.publish("interests", [interest], notification=notification("as it was sent"))
    assert page.call("nextShown") == {"title": "as it was sent"}
    assert [one["title"] for one in page.call("shown")] == ["as it was sent"]
    assert page.call("nextReport")["body"]["publishId"] == sent
    acknowledged(service, subscription, UNDECRYPTABLE, DELIVERED)


def test_kill_9_between_publish_and_delivery(
    page: Firefox, instance: Instance, service: PushService
) -> None:
    """Nobody was told of it before the broker is killed; then it is shown once, and reported."""
    device = page.call("start", options(instance))
    user = fresh("alice")
    page.call("setUser", user, "/auth")
    subscription = service.of(device["endpoint"])
    refused = len(service.refusals)
    with service.down():
        publish_id = instance.publish("users", [user], notification=notification())
        service.wait(lambda: len(service.refusals) > refused)
        instance.broker.kill()
    assert subscription.sent == []
    instance.broker.start()
    assert page.call("nextShown") == {"title": TITLE}
    report = page.call("nextReport")
    assert (report["body"]["publishId"], report.get("status")) == (publish_id, 200)
    acknowledged(service, subscription, DELIVERED)
    assert len(page.call("shown")) == 1


def test_stop_deletes_the_device(page: Firefox, instance: Instance, service: PushService) -> None:
    """What is published to its interests afterwards is not even sent."""
    device = page.call("start", options(instance))
    subscription = service.of(device["endpoint"])
    interest, another = fresh("tides"), fresh("tides")
    page.call("sdk", "addDeviceInterest", interest)
    page.call("sdk", "stop")
    assert page.call("device")["state"] == NOT_REGISTERED
    assert instance.device(device["id"]) == {}
    service.wait(lambda: subscription.is_gone)  # the SDK does not wait for it
    refused = len(service.refusals)
    instance.publish("interests", [interest], notification=notification("to nobody"))
    again = page.call("start", options(instance))
    assert again["id"] != device["id"]
    page.call("sdk", "addDeviceInterest", another)
    instance.publish("interests", [another], notification=notification("to the new one"))
    assert page.call("nextShown") == {"title": "to the new one"}
    acknowledged(service, service.of(again["endpoint"]), DELIVERED)
    assert (subscription.sent, len(service.refusals)) == ([], refused)


def test_clear_all_state_makes_another_device(page: Firefox, instance: Instance) -> None:
    device = page.call("start", options(instance))
    page.call("sdk", "addDeviceInterest", fresh("tides"))
    page.call("setUser", fresh("alice"), "/auth")
    page.call("sdk", "clearAllState")
    again = page.call("device")
    assert (again["state"], again["user"]) == (REGISTERED, None)
    assert again["id"] != device["id"]
    assert page.call("sdk", "getDeviceInterests") == {"interests": []}
    assert instance.device(device["id"]) == {}
    assert instance.device(again["id"])["userId"] is None


def test_a_page_that_registered_with_another_server_registers_here(
    page: Firefox, instance: Instance
) -> None:
    """It knows a device that this server does not; `start` is content with that."""
    elsewhere = page.call("start", options(instance))["id"]
    instance.broker.operator("push", "remove", elsewhere, "--yes")
    assert page.call("start", options(instance))["id"] == elsewhere
    page.call("sdk", "clearAllState")
    device = page.call("device")
    assert (device["id"] != elsewhere, device["state"]) == (True, REGISTERED)
    listed = json.loads(instance.broker.operator("push", "devices", "--json"))
    ids = {one["id"] for one in listed}
    assert (device["id"] in ids, elsewhere in ids) == (True, False)
