"""Firefox receives, decrypts and shows what the broker pushes to it, registered by ably-js."""

import json
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from api.push.base64_forms import base64url
from tests.conformance.browser_push.firefox import Firefox
from tests.conformance.browser_push.push_service import (
    DELIVERED,
    UNDECRYPTABLE,
    PushService,
    Subscription,
)
from tests.conformance.serving import KEY, ServerProcess, token

pytestmark = pytest.mark.conformance

CLIENT = "somebody"
# A page's user may be pushed to, and no more.
GRANTED = {
    "x-ably-capability": json.dumps({"*": ["push-subscribe"]}),
    "x-ably-clientId": CLIENT,
}
TITLE, BODY = "Tide \U0001f30a", "High water at 21:04, naïve but true"
BYTES_MAX = 3_993  # of a plaintext: encrypted it has 4,096, which push services must take


def options(broker: ServerProcess, **more: Any) -> dict[str, Any]:
    return {"endpoint": "localhost", "tls": False, "port": broker.port, **more}


def activated(page: Firefox, broker: ServerProcess, *, binary: bool = False) -> tuple[str, str]:
    """The page's device, and where it is pushed to."""
    granted = {"token": token(claims=GRANTED), "clientId": CLIENT}
    device = page.call("activate", options(broker, useBinaryProtocol=binary, **granted))
    return device["id"], device["endpoint"]


def ask(broker: ServerProcess, method: str, path: str, body: Any = None) -> Any:
    """As the application's server does."""
    key = httpx.BasicAuth(*KEY.split(":"))
    url = f"http://localhost:{broker.port}{path}"
    reply = httpx.request(method, url, auth=key, json=body)
    assert reply.is_success, reply.text
    return reply.json() if reply.content else None


def publish(broker: ServerProcess, recipient: dict[str, str], **payload: Any) -> None:
    ask(broker, "POST", "/push/publish", {"recipient": recipient, **payload})


def notification(title: str = TITLE) -> dict[str, str]:
    return {"title": title, "body": BODY}


def payload(size: int) -> dict[str, Any]:
    """One that is so many bytes before it is encrypted."""
    made = {"notification": {"title": TITLE}, "data": {"pad": ""}}
    bare = len(json.dumps(made, ensure_ascii=False, separators=(",", ":")).encode())
    return {**made, "data": {"pad": "x" * (size - bare)}}


def allow_push(broker: ServerProcess, namespace: str) -> None:
    broker.operator("namespaces", "set", namespace, "--push-enabled")


def another_key() -> str:
    public = generate_private_key(SECP256R1()).public_key()
    return base64url(public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))


def acknowledged(service: PushService, subscription: Subscription, *codes: int) -> None:
    service.wait(lambda: len(subscription.acks) >= len(codes))
    assert subscription.acks == list(codes)


@pytest.mark.parametrize("binary", [False, True])
def test_a_notification_is_shown(
    page: Firefox, broker: ServerProcess, service: PushService, binary: bool
) -> None:
    refused = len(service.refusals)
    device, endpoint = activated(page, broker, binary=binary)
    subscription = service.of(endpoint)
    publish(broker, {"deviceId": device}, notification=notification(), data={"n": [1, None]})
    acknowledged(service, subscription, DELIVERED)
    assert page.call("next") == {"notification": notification(), "data": {"n": [1, None]}}
    (shown,) = page.call("shown")
    assert (shown["title"], shown["body"], shown["data"]) == (TITLE, BODY, {"n": [1, None]})
    (sent,) = subscription.sent
    assert sent["urgency"] == "high"
    assert len(service.refusals) == refused


def test_it_is_the_key_of_the_broker_that_was_subscribed_with(
    page: Firefox, broker: ServerProcess, service: PushService
) -> None:
    _, endpoint = activated(page, broker)
    key = httpx.get(
        f"http://localhost:{broker.port}/push/publicVapidKey",
        auth=httpx.BasicAuth(*KEY.split(":")),
    )
    assert service.of(endpoint).key == key.text


def test_a_clients_devices_are_notified(
    page: Firefox, broker: ServerProcess, service: PushService
) -> None:
    """The device is its client's as ably-js registered it, with a token of that client."""
    device, endpoint = activated(page, broker)
    assert ask(broker, "GET", f"/push/deviceRegistrations/{device}")["clientId"] == CLIENT
    publish(broker, {"clientId": CLIENT}, notification=notification(), data={"to": "client"})
    assert page.call("next")["data"] == {"to": "client"}
    acknowledged(service, service.of(endpoint), DELIVERED)


def test_a_channels_devices_are_notified(
    page: Firefox, broker: ServerProcess, service: PushService
) -> None:
    """Of a message that has a notification; the device subscribed itself, with ably-js."""
    allow_push(broker, "news")
    _, endpoint = activated(page, broker)
    page.call("subscribeDevice", "news:tides")
    message = {"name": "tide", "extras": {"push": {"notification": notification()}}}
    ask(broker, "POST", "/channels/news:tides/messages", message)
    assert page.call("next")["notification"] == notification()
    acknowledged(service, service.of(endpoint), DELIVERED)


