"""Devices of Beams: registered, described, changed and removed; and every error of those calls."""

import re
from pathlib import Path
from typing import Any

import pytest
import trio

from api.push.settings import PushSettings
from tests.api.beams.beams_server import (
    BAD_CREDENTIALS,
    DEVICE_NOT_FOUND,
    ID,
    NOBODY,
    NOT_JSON,
    OTHER,
    P256DH,
    PLATFORMS,
    BeamsServer,
    Refused,
    beams_server,
    is_done,
    refused,
    registration,
    web_token,
)

BAD_REQUEST, UNAUTHORIZED = (400, "Bad request"), (401, "Unauthorized")
NO_TOKEN = {
    "apns": (*BAD_REQUEST, "Missing APNs token."),
    "fcm": (*BAD_REQUEST, "Missing FCM token."),
    "web": (*BAD_REQUEST, "Missing web token."),
}
BAD_TOKEN = {
    "apns": (*UNAUTHORIZED, "Incorrect APNs token supplied."),
    "fcm": (401, "InvalidToken", "Incorrect FCM token supplied."),
    "web": (*UNAUTHORIZED, "Incorrect web token supplied."),
}
NO_BUNDLE = (*BAD_REQUEST, "Missing App Bundle Identifier.")
NO_NEW_TOKEN = (*BAD_REQUEST, "Missing token field with the FCM Registration Id.")
BAD_METADATA = (*BAD_REQUEST, "metadata given is not valid.")
RECIPIENTS = {
    "apns": {
        "transportType": "apns",
        "deviceToken": f"{1:064x}",
        "bundleIdentifier": "org.example.app",
    },
    "fcm": {"transportType": "fcm", "registrationToken": "fcm:token_1"},
    "web": {
        "transportType": "web",
        "targetUrl": "https://push.example.com/send/1",
        "encryptionKey": {"p256dh": P256DH, "auth": "A" * 22},
    },
}
OF_MODEL = {
    "apns": ("ios", "phone", "apns"),
    "fcm": ("android", "phone", "fcm"),
    "web": ("browser", "desktop", "web"),
}
TOO_LONG = "x" * 257


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_registering(beams: BeamsServer, platform: str) -> None:
    id_ = await beams.register(platform)
    assert re.fullmatch(rf"{platform}-[0-9a-f-]{{36}}", id_)
    metadata = registration(platform)["metadata"]
    assert await beams.described(id_) == {
        "id": id_,
        "userId": None,
        "metadata": metadata,
        "deviceMetadata": metadata,
    }
    assert beams.recipient(id_) == RECIPIENTS[platform]
    device = beams.broker.push.device(beams.app, id_, "beams")
    assert device is not None
    assert (device.platform, device.form_factor, device.transport) == OF_MODEL[platform]
    assert beams.broker.push.device(beams.app, id_) is None, "Ably's API shows it"


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_the_same_token_again_is_the_same_device(beams: BeamsServer, platform: str) -> None:
    id_ = await beams.register(platform)
    assert is_done(await beams.ask("POST", platform, id_, "interests", "hello"))
    assert is_done(await beams.set_user(id_))
    assert await beams.register(platform, metadata={"sdkVersion": "9"}) == id_
    again = await beams.described(id_)
    assert (again["userId"], again["metadata"]) == ("alice", {"sdkVersion": "9"})
    assert await beams.interests(id_) == ["hello"]
    assert await beams.register(platform, 2) != id_


async def test_all_who_register_a_token_at_once_are_one_device(beams: BeamsServer) -> None:
    ids: set[str] = set()

    async def register() -> None:
        ids.add(await beams.register("fcm"))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(register)
    assert list(await beams.whole()) == list(ids)


async def test_spellings_of_a_token_are_one_device(beams: BeamsServer) -> None:
    first = await beams.register("apns", token="ab" * 32)
    assert await beams.register("apns", token="AB" * 32, bundleIdentifier="org.example.b") == first
    assert beams.recipient(first)["bundleIdentifier"] == "org.example.b"
    browser = await beams.register("web", token=web_token(expirationTime=None))
    renewed = web_token(expirationTime=1_800_000_000_000, keys={"auth": "B" * 22})
    assert await beams.register("web", token=renewed.rstrip("=")) == browser
    assert beams.recipient(browser)["encryptionKey"]["auth"] == "B" * 22


async def test_the_same_token_elsewhere_is_another_device(beams: BeamsServer) -> None:
    token = "ab" * 32
    first = await beams.register("apns", token=token)
    assert await beams.register("fcm", token=token) != first
    await beams.broker.apps.create("second")
    await beams.broker.beams.ensure("second", OTHER, "s")
    body = registration("apns") | {"token": token}
    elsewhere = await beams.ask("POST", "apns", instance=OTHER, json=body)
    assert elsewhere.json()["id"] != first
    strange = await beams.ask("GET", "apns", elsewhere.json()["id"])
    assert refused(strange) == DEVICE_NOT_FOUND


