"""A browser's subscription, as a device's recipient holds it: read, normalised and checked.

    {transportType: "web", targetUrl, publicVapidKey, encryptionKey: {p256dh, auth}}

ably-js sends `targetUrl` through btoa and the keys in standard base64, browsers give base64url: any
spelling is taken. Refuses, with NotSent, what no notification could be encrypted for: the
message names the field, never its content.
"""

import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey

from api.push.base64_forms import from_base64
from api.push.outcome import NO_ADDRESS

POINT_BYTES = 65
AUTH_BYTES = 16
TEXT_CHARS_MAX = 8_192


@dataclass(frozen=True, kw_only=True)
class WebSubscription:
    """vapid_point: the key the browser subscribed to, if the device says which."""

    target: str = field(repr=False)
    p256dh: EllipticCurvePublicKey = field(repr=False)
    auth: bytes = field(repr=False)
    vapid_point: bytes | None = field(repr=False)


def subscription(recipient: Mapping[str, Any]) -> WebSubscription:
    keys = recipient.get("encryptionKey")
    if not isinstance(keys, Mapping):
        raise NO_ADDRESS.because("encryptionKey must be an object")
    vapid = recipient.get("publicVapidKey")
    return WebSubscription(
        target=target_url(recipient.get("targetUrl")),
        p256dh=_point(_bytes(keys, "p256dh", POINT_BYTES)),
        auth=_bytes(keys, "auth", AUTH_BYTES),
        vapid_point=_bytes(recipient, "publicVapidKey", POINT_BYTES) if vapid else None,
    )


def target_url(value: object) -> str:
    """The URL, whether it came as one or through btoa."""
    if not isinstance(value, str) or not 0 < len(value) <= TEXT_CHARS_MAX:
        raise NO_ADDRESS.because("targetUrl is missing")
    if ":" in value:  # no base64 has one, every URL has
        return value
    try:
        return from_base64(value).decode("ascii")
    except (ValueError, UnicodeDecodeError):
        raise NO_ADDRESS.because("targetUrl is neither a URL nor one in base64") from None


def _bytes(holder: Mapping[str, Any], name: str, length: int) -> bytes:
    value = holder.get(name)
    try:
        found = from_base64(value) if isinstance(value, str) else b""
    except (ValueError, binascii.Error):
        found = b""
    if len(found) != length:
        raise NO_ADDRESS.because(f"{name} must be {length} bytes in base64")
    return found


def _point(encoded: bytes) -> EllipticCurvePublicKey:
    try:
        return EllipticCurvePublicKey.from_encoded_point(SECP256R1(), encoded)
    except ValueError:
        raise NO_ADDRESS.because("p256dh is no point of P-256") from None