def test_one_flipped_bit_is_not_shown(
    page: Firefox, broker: ServerProcess, service: PushService
) -> None:
    """The browser authenticates what it decrypts: what is shown is what we sent."""
    device, endpoint = activated(page, broker)
    subscription = service.of(endpoint)
    service.flip_next()
    publish(broker, {"deviceId": device}, notification=notification("flipped"))
    acknowledged(service, subscription, UNDECRYPTABLE)
    publish(broker, {"deviceId": device}, notification=notification("as it was sent"))
    assert page.call("next")["notification"]["title"] == "as it was sent"
    assert [one["title"] for one in page.call("shown")] == ["as it was sent"]
    acknowledged(service, subscription, UNDECRYPTABLE, DELIVERED)


def test_the_largest_notification(
    page: Firefox, broker: ServerProcess, service: PushService
) -> None:
    device, endpoint = activated(page, broker)
    largest = payload(BYTES_MAX)
    publish(broker, {"deviceId": device}, **largest)
    assert page.call("next") == largest
    acknowledged(service, service.of(endpoint), DELIVERED)
    assert service.of(endpoint).sent[0]["content-length"] == "4096"


def test_a_larger_notification_is_not_sent(
    page: Firefox, broker: ServerProcess, service: PushService
) -> None:
    """It is refused here, and for itself: the device is as good as before."""
    device, endpoint = activated(page, broker)
    page.call("watch", options(broker, key=KEY))
    refused = len(service.refusals)
    publish(broker, {"deviceId": device}, **payload(BYTES_MAX + 1))
    report = page.call("report")
    assert (report["deviceId"], report["code"], report["state"]) == (device, 103004, "ACTIVE")
    publish(broker, {"deviceId": device}, notification=notification())
    assert page.call("next")["notification"] == notification()
    assert (len(service.of(endpoint).sent), len(service.refusals)) == (1, refused)


def test_a_subscription_that_is_gone(
    page: Firefox, broker: ServerProcess, service: PushService
) -> None:
    """410 fails the device for good: its address is not asked for again."""
    device, endpoint = activated(page, broker)
    page.call("watch", options(broker, key=KEY))
    assert page.call("unsubscribe")
    service.wait(lambda: service.of(endpoint).is_gone)
    refused = len(service.refusals)
    for _ in range(2):
        publish(broker, {"deviceId": device}, notification=notification())
        report = page.call("report")
        told = (report["deviceId"], report["code"], report["state"])
        assert told == (device, 103005, "FAILED")
    assert [refusal.status for refusal in service.refusals[refused:]] == [410]
    push = ask(broker, "GET", f"/push/deviceRegistrations/{device}")["push"]
    assert (push["state"], push["error"]["code"]) == ("FAILED", 103005)


def test_a_device_that_is_deactivated(
    page: Firefox, broker: ServerProcess, service: PushService
) -> None:
    """By ably-js, with nothing but the device's own token. The browser keeps its subscription, so
    it is the broker that must not push to it, until it belongs to another device."""
    device, endpoint = activated(page, broker)
    page.call("deactivate")
    assert ask(broker, "GET", f"/push/deviceRegistrations?deviceId={device}") == []
    again = activated(page, broker)
    assert again[0] != device
    assert again[1] == endpoint
    publish(broker, {"deviceId": device}, notification=notification("to nobody"))
    publish(broker, {"deviceId": again[0]}, notification=notification("to the new one"))
    assert page.call("next")["notification"]["title"] == "to the new one"
    acknowledged(service, service.of(endpoint), DELIVERED)


def test_a_subscription_to_another_key(
    page: Firefox, broker: ServerProcess, service: PushService
) -> None:
    """The service refuses us there, and nowhere else: other subscriptions of its are notified."""
    page.call("watch", options(broker, key=KEY))
    recipient = page.call("subscribe", another_key())
    device = {"id": "stranger", "platform": "browser", "formFactor": "desktop"}
    device |= {"push": {"recipient": recipient}}
    ask(broker, "PUT", "/push/deviceRegistrations/stranger", device)
    refused = len(service.refusals)
    publish(broker, {"deviceId": "stranger"}, notification=notification("refused"))
    report = page.call("report")
    assert (report["deviceId"], report["code"], report["state"]) == ("stranger", 103008, "ACTIVE")
    assert service.refusals[refused:] == [(403, "not the key of the subscription")]
    page.call("unsubscribe")  # a browser has one key at a time
    ours, endpoint = activated(page, broker)
    publish(broker, {"deviceId": ours}, notification=notification("accepted"))
    assert page.call("next")["notification"]["title"] == "accepted"
    acknowledged(service, service.of(endpoint), DELIVERED)


def test_kill_9(page: Firefox, broker: ServerProcess, service: PushService) -> None:
    """What was accepted is shown, and the key that browsers subscribed with is the broker's still.
    Whether it was sent before the kill cannot be known, so it may be sent again: with its topic."""
    device, endpoint = activated(page, broker)
    publish(broker, {"deviceId": device}, notification=notification("before"))
    broker.kill()
    broker.start()
    assert page.call("next")["notification"]["title"] == "before"
    publish(broker, {"deviceId": device}, notification=notification("after"))
    titles = ["before"]
    while titles[-1] == "before":
        titles.append(page.call("next")["notification"]["title"])
    assert titles[-1] == "after"
    *before, after = (sent["topic"] for sent in service.of(endpoint).sent)
    assert len({*before}) == 1
    assert after not in before