NO_DEVICES: tuple[tuple[dict[str, Any], Any], ...] = (
    ({"token": None}, NO_TOKEN),
    ({"token": ""}, NO_TOKEN),
    ({"token": 5}, BAD_TOKEN),
    ({"token": ["x"]}, BAD_TOKEN),
    ({"token": "not one"}, BAD_TOKEN),
    ({"metadata": "x"}, BAD_METADATA),
    ({"metadata": {"sdkVersion": 1}}, BAD_METADATA),
    ({"metadata": {"sdkVersion": TOO_LONG}}, BAD_METADATA),
    ({"metadata": {TOO_LONG: "x"}}, BAD_METADATA),
    ({"metadata": {str(number): "x" for number in range(17)}}, BAD_METADATA),
)


async def test_what_cannot_be_registered(beams: BeamsServer) -> None:
    position = beams.broker.log.position
    for platform in PLATFORMS:
        for changed, expected in NO_DEVICES:
            reply = await beams.ask("POST", platform, json=registration(platform) | changed)
            said = expected[platform] if isinstance(expected, dict) else expected
            assert refused(reply) == said, changed
    assert beams.broker.log.position == position


NO_TOKENS: tuple[tuple[str, str], ...] = (
    ("apns", "a" * 62),
    ("apns", "a" * 65),
    ("apns", "a" * 202),
    ("apns", "g" * 64),
    ("apns", "a" * 64 + "\n"),
    ("fcm", "x" * 4_097),
    ("fcm", "é"),
    ("fcm", "a b"),
    ("fcm", "a\x00"),
    ("web", "e30="),
    ("web", "W10="),
    ("web", "!"),
    ("web", web_token() + "A" * 16_384),
    ("web", web_token(None)),
    ("web", web_token("http://push.example.com/")),
    ("web", web_token("https://127.0.0.1/")),
    ("web", web_token("https://user@example.com/")),
    ("web", web_token(keys={"p256dh": "A" * 87})),
    ("web", web_token(keys={"auth": "A"})),
    ("web", web_token(keys={"auth": None})),
)


async def test_tokens_that_cannot_be_one(beams: BeamsServer) -> None:
    for platform, token in NO_TOKENS:
        reply = await beams.ask("POST", platform, json=registration(platform) | {"token": token})
        assert refused(reply) == BAD_TOKEN[platform], token


async def test_only_apns_needs_a_bundle(beams: BeamsServer) -> None:
    for bundle in (None, "", 5, "a b", "a\n", "x" * 256):
        body = registration("apns") | {"bundleIdentifier": bundle}
        assert refused(await beams.ask("POST", "apns", json=body)) == NO_BUNDLE, bundle
        for platform in ("fcm", "web"):
            id_ = await beams.register(platform, bundleIdentifier=bundle)
            assert "bundleIdentifier" not in beams.recipient(id_), bundle


async def test_metadata_may_be_absent_and_nulls_are_not_kept(beams: BeamsServer) -> None:
    bare = await beams.register("fcm", metadata=None)
    assert (await beams.described(bare))["metadata"] == {}
    given = {"sdkVersion": "x" * 256, "macosVersion": None}
    id_ = await beams.register("apns", metadata=given)
    assert (await beams.described(id_))["metadata"] == {"sdkVersion": "x" * 256}


async def test_a_platform_that_is_not_configured(tmp_path: Path) -> None:
    async with beams_server(tmp_path, PushSettings()) as beams:
        for platform in ("apns", "fcm"):
            reply = await beams.ask("POST", platform, json=registration(platform))
            assert refused(reply) == BAD_CREDENTIALS
            unread = registration(platform) | {"token": "\n"}
            assert refused(await beams.ask("POST", platform, json=unread)) == BAD_CREDENTIALS
        assert (await beams.register("web")).startswith("web-")


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_metadata_is_replaced(beams: BeamsServer, platform: str) -> None:
    id_ = await beams.register(platform)
    before = beams.recipient(id_)
    assert is_done(await beams.ask("PUT", platform, id_, "metadata", json={"sdkVersion": "2"}))
    assert (await beams.described(id_))["metadata"] == {"sdkVersion": "2"}
    assert beams.recipient(id_) == before
    reply = await beams.ask("PUT", platform, id_, "metadata", json={"sdkVersion": 2})
    assert refused(reply) == BAD_METADATA
    reply = await beams.ask("PUT", platform, id_, "metadata", json=[])
    assert refused(reply) == NOT_JSON
    assert (await beams.described(id_))["metadata"] == {"sdkVersion": "2"}


async def test_an_fcm_token_is_replaced(beams: BeamsServer) -> None:
    id_ = await beams.register("fcm")
    await beams.set_user(id_)
    assert is_done(await beams.ask("PUT", "fcm", id_, "token", json={"token": "new"}))
    assert beams.recipient(id_) == {"transportType": "fcm", "registrationToken": "new"}
    assert await beams.register("fcm", token="new") == id_
    assert await beams.register("fcm") != id_, "its old token still is its address"
    assert (await beams.described(id_))["userId"] == "alice"


