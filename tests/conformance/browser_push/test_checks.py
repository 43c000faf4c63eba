"""The push service that these tests trust refuses each thing that may be wrong with a request."""

import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from api.push.base64_forms import base64url
from tests.conformance.browser_push import checks
from tests.conformance.browser_push.checks import HEADER_BYTES, Refusal

ORIGIN = "http://127.0.0.1:1"
NOW_S = int(time.time())
OURS, OTHER = generate_private_key(SECP256R1()), generate_private_key(SECP256R1())
CLAIMS = {"aud": ORIGIN, "exp": NOW_S + 3_600, "sub": "mailto:push@example.com"}
RECORD = (4_096).to_bytes(4, "big")
BODY = bytes(16) + RECORD + bytes([65]) + bytes(65) + bytes(17)


def public(key: EllipticCurvePrivateKey) -> str:
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return base64url(point)


def authorization(claims: dict[str, Any], signer: EllipticCurvePrivateKey = OURS) -> str:
    """Whoever signs it, it says that we did."""
    return f"vapid t={jwt.encode(claims, signer, 'ES256')}, k={public(OURS)}"


HEADERS = {
    "authorization": authorization(CLAIMS),
    "content-encoding": "aes128gcm",
    "ttl": "60",
    "urgency": "high",
    "topic": "a" * 32,
}


def refused(headers: dict[str, str], body: bytes = BODY) -> Refusal | None:
    return checks.refusal(headers, body, origin=ORIGIN, key=public(OURS), now_s=NOW_S)


def without(name: str, holder: dict[str, Any]) -> dict[str, Any]:
    return {other: value for other, value in holder.items() if other != name}


def test_nothing_is_wrong() -> None:
    assert refused(HEADERS) is None
    assert refused(HEADERS, BODY + bytes(4_096 - len(BODY))) is None
    assert refused(without("topic", without("urgency", HEADERS))) is None


def test_another_key_than_that_of_the_subscription() -> None:
    theirs = f"vapid t={jwt.encode(CLAIMS, OTHER, 'ES256')}, k={public(OTHER)}"
    assert refused({**HEADERS, "authorization": theirs}) == (403, "not the key of the subscription")


def test_signed_with_another_key_than_it_says() -> None:
    found = refused({**HEADERS, "authorization": authorization(CLAIMS, OTHER)})
    assert found == (401, "Signature verification failed")


def test_another_algorithm() -> None:
    secret = jwt.encode(CLAIMS, public(OURS), "HS256")
    found = refused({**HEADERS, "authorization": f"vapid t={secret}, k={public(OURS)}"})
    assert found == (401, "The specified alg value is not allowed")


@pytest.mark.parametrize("header", ["", "Bearer a.b.c", "vapid t=a.b.c", "WebPush a.b.c"])
def test_no_authorization(header: str) -> None:
    assert refused({**HEADERS, "authorization": header}) == (401, "no VAPID authorization")


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        (CLAIMS | {"aud": "http://127.0.0.1:2"}, "Audience doesn't match"),
        (CLAIMS | {"aud": f"{ORIGIN}/push/1"}, "Audience doesn't match"),
        (CLAIMS | {"aud": [ORIGIN, "https://push.example"]}, "aud must be one origin"),
        (CLAIMS | {"exp": NOW_S}, "expired"),
        (CLAIMS | {"exp": NOW_S + 24 * 3_600 + 1}, "exp is too far ahead"),
        (CLAIMS | {"exp": str(NOW_S + 60)}, "expired"),
        (CLAIMS | {"sub": "push@example.com"}, "sub is no contact"),
        *((without(name, CLAIMS), f'Token is missing the "{name}" claim') for name in CLAIMS),
    ],
)
def test_claims(claims: dict[str, Any], reason: str) -> None:
    assert refused({**HEADERS, "authorization": authorization(claims)}) == (401, reason)


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("content-encoding", None, 415),
        ("content-encoding", "aesgcm", 415),
        ("ttl", None, 400),
        ("ttl", "-1", 400),
        ("ttl", "1.5", 400),
        ("ttl", str(28 * 24 * 3_600 + 1), 400),
        ("urgency", "urgent", 400),
        ("topic", "", 400),
        ("topic", "a" * 33, 400),
        ("topic", "a.b", 400),
    ],
)
def test_headers(name: str, value: str | None, status: int) -> None:
    others = without(name, HEADERS)
    found = refused(others if value is None else {**others, name: value})
    assert found is not None
    assert found.status == status
    assert name in found.reason.lower()


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        (BODY + bytes(4_097 - len(BODY)), (413, "too large")),
        (b"", (400, "too short")),
        (BODY[:-1], (400, "too short")),
        (BODY[:20] + b"\0" + BODY[21:], (400, "the sender's key must be a P-256 point")),
        (
            BODY[:16] + (18).to_bytes(4, "big") + BODY[20:] + b"??",
            (400, "there must be one record"),
        ),
    ],
)
def test_bodies(body: bytes, refusal: tuple[int, str]) -> None:
    assert len(BODY) == HEADER_BYTES + 17
    assert refused(HEADERS, body) == refusal
