"""Publishing to interests and to users: who is reached, with what, and what is refused."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.beams.beams_server import ID, NOT_JSON, OTHER, Refused, refused
from tests.api.beams.publishing import HELLO, KEY, Publishing, publishing
from tests.broker.acting import Time

SCHEMA = (422, "Unprocessable Entity", "JSON does not our match schema.")
KIB = 1_024


@pytest.fixture
async def beams(tmp_path: Path, time: Time) -> AsyncIterator[Publishing]:
    async with publishing(tmp_path, time) as running:
        yield running


async def test_each_platform_gets_its_own_part(beams: Publishing) -> None:
    await beams.device("apns-1", "a")
    token = await beams.device("fcm-1", "a")
    await beams.device("web-1", "a")
    id_ = await beams.published(
        {
            "interests": ["a"],
            "apns": {"aps": {"alert": "Hi"}, "data": {"n": 1}},
            "fcm": {"notification": {"title": "Hi"}, "data": {"n": "1"}, "priority": "high"},
            "web": {"notification": {"title": "Hi", "deep_link": "https://a/"}, "time_to_live": 7},
        }
    )
    assert re.fullmatch(r"pubid-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", id_)
    await beams.until_delivered()
    pusher = {"instanceId": ID, "publishId": id_, "hasDisplayableContent": True, "hasData": True}
    (at_apple,) = beams.apns.fake.delivered
    assert at_apple.body == {"aps": {"alert": "Hi"}, "data": {"n": 1, "pusher": pusher}}
    (at_google,) = beams.fcm.fake.delivered
    assert json.loads(at_google["data"].pop("pusher")) == pusher
    assert at_google == {
        "token": token,
        "notification": {"title": "Hi"},
        "data": {"n": "1"},
        "android": {"priority": "HIGH", "ttl": "2419200s"},
    }
    assert beams.at_browsers == [
        {
            "notification": {"title": "Hi", "deep_link": "https://a/"},
            "data": {"pusher": pusher | {"hasData": False}},
        }
    ]
    assert beams.web.fake.delivered[0].headers["ttl"] == "7"


async def test_a_silent_one_says_so(beams: Publishing) -> None:
    await beams.device("apns-1", "a")
    await beams.device("fcm-1", "a")
    await beams.device("web-1", "a")
    silent = {"apns": {"aps": {"content-available": 1}}, "fcm": {"data": {"a": "b"}}, "web": {}}
    await beams.published({"interests": ["a"], **silent})
    await beams.until_delivered()
    (at_apple,), (at_google,) = beams.apns.fake.delivered, beams.fcm.fake.delivered
    has = [at_apple.body["data"]["pusher"], json.loads(at_google["data"]["pusher"])]
    has.append(beams.at_browsers[0]["data"]["pusher"])
    assert [one["hasDisplayableContent"] for one in has] == [False, False, False]
    assert [one["hasData"] for one in has] == [False, True, False]
    assert at_apple.headers["apns-push-type"] == "background"


async def test_the_topic_at_apple_is_the_bundle_of_the_device(beams: Publishing) -> None:
    beams.apns.fake.topics = ("org.example.other",)
    await beams.device("apns-1", "a", bundleIdentifier="org.example.other")
    await beams.published({"interests": ["a"], "apns": {"aps": {"alert": "Hi"}}})
    await beams.until_delivered()
    (at_apple,) = beams.apns.fake.delivered
    assert at_apple.headers["apns-topic"] == "org.example.other"


async def test_who_has_several_of_the_interests_is_told_once(beams: Publishing) -> None:
    await beams.device("web-1", "a", "b")
    await beams.device("web-2", "b")
    await beams.device("web-3", "c")
    for path in ("/interests", ""):
        before = len(beams.at_browsers)
        reply = await beams.publish(path, {"interests": ["a", "b", "a"], "web": HELLO})
        assert reply.status_code == 200
        await beams.until_delivered()
        assert len(beams.at_browsers) == before + 2


async def test_users_are_reached_on_devices_of_beams_that_there_is_a_part_for(
    beams: Publishing,
) -> None:
    await beams.device("web-1", user="é/1")
    await beams.device("web-2", user="bob")
    await beams.device("web-3")
    await beams.device("fcm-1", user="bob")
    await beams.ably_device("bob")
    await beams.published({"users": ["bob", "é/1", "nobody"], "web": HELLO})
    await beams.until_delivered()
    assert {one.browser for one in beams.web.fake.delivered} == {"browser-0", "browser-1"}
    assert (beams.fcm.fake.delivered, beams.receiver.requests) == ([], [])


BAD_BODIES: dict[str, Any] = {
    "empty": {},
    "no-names": {"web": HELLO},
    "no-interests": {"interests": [], "web": HELLO},
    "101-interests": {"interests": [f"i{n}" for n in range(101)], "web": HELLO},
    "interests-text": {"interests": "a", "web": HELLO},
    "interest-number": {"interests": [1], "web": HELLO},
    "interest-empty": {"interests": [""], "web": HELLO},
    "interest-165": {"interests": ["i" * 165], "web": HELLO},
    "interest-charset": {"interests": ["a b"], "web": HELLO},
    "interest-newline": {"interests": ["a\n"], "web": HELLO},
    "users-too": {"interests": ["a"], "users": ["b"], "web": HELLO},
    "no-part": {"interests": ["a"]},
    "null-parts": {"interests": ["a"], "web": None, "fcm": None, "apns": None},
    "part-text": {"interests": ["a"], "web": "hello"},
    "data-text": {"interests": ["a"], "web": {"data": "x"}},
    "apns-data-text": {"interests": ["a"], "apns": {"aps": {}, "data": "x"}},
    "notification-list": {"interests": ["a"], "fcm": {"notification": []}},
    "aps-text": {"interests": ["a"], "apns": {"aps": "x"}},
    "apns-header": {"interests": ["a"], "apns": {"apns-headers": {"x": "y"}}},
    "fcm-android-text": {"interests": ["a"], "fcm": {"android": "x"}},
    "pusher-in-data": {"interests": ["a"], "web": {"data": {"pusher": {}}}},
    "ttl-negative": {"interests": ["a"], "web": {"time_to_live": -1}},
    "ttl-five-weeks": {"interests": ["a"], "web": {"time_to_live": 2_419_201}},
    "ttl-text": {"interests": ["a"], "fcm": {"time_to_live": "1"}},
    "ttl-bool": {"interests": ["a"], "web": {"time_to_live": True}},
    "huge-number": {"interests": ["a"], "web": {"data": {"a": 2**64}}},
    "webhook-number": {"interests": ["a"], "web": HELLO, "webhookUrl": 1},
}
BAD_USERS: dict[str, Any] = {
    "no-names": {"web": HELLO},
    "no-users": {"users": [], "web": HELLO},
    "1001-users": {"users": [f"u{n}" for n in range(1_001)], "web": HELLO},
    "user-empty": {"users": [""], "web": HELLO},
    "user-165": {"users": ["é" * 165], "web": HELLO},
    "user-null": {"users": [None], "web": HELLO},
    "interests-too": {"users": ["a"], "interests": ["b"], "web": HELLO},
}


@pytest.mark.parametrize(("to", "bodies"), [("/interests", BAD_BODIES), ("/users", BAD_USERS)])
async def test_what_is_not_of_the_schema(
    beams: Publishing, to: str, bodies: dict[str, Any]
) -> None:
    position = beams.broker.log.position
    for name, body in bodies.items():
        assert refused(await beams.publish(to, body)) == SCHEMA, name
    assert beams.broker.log.position == position


async def test_the_limits_can_be_reached(beams: Publishing) -> None:
    names = [f"{n:0164}" for n in range(50)]
    await beams.published({"interests": names, "web": HELLO, "fcm": None, "more": 1})
    await beams.published({"interests": [f"i{n}" for n in range(100)], "web": HELLO})
    await beams.published({"users": [f"{n:0180}"[:164] for n in range(1_000)], "web": HELLO})
    await beams.published({"users": ["é" * 164], "web": {"time_to_live": 2_419_200}})


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"apns": {"aps": {"alert": "x" * 4_096}}}, "apns: the payload is larger than 4096 bytes"),
        ({"fcm": {"data": {"a": "x" * 4_096}}}, "fcm: the payload is larger than 4096 bytes"),
        ({"web": {"data": {"a": "x" * 4_096}}}, "web: the payload is larger than 3993 bytes"),
    ],
    ids=["apns", "fcm", "web"],
)
async def test_what_no_provider_would_take(
    beams: Publishing, part: dict[str, Any], said: str
) -> None:
    position = beams.broker.log.position
    reply = await beams.publish("/interests", {"interests": ["a"], **part})
    assert refused(reply) == (422, "Unprocessable Entity", said)
    assert beams.broker.log.position == position


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        ("http://mysite.com/", "webhookUrl: the target must be https"),
        ("https://10.0.0.1/", "webhookUrl: the target's address is not a public one"),
        ("https://u:p@192.168.0.1/", "webhookUrl: the target's address is not a public one"),
        ("", "webhookUrl: the target has no host"),
    ],
    ids=["plain", "private", "private-user", "empty"],
)
async def test_a_hook_that_is_not_asked_for(beams: Publishing, hook: str, said: str) -> None:
    reply = await beams.publish("", {"interests": ["a"], "web": HELLO, "webhookUrl": hook})
    assert refused(reply) == (422, "Unprocessable Entity", said)


WAYS = {"bare": "", "interests": "/interests", "users": "/users"}
PUBLISH = "/publish_api/v1/instances/{}/publishes{}"
COMMON: dict[str, tuple[dict[str, Any], str, Refused]] = {
    "400-content-type": (
        {"headers": {"Content-Type": "text/plain"}},
        ID,
        (400, "Invalid content type", "Only application/json is supported."),
    ),
    "400-no-content-type": (
        {"headers": {"Content-Type": ""}},
        ID,
        (400, "Invalid content type", "Only application/json is supported."),
    ),
    "400-no-instance": (
        {},
        "",
        (400, "Incomplete Request", "instance-id param is missing from path."),
    ),
    "400-bad-instance": ({}, "x", (400, "Bad Request", "instance-id given is not valid.")),
    "400-no-authorization": (
        {"headers": {"Authorization": None}},
        ID,
        (400, "Incomplete Request", "Authorization header is missing."),
    ),
    "400-not-json": ({"content": b"{"}, ID, NOT_JSON),
    "400-no-object": ({"content": b"[]"}, ID, NOT_JSON),
    "400-no-body": ({"content": b""}, ID, NOT_JSON),
    "400-deep": ({"content": b'{"a":' * 100 + b"1" + b"}" * 100}, ID, NOT_JSON),
    "401-wrong-key": (
        {"headers": {"Authorization": f"Bearer {KEY}x"}},
        ID,
        (401, "Unauthorized", "Incorrect API Key."),
    ),
    "401-wrong-scheme": (
        {"headers": {"Authorization": f"Basic {KEY}"}},
        ID,
        (401, "Unauthorized", "Incorrect API Key."),
    ),
    "401-not-ascii": (
        {"headers": {"Authorization": "Bearer é".encode()}},
        ID,
        (401, "Unauthorized", "Incorrect API Key."),
    ),
    "404-unknown-instance": (
        {},
        OTHER,
        (404, "Instance not found", "Could not find the instance."),
    ),
    "422-schema": ({"content": b"{}"}, ID, SCHEMA),
}


@pytest.mark.parametrize("way", WAYS)
async def test_errors_of_publishing(beams: Publishing, way: str) -> None:
    body = b'{"users":["a"],"web":{}}' if way == "users" else b'{"interests":["a"],"web":{}}'
    position = beams.broker.log.position
    for row, (sent, instance, expected) in COMMON.items():
        headers = {"Content-Type": "application/json"} | sent.get("headers", {})
        asked = {"content": body, **sent, "headers": headers}
        path = PUBLISH.format(instance, WAYS[way])
        assert refused(await beams.call("POST", path, **asked)) == expected, row
        assert beams.broker.log.position == position, row


async def test_422_what_the_publisher_could_not_be_told_again(beams: Publishing) -> None:
    body = {"interests": ["a"], "web": HELLO, "webhookUrl": beams.receiver.url, "more": 2**64}
    position = beams.broker.log.position
    assert refused(await beams.publish("", body)) == SCHEMA
    assert beams.broker.log.position == position


@pytest.mark.parametrize("is_chunked", [False, True], ids=["sized", "chunked"])
@pytest.mark.parametrize(("way", "kib"), [("bare", 10), ("interests", 10), ("users", 200)])
async def test_a_body_is_too_large(beams: Publishing, way: str, kib: int, is_chunked: bool) -> None:
    field = "users" if way == "users" else "interests"
    head = b'{"%b":["a"],"web":{},"x":"' % field.encode()
    path = PUBLISH.format(ID, WAYS[way])

    async def send(size: int) -> Any:
        body = head + b"x" * (size - len(head) - 2) + b'"}'

        async def parts() -> AsyncIterator[bytes]:
            yield body

        headers = {"Content-Type": "application/json"}
        content = parts() if is_chunked else body
        return await beams.call("POST", path, content=content, headers=headers)

    assert (await send(kib * KIB)).status_code == 200
    for size in (kib * KIB + 1,) if is_chunked else (kib * KIB + 1, 2_000 * KIB):
        said = f"Request body size is too large (max {kib}KiB)."
        assert refused(await send(size)) == (400, "Bad request", said)


async def test_a_hundred_a_second(beams: Publishing, time: Time) -> None:
    limited = "Too many requests being made in quick succession (max 100 RPS)."
    expected = (429, "Rate Limited", limited)
    body = {"interests": ["a"], "web": {}}
    for _ in range(100):
        wrong = {"Authorization": "Bearer wrong"}
        assert (await beams.publish("", body, headers=wrong)).status_code == 401
    for _ in range(100):
        assert (await beams.publish("", body)).status_code == 200
    for to in ("", "/interests", "/users"):
        assert refused(await beams.publish(to, body)) == expected
    await time.passes(10, beams)  # and a tick of timers, 25 ms
    for _ in range(3):
        assert (await beams.publish("", body)).status_code == 200
    assert refused(await beams.publish("", body)) == expected
    user = f"/customer_api/v1/instances/{ID}/users/u"
    assert refused(await beams.call("DELETE", user)) == expected
