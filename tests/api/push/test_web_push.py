"""Web Push against a strict service: what the browser decrypts, what each status means."""

from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pytest

from api.push.base64_forms import base64url
from api.push.payload import WEB_BYTES_MAX
from api.push.transports import Transports
from broker.push.transport import (
    BAD_CREDENTIALS,
    NO_RECIPIENT,
    PAYLOAD_REJECTED,
    SENT,
    TOKEN_INVALID,
    UNREACHABLE,
    Result,
    Verdict,
)
from tests.api.push import rig
from tests.api.push.http_gateway import Act, Answer, Reply
from tests.api.push.rig import HELLO, ID, NOW_MS, Now, Web, outgoing


@pytest.fixture
def device(web: Web, web_transports: Transports) -> dict[str, Any]:
    return web.fake.subscribe(web_transports.public_vapid_key)


async def send(transports: Transports, recipient: dict[str, Any], **more: Any) -> Result:
    return await transports.by_type["web"].send(outgoing(recipient, **more))


async def test_a_notification_arrives(
    web: Web, web_transports: Transports, device: dict[str, Any]
) -> None:
    assert await send(web_transports, device) == SENT
    (delivered,) = web.fake.delivered
    assert delivered.body == {"notification": {"title": "Hello", "body": "World"}, "data": {"n": 7}}
    got = {name: delivered.headers[name] for name in ("ttl", "urgency", "topic")}
    assert got == {"ttl": "3600", "urgency": "high", "topic": ID}


async def test_every_attempt_is_another_ciphertext_of_the_same_topic(
    web: Web, web_transports: Transports, device: dict[str, Any]
) -> None:
    for _ in range(2):
        assert await send(web_transports, device) == SENT
    first, second = web.gateway.requests
    assert first.body != second.body
    assert first.headers["topic"] == second.headers["topic"]


async def test_what_nobody_sees_is_not_urgent(
    web: Web, web_transports: Transports, device: dict[str, Any]
) -> None:
    assert await send(web_transports, device, payload={"data": {"n": 1}}) == SENT
    assert web.fake.delivered[0].headers["urgency"] == "normal"


async def test_the_ttl_is_what_is_left(
    web: Web, web_transports: Transports, device: dict[str, Any]
) -> None:
    payload = {**HELLO, "notification": {"title": "x", "ttl": 60}}
    assert await send(web_transports, device, payload=payload) == SENT
    assert await send(web_transports, device, expires_ms=NOW_MS - 1) == SENT
    assert [delivered.headers["ttl"] for delivered in web.fake.delivered] == ["60", "0"]


@pytest.mark.parametrize(("asked", "ttl"), [(0, "0"), (2_419_200, "2419200"), (10**8, "2419200")])
async def test_a_ttl_of_the_web_alone_is_what_the_push_service_is_told(
    web: Web, web_transports: Transports, asked: int, ttl: str
) -> None:
    recipient = web.fake.subscribe(web_transports.public_vapid_key)
    sent = outgoing(recipient, {"web": {"time_to_live": asked, "data": {"a": 1}}})
    assert await web_transports.by_type["web"].send(sent) == SENT
    (delivered,) = web.fake.delivered
    assert (delivered.headers["ttl"], delivered.body) == (ttl, {"data": {"a": 1}})


def _btoa(device: dict[str, Any]) -> dict[str, Any]:
    """As ably-js sends it."""
    keys = {
        name: b64encode(b64decode(value + "==", altchars=b"-_")).decode()
        for name, value in device["encryptionKey"].items()
    }
    target = b64encode(device["targetUrl"].encode()).decode()
    return {**device, "targetUrl": target, "encryptionKey": keys}


def _padded(device: dict[str, Any]) -> dict[str, Any]:
    keys = {name: value + "=" for name, value in device["encryptionKey"].items()}
    return {**device, "encryptionKey": keys, "publicVapidKey": device["publicVapidKey"] + "="}


def _unnamed(device: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in device.items() if name != "publicVapidKey"}


@pytest.mark.parametrize("spelt", [_btoa, _padded, _unnamed])
async def test_any_spelling_of_a_subscription(
    web: Web, web_transports: Transports, device: dict[str, Any], spelt: Any
) -> None:
    assert await send(web_transports, spelt(device)) == SENT
    assert web_transports.by_type["web"].endpoint(outgoing(spelt(device))) == "127.0.0.1"


async def test_the_largest_plaintext_fits(
    web: Web, web_transports: Transports, device: dict[str, Any]
) -> None:
    room = WEB_BYTES_MAX - len('{"data":{"x":""}}')
    assert await send(web_transports, device, payload={"data": {"x": "x" * room}}) == SENT
    assert len(web.gateway.requests[0].body) == 4_096
    result = await send(web_transports, device, payload={"data": {"x": "x" * (room + 1)}})
    assert (result.verdict, result.code) == (Verdict.REJECTED, PAYLOAD_REJECTED)


