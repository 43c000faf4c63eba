"""The gateways of these tests refuse what the real ones do: each check, shown to fail.

A fake that takes anything would prove nothing about what we send. Here a request is good but for
one thing, signed and encrypted by this file, not by the transports.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import http_ece
import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from api.push.base64_forms import base64url, from_base64
from tests.api.push import rig
from tests.api.push.authority import Authority
from tests.api.push.fcm_gateway import GRANT, SCOPE
from tests.api.push.rig import (
    DEVICE_TOKEN,
    KEY_ID,
    NOW_MS,
    TEAM_ID,
    TOPIC,
    Apns,
    Fcm,
    Keys,
    Web,
)

NOW_S = NOW_MS // 1_000
STRANGER = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
async def http(trusted: Authority) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(http2=True, verify=trusted.client_context()) as client:
        yield client


def provider_token(keys: Keys, **wrong: Any) -> str:
    claims = {"iss": wrong.get("iss", TEAM_ID), "iat": wrong.get("iat", NOW_S)}
    claims = {name: value for name, value in claims.items() if value is not None}
    key = wrong.get("key", keys.apns)
    headers = {"kid": wrong.get("kid", KEY_ID)}
    return jwt.encode(claims, key, algorithm=wrong.get("alg", "ES256"), headers=headers)


def apns_headers(keys: Keys) -> dict[str, str]:
    return {
        "authorization": f"bearer {provider_token(keys)}",
        "apns-topic": TOPIC,
        "apns-push-type": "alert",
        "apns-priority": "10",
        "apns-expiration": "0",
        "apns-id": "00112233-4455-6677-8899-aabbccddeeff",
    }


ALERT = b'{"aps":{"alert":"x"}}'


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"key": STRANGER}, "InvalidProviderToken"),
        ({"kid": "OTHER"}, "InvalidProviderToken"),
        ({"iss": "OTHER"}, "InvalidProviderToken"),
        ({"iss": None}, "InvalidProviderToken"),
        ({"iat": None}, "InvalidProviderToken"),
        ({"iat": NOW_S + 61}, "InvalidProviderToken"),
        ({"iat": NOW_S - 3_601}, "ExpiredProviderToken"),
        ({"key": "x" * 32, "alg": "HS256"}, "InvalidProviderToken"),
        ({"key": "", "alg": "none"}, "InvalidProviderToken"),
    ],
)
async def test_apns_refuses_provider_tokens(
    apns: Apns, keys: Keys, http: httpx.AsyncClient, claims: dict[str, Any], reason: str
) -> None:
    token = provider_token(keys, **claims)
    headers = {**apns_headers(keys), "authorization": f"bearer {token}"}
    url = f"{apns.gateway.url}/3/device/{DEVICE_TOKEN}"
    reply = await http.post(url, headers=headers, content=ALERT)
    assert (reply.status_code, reply.json()["reason"]) == (403, reason)


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        ({}, 200, ""),
        ({"authorization": None}, 403, "MissingProviderToken"),
        ({"apns-topic": None}, 400, "MissingTopic"),
        ({"apns-topic": "org.other"}, 400, "TopicDisallowed"),
        ({"apns-push-type": None}, 400, "InvalidPushType"),
        ({"apns-push-type": "loud"}, 400, "InvalidPushType"),
        ({"apns-priority": "7"}, 400, "BadPriority"),
        ({"apns-push-type": "background"}, 400, "BadPriority"),
        ({"apns-expiration": "soon"}, 400, "BadExpirationDate"),
        ({"apns-id": "x"}, 400, "BadMessageId"),
        ({"apns-id": "00112233445566778899aabbccddeeff"}, 400, "BadMessageId"),
        ({"apns-collapse-id": "x" * 65}, 400, "BadCollapseId"),
    ],
)
async def test_apns_refuses_headers(
    apns: Apns,
    keys: Keys,
    http: httpx.AsyncClient,
    change: dict[str, str | None],
    status: int,
    reason: str,
) -> None:
    headers = {n: v for n, v in {**apns_headers(keys), **change}.items() if v is not None}
    url = f"{apns.gateway.url}/3/device/{DEVICE_TOKEN}"
    reply = await http.post(url, headers=headers, content=ALERT)
    found = reply.json()["reason"] if reply.content else ""
    assert (reply.status_code, found) == (status, reason)


@pytest.mark.parametrize(
    ("path", "body", "status", "reason"),
    [
        ("/3/device/xyz", ALERT, 400, "BadDeviceToken"),
        ("/3/device/" + "A1" * 32, ALERT, 400, "BadDeviceToken"),
        ("/2/device/" + DEVICE_TOKEN, ALERT, 404, "BadPath"),
        ("", b"", 400, "PayloadEmpty"),
        ("", b"[]", 400, "BadPayload"),
        ("", b'{"alert":"x"}', 400, "BadPayload"),
        ("", b'{"aps":{"alert":"' + b"x" * 4_096 + b'"}}', 413, "PayloadTooLarge"),
    ],
)
async def test_apns_refuses_requests(
    apns: Apns,
    keys: Keys,
    http: httpx.AsyncClient,
    path: str,
    body: bytes,
    status: int,
    reason: str,
) -> None:
    url = apns.gateway.url + (path or f"/3/device/{DEVICE_TOKEN}")
    reply = await http.post(url, headers=apns_headers(keys), content=body)
    assert (reply.status_code, reply.json()["reason"]) == (status, reason)


def grant(keys: Keys, fcm: Fcm, **wrong: Any) -> dict[str, str]:
    claims = {
        "iss": rig.CLIENT_EMAIL,
        "scope": SCOPE,
        "aud": fcm.fake.token_url,
        "iat": NOW_S,
        "exp": NOW_S + 3_600,
        **wrong.get("claims", {}),
    }
    claims = {name: value for name, value in claims.items() if value is not None}
    headers = {"kid": wrong.get("kid", rig.ACCOUNT_KEY_ID)}
    key = wrong.get("key", keys.account)
    signed = jwt.encode(claims, key, algorithm=wrong.get("alg", "RS256"), headers=headers)
    return {"grant_type": wrong.get("grant_type", GRANT), "assertion": signed}


@pytest.mark.parametrize(
    ("wrong", "status", "error"),
    [
        ({}, 200, None),
        ({"key": STRANGER, "alg": "ES256"}, 400, "invalid_grant"),
        ({"kid": "other"}, 400, "invalid_grant"),
        ({"claims": {"iss": "x@y.example"}}, 400, "invalid_grant"),
        ({"claims": {"aud": "https://oauth2.googleapis.com/token"}}, 400, "invalid_grant"),
        ({"claims": {"aud": None}}, 400, "invalid_grant"),
        ({"claims": {"exp": None}}, 400, "invalid_grant"),
        ({"claims": {"exp": NOW_S}}, 400, "invalid_grant"),
        ({"claims": {"exp": NOW_S + 3_601}}, 400, "invalid_grant"),
        ({"claims": {"iat": NOW_S + 61, "exp": NOW_S + 90}}, 400, "invalid_grant"),
        ({"claims": {"scope": "email"}}, 400, "invalid_scope"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
    ],
)
async def test_fcm_refuses_grants(
    fcm: Fcm, keys: Keys, http: httpx.AsyncClient, wrong: dict[str, Any], status: int, error: Any
) -> None:
    reply = await http.post(fcm.fake.token_url, data=grant(keys, fcm, **wrong))
    assert (reply.status_code, reply.json().get("error")) == (status, error)


async def test_fcm_refuses_a_grant_of_another_key(
    fcm: Fcm, http: httpx.AsyncClient, keys: Keys
) -> None:
    reply = await http.post(fcm.fake.token_url, data=grant(rig.new_keys(), fcm))
    assert (reply.status_code, reply.json()["error"]) == (400, "invalid_grant")
    tampered = grant(keys, fcm)
    head, _, signature = tampered["assertion"].split(".")
    tampered["assertion"] = ".".join((head, base64url(b'{"iss":"x"}'), signature))
    assert (await http.post(fcm.fake.token_url, data=tampered)).status_code == 400
    unencoded = await http.post(fcm.fake.token_url, content=urlencode(tampered))
    assert unencoded.json()["error"] == "invalid_request"


MESSAGE = {"message": {"token": "x", "data": {"a": "b"}}}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"message": {"data": {}}}, "message.token"),
        ({"message": {"token": "x", "data": {"a": 7}}}, "message.data[a]"),
        ({"message": {"token": "x", "priority": "high"}}, "message.priority"),
        ({"message": {"token": "x", "notification": {"sound": "s"}}}, "message.notification.sound"),
        ({"message": {"token": "x", "android": {"priority": "high"}}}, "message.android.priority"),
        ({"message": {"token": "x", "android": {"ttl": 60}}}, "message.android.ttl"),
        ({"message": {"token": "x", "android": {"ttl": "60"}}}, "message.android.ttl"),
        ({"message": {"token": "x", "data": {"a": "x" * 4_096}}}, "message"),
        ({"message": 7}, "message"),
        ({**MESSAGE, "to": "x"}, "message"),
    ],
)
async def test_fcm_refuses_messages(
    fcm: Fcm, http: httpx.AsyncClient, body: dict[str, Any], field: str
) -> None:
    fcm.fake.granted["t"] = NOW_MS + 1
    url = f"{fcm.gateway.url}/v1/projects/tide/messages:send"
    reply = await http.post(url, headers={"authorization": "Bearer t"}, json=body)
    (detail,) = reply.json()["error"]["details"]
    assert (reply.status_code, detail["fieldViolations"][0]["field"]) == (400, field)


@pytest.mark.parametrize(
    ("token", "project", "status"),
    [
        ("t", "tide", 200),
        ("t", "other", 404),
        ("ended", "tide", 401),
        ("unknown", "tide", 401),
    ],
)
async def test_fcm_refuses_access_tokens_and_projects(
    fcm: Fcm, http: httpx.AsyncClient, token: str, project: str, status: int
) -> None:
    fcm.fake.granted |= {"t": NOW_MS + 1, "ended": NOW_MS}
    url = f"{fcm.gateway.url}/v1/projects/{project}/messages:send"
    reply = await http.post(url, headers={"authorization": f"Bearer {token}"}, json=MESSAGE)
    assert reply.status_code == status


@dataclass
class Subscribed:
    url: str
    key: ec.EllipticCurvePrivateKey
    recipient: dict[str, Any]
    p256dh: bytes
    auth: bytes

    def vapid(self, origin: str, **wrong: Any) -> str:
        claims = {"aud": origin, "exp": NOW_S + 3_600, "sub": "mailto:a@b.example"}
        claims = {n: v for n, v in {**claims, **wrong}.items() if v is not None and n != "key"}
        signed = jwt.encode(claims, wrong.get("key", self.key), algorithm="ES256")
        return f"vapid t={signed}, k={self.recipient['publicVapidKey']}"

    def sealed(self, plaintext: bytes = b"{}", rs: int = 4_096) -> bytes:
        private = ec.generate_private_key(ec.SECP256R1())
        found = http_ece.encrypt(
            plaintext, private_key=private, dh=self.p256dh, auth_secret=self.auth, rs=rs
        )
        return bytes(found)


def _point(key: ec.EllipticCurvePrivateKey) -> str:
    return base64url(key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))


@pytest.fixture
def subscribed(web: Web) -> Subscribed:
    key = ec.generate_private_key(ec.SECP256R1())
    recipient = web.fake.subscribe(_point(key))
    browser = web.fake.browsers["browser-0"]
    return Subscribed(
        recipient["targetUrl"], key, recipient, from_base64(browser.p256dh), browser.auth
    )


def web_headers(authorization: str) -> dict[str, str]:
    return {"ttl": "60", "content-encoding": "aes128gcm", "authorization": authorization}


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({}, 201),
        ({"key": STRANGER}, 403),
        ({"aud": "https://push.example"}, 403),
        ({"aud": None}, 403),
        ({"exp": None}, 403),
        ({"exp": NOW_S - 60}, 403),
        ({"exp": NOW_S + 86_401}, 403),
        ({"sub": None}, 403),
        ({"sub": "me"}, 403),
    ],
)
async def test_the_push_service_refuses_vapid_tokens(
    web: Web, http: httpx.AsyncClient, subscribed: Subscribed, wrong: dict[str, Any], status: int
) -> None:
    headers = web_headers(subscribed.vapid(web.fake.url, **wrong))
    reply = await http.post(subscribed.url, headers=headers, content=subscribed.sealed())
    assert reply.status_code == status


async def test_the_push_service_refuses_another_key_than_was_subscribed_to(
    web: Web, http: httpx.AsyncClient, subscribed: Subscribed
) -> None:
    token = subscribed.vapid(web.fake.url, key=STRANGER).partition(",")[0]
    headers = web_headers(f"{token}, k={_point(STRANGER)}")
    reply = await http.post(subscribed.url, headers=headers, content=subscribed.sealed())
    assert (reply.status_code, reply.text) == (403, "not the key that was subscribed to")


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"ttl": None}, 400),
        ({"ttl": "soon"}, 400),
        ({"content-encoding": "aesgcm"}, 415),
        ({"authorization": None}, 401),
        ({"authorization": "WebPush x"}, 401),
        ({"urgency": "very"}, 400),
        ({"topic": "x" * 33}, 400),
        ({"topic": "a.b"}, 400),
    ],
)
async def test_the_push_service_refuses_headers(
    web: Web,
    http: httpx.AsyncClient,
    subscribed: Subscribed,
    change: dict[str, str | None],
    status: int,
) -> None:
    good = web_headers(subscribed.vapid(web.fake.url))
    headers = {n: v for n, v in {**good, **change}.items() if v is not None}
    reply = await http.post(subscribed.url, headers=headers, content=subscribed.sealed())
    assert reply.status_code == status


async def test_the_push_service_refuses_bodies(
    web: Web, http: httpx.AsyncClient, subscribed: Subscribed
) -> None:
    headers = web_headers(subscribed.vapid(web.fake.url))
    sealed = subscribed.sealed()
    tampered = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for_another = Subscribed("", STRANGER, {}, subscribed.p256dh, bytes(16)).sealed()
    bodies = {400: [b"", b"plain", tampered, for_another], 413: [subscribed.sealed(bytes(4_000))]}
    for status, refused in bodies.items():
        for body in refused:
            reply = await http.post(subscribed.url, headers=headers, content=body)
            assert reply.status_code == status
    assert web.fake.delivered == []


async def test_the_push_service_refuses_what_is_not_subscribed(
    web: Web, http: httpx.AsyncClient, subscribed: Subscribed
) -> None:
    headers = web_headers(subscribed.vapid(web.fake.url))
    reply = await http.post(f"{web.fake.url}/push/x", headers=headers, content=subscribed.sealed())
    assert reply.status_code == 404
    web.fake.browsers["browser-0"].is_gone = True
    reply = await http.post(subscribed.url, headers=headers, content=subscribed.sealed())
    assert reply.status_code == 410
