"""What a strict push service asks of a request: RFC 8030, 8188, 8291 and 8292.

A pure function of the request, so that each of its refusals can be shown to be one. It refuses more
than a service in the wild would: what is sent has to be right, not just good enough.
"""

import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from typing import Any, NamedTuple

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey

BODY_BYTES_MAX = 4_096
TTL_S_MAX = 28 * 24 * 3_600
LIFETIME_S_MAX = 24 * 3_600
URGENCIES = ("very-low", "low", "normal", "high")
AUTHORIZATION = re.compile(r"vapid t=([\w.-]+), k=([\w-]+)", re.ASCII)
TOPIC = re.compile(r"[\w-]{1,32}", re.ASCII)
CONTACT = re.compile(r"mailto:[^@\s]+@[^@\s]+|https://\S+")
# aes128gcm: salt, size of a record, length of the key's id, and the key (RFC 8188 2.1, 8291 4).
SALT_BYTES, SIZE_BYTES, POINT_BYTES, TAG_BYTES = 16, 4, 65, 16
HEADER_BYTES = SALT_BYTES + SIZE_BYTES + 1 + POINT_BYTES


class Refusal(NamedTuple):
    status: int
    reason: str


def refusal(
    headers: Mapping[str, str], body: bytes, *, origin: str, key: str, now_s: float
) -> Refusal | None:
    """`headers`: by their names in lower case. `origin`: of the push service. `key`: what the
    browser subscribed with."""
    return (
        _of_authorization(headers.get("authorization", ""), origin, key, now_s)
        or _of_headers(headers)
        or _of_body(body)
    )


def _of_authorization(header: str, origin: str, key: str, now_s: float) -> Refusal | None:
    match = AUTHORIZATION.fullmatch(header)
    if match is None:
        return Refusal(401, "no VAPID authorization")
    token, signer = match.groups()
    if signer != key:
        return Refusal(403, "not the key of the subscription")
    try:
        # Times are checked below, against our clock.
        claims = jwt.decode(
            token,
            EllipticCurvePublicKey.from_encoded_point(SECP256R1(), _bytes(key)),
            algorithms=["ES256"],
            audience=origin,
            options={"require": ["aud", "exp", "sub"], "verify_exp": False},
        )
    except jwt.InvalidTokenError as error:
        return Refusal(401, str(error))
    return _of_claims(claims, origin, now_s)


def _of_claims(claims: dict[str, Any], origin: str, now_s: float) -> Refusal | None:
    if claims["aud"] != origin:
        return Refusal(401, "aud must be one origin")
    if not isinstance(claims["exp"], int) or claims["exp"] <= now_s:
        return Refusal(401, "expired")
    if claims["exp"] > now_s + LIFETIME_S_MAX:
        return Refusal(401, "exp is too far ahead")
    if not CONTACT.fullmatch(claims["sub"]):
        return Refusal(401, "sub is no contact")
    return None


def _of_headers(headers: Mapping[str, str]) -> Refusal | None:
    if headers.get("content-encoding") != "aes128gcm":
        return Refusal(415, "Content-Encoding must be aes128gcm")
    ttl = headers.get("ttl", "")
    if not (ttl.isascii() and ttl.isdigit() and int(ttl) <= TTL_S_MAX):
        return Refusal(400, "TTL must be seconds, at most four weeks")
    if headers.get("urgency", "normal") not in URGENCIES:
        return Refusal(400, "no such Urgency")
    if not TOPIC.fullmatch(headers.get("topic", "none")):
        return Refusal(400, "Topic must be 1 to 32 characters of base64url")
    return None


def _of_body(body: bytes) -> Refusal | None:
    if len(body) > BODY_BYTES_MAX:
        return Refusal(413, "too large")
    if len(body) < HEADER_BYTES + 1 + TAG_BYTES:
        return Refusal(400, "too short")
    record_bytes = int.from_bytes(body[SALT_BYTES : SALT_BYTES + SIZE_BYTES], "big")
    if body[SALT_BYTES + SIZE_BYTES] != POINT_BYTES:
        return Refusal(400, "the sender's key must be a P-256 point")
    if len(body) - HEADER_BYTES > record_bytes:
        return Refusal(400, "there must be one record")
    return None


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