async def test_who_had_the_new_token_before_goes(beams: BeamsServer) -> None:
    old = await beams.register("fcm", token="new")
    id_ = await beams.register("fcm")
    assert is_done(await beams.ask("PUT", "fcm", id_, "token", json={"token": "new"}))
    assert refused(await beams.ask("GET", "fcm", old)) == DEVICE_NOT_FOUND
    assert beams.recipient(id_)["registrationToken"] == "new"


async def test_new_tokens_that_are_none(beams: BeamsServer) -> None:
    id_ = await beams.register("fcm")
    for body in ({}, {"Token": "x"}, *({"token": token} for token in (None, "", 5, "a b"))):
        reply = await beams.ask("PUT", "fcm", id_, "token", json=body)
        assert refused(reply) == NO_NEW_TOKEN, body
        assert beams.recipient(id_) == RECIPIENTS["fcm"], body


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_removing_is_for_good_and_may_be_repeated(beams: BeamsServer, platform: str) -> None:
    id_ = await beams.register(platform)
    kept = await beams.register(platform, 2)
    await beams.ask("PUT", platform, id_, "interests", json={"interests": ["a", "b"]})
    other = PLATFORMS[PLATFORMS.index(platform) - 1]
    for elsewhere in (beams.path(other, id_), beams.path(platform, id_, instance=OTHER)):
        assert is_done(await beams.client.delete(elsewhere))
    assert (await beams.described(id_))["id"] == id_
    for _ in range(2):
        assert is_done(await beams.ask("DELETE", platform, id_))
    assert refused(await beams.ask("GET", platform, id_)) == DEVICE_NOT_FOUND
    assert list(await beams.whole()) == [kept]
    assert await beams.register(platform) != id_


async def test_removing_what_is_not_there(beams: BeamsServer) -> None:
    for device in ("x", f"fcm-{NOBODY}", f"web-{NOBODY}", "%00", "%FF", "a%2Fb"):
        assert is_done(await beams.ask("DELETE", "fcm", device)), device
        assert is_done(await beams.ask("DELETE", "fcm", device, instance=OTHER)), device


CALLS: tuple[tuple[str, str, Any], ...] = (
    ("GET", "", None),
    ("PUT", "metadata", {}),
    ("PUT", "token", {"token": "t"}),
    ("GET", "interests", None),
    ("PUT", "interests", {"interests": []}),
    ("POST", "interests/a", None),
    ("DELETE", "interests/a", None),
)


@pytest.mark.parametrize(("method", "below", "body"), CALLS)
async def test_devices_that_are_not_there(
    beams: BeamsServer, method: str, below: str, body: Any
) -> None:
    """Nor are those of another platform, and of another instance."""
    await beams.broker.apps.create("second")
    await beams.broker.beams.ensure("second", OTHER, "s")
    ids = {platform: await beams.register(platform) for platform in PLATFORMS}
    position = beams.broker.log.position
    for platform in ("fcm",) if below == "token" else PLATFORMS:
        for device, instance in (
            (f"{platform}-{NOBODY}", ID),
            (ids[PLATFORMS[PLATFORMS.index(platform) - 1]], ID),
            (ids[platform], OTHER),
        ):
            parts = (platform, device, below) if below else (platform, device)
            reply = await beams.ask(method, *parts, instance=instance, json=body)
            assert refused(reply) == DEVICE_NOT_FOUND, (device, instance)
    assert beams.broker.log.position == position


@pytest.mark.parametrize(("method", "below", "body"), [c for c in CALLS if "/" not in c[1]])
async def test_ids_that_no_device_can_have(
    beams: BeamsServer, method: str, below: str, body: Any
) -> None:
    for device in ("x", "fcm-", f"FCM-{NOBODY}", f"fcm-{NOBODY}%0A", "%00", "%FF", "a%2Fb"):
        parts = ("fcm", device, below) if below else ("fcm", device)
        assert refused(await beams.ask(method, *parts, json=body)) == DEVICE_NOT_FOUND, device


async def test_platforms_that_there_are_not(beams: BeamsServer) -> None:
    for path in (beams.path("gcm"), beams.path("apns", f"apns-{NOBODY}", "token")):
        reply = await beams.client.put(path, json={"token": "t"})
        assert refused(reply)[:2] == (404, "Not found")


def test_the_errors_here_are_those_of_the_table() -> None:
    """Written out above, so that the table cannot change unseen."""
    from api.beams import errors

    table: set[Refused] = {
        tuple(row) for row in vars(errors).values() if isinstance(row, errors.Refusal)
    }
    for known in (*NO_TOKEN.values(), *BAD_TOKEN.values(), NO_BUNDLE, NO_NEW_TOKEN, BAD_METADATA):
        assert known in table