@pytest.mark.parametrize(
    ("answer", "verdict", "code"),
    [
        (Reply(404), Verdict.DEAD, TOKEN_INVALID),
        (Reply(410), Verdict.DEAD, TOKEN_INVALID),
        (Reply(413), Verdict.REJECTED, PAYLOAD_REJECTED),
        (Reply(302, headers={"location": "http://169.254.169.254/"}), Verdict.REJECTED, 103004),
        (Reply(400), Verdict.MISCONFIGURED, BAD_CREDENTIALS),
        (Reply(401), Verdict.MISCONFIGURED, BAD_CREDENTIALS),
        (Reply(403), Verdict.MISCONFIGURED, BAD_CREDENTIALS),
        (Reply(429), Verdict.TRANSIENT, UNREACHABLE),
        (Reply(500), Verdict.TRANSIENT, UNREACHABLE),
        (Reply(503), Verdict.TRANSIENT, UNREACHABLE),
        (Act.GOAWAY, Verdict.TRANSIENT, UNREACHABLE),
        (Act.HANG_UP, Verdict.TRANSIENT, UNREACHABLE),
    ],
)
async def test_what_an_answer_means(
    web: Web,
    web_transports: Transports,
    device: dict[str, Any],
    answer: Answer,
    verdict: Verdict,
    code: int,
) -> None:
    web.fake.script.then(answer)
    result = await send(web_transports, device)
    assert (result.verdict, result.code) == (verdict, code)
    assert device["targetUrl"] not in result.message
    assert await send(web_transports, device) == SENT
    assert len(web.gateway.requests) == 2  # a redirect is not followed


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_success(
    web: Web, web_transports: Transports, device: dict[str, Any], status: int
) -> None:
    web.fake.script.then(Reply(status))
    assert await send(web_transports, device) == SENT


async def test_retry_after(web: Web, web_transports: Transports, device: dict[str, Any]) -> None:
    date = "Mon, 21 Sep 2026 14:14:20 GMT"
    web.fake.script.then(*[Reply(429, headers={"retry-after": text}) for text in ("9", date, "?")])
    waits = [(await send(web_transports, device)).retry_after_ms for _ in range(3)]
    assert waits == [9_000, 1_790_000_060_000 - NOW_MS, None]


async def test_a_browser_that_unsubscribed(
    web: Web, web_transports: Transports, device: dict[str, Any]
) -> None:
    web.fake.browsers["browser-0"].is_gone = True
    assert (await send(web_transports, device)).verdict is Verdict.DEAD


NOT_A_POINT = base64url(b"\x04" + bytes(64))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"targetUrl": None}, NO_RECIPIENT),
        ({"targetUrl": "%%%"}, NO_RECIPIENT),
        ({"targetUrl": "http://127.0.0.2.example/"}, TOKEN_INVALID),
        ({"targetUrl": "https://user@push.example/"}, TOKEN_INVALID),
        ({"targetUrl": "https://10.0.0.1/"}, TOKEN_INVALID),
        ({"encryptionKey": None}, NO_RECIPIENT),
        (
            {"encryptionKey": {"p256dh": NOT_A_POINT, "auth": "AAAAAAAAAAAAAAAAAAAAAA"}},
            NO_RECIPIENT,
        ),
        ({"encryptionKey": {"p256dh": "%", "auth": "AAAAAAAAAAAAAAAAAAAAAA"}}, NO_RECIPIENT),
        ({"encryptionKey": {"p256dh": NOT_A_POINT, "auth": "AAAA"}}, NO_RECIPIENT),
        ({"publicVapidKey": "AAAA"}, NO_RECIPIENT),
    ],
)
async def test_subscriptions_that_are_none_are_not_asked_about(
    web: Web,
    web_transports: Transports,
    device: dict[str, Any],
    change: dict[str, Any],
    code: int,
) -> None:
    result = await send(web_transports, {**device, **change})
    assert (result.verdict, result.code) == (Verdict.DEAD, code)
    assert web.gateway.requests == []


async def test_a_subscription_to_another_key_is_not_asked_about(
    web: Web, web_transports: Transports, device: dict[str, Any]
) -> None:
    other = {**device, "publicVapidKey": device["encryptionKey"]["p256dh"]}
    result = await send(web_transports, other)
    assert (result.verdict, result.code) == (Verdict.REJECTED, BAD_CREDENTIALS)
    assert result.is_silent
    assert web.gateway.requests == []


async def test_the_vapid_key_is_made_once_and_kept(web: Web, tmp_path: Path, now: Now) -> None:
    keys = set()
    for _ in range(2):
        async with rig.built(web.settings, tmp_path, now) as transports:
            keys.add(transports.public_vapid_key)
    assert len(keys) == 1
    (kept,) = tmp_path.iterdir()
    assert (kept.name, kept.stat().st_mode & 0o777) == ("vapid-key.pem", 0o600)


async def test_vapid_tokens_are_renewed_before_they_end(
    web: Web, web_transports: Transports, device: dict[str, Any], now: Now
) -> None:
    for hours in (0, 5, 2, 30):
        now.pass_minutes(hours * 60)
        assert await send(web_transports, device, expires_ms=now() + 1_000) == SENT
    tokens = [request.headers["authorization"] for request in web.gateway.requests]
    assert [tokens.index(token) for token in tokens] == [0, 0, 2, 3]


async def test_loopback_is_refused_unless_it_is_allowed(web: Web, tmp_path: Path, now: Now) -> None:
    settings = {**web.settings, "allow_loopback_targets": False}
    async with rig.built(settings, tmp_path, now) as transports:
        device = web.fake.subscribe(transports.public_vapid_key)
        result = await send(transports, device)
    assert (result.verdict, result.code) == (Verdict.DEAD, TOKEN_INVALID)
    assert web.gateway.connections == 0
