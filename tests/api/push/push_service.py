"""A strict Web Push service, and the browsers that subscribe to it.

Checks TTL, Urgency, Topic, the encoding, the size, and VAPID (RFC 8292: signature by `k`, audience,
end within a day, a subject, and that `k` is the key the browser subscribed to). A real service
cannot read what it carries; this one holds the browsers' private keys and refuses what they could
not decrypt. `delivered` holds the plaintexts.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import http_ece
import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from api.push.base64_forms import base64url, from_base64
from tests.api.push.http_gateway import Answer, Reply, Request
from tests.api.push.scripted import Refusal, Script

BYTES_MAX = 4_096
DAY_S = 86_400
CLOCK_SKEW_S = 60
_VAPID = re.compile(r"vapid t=([\w.-]+), ?k=([\w-]+)")


@dataclass
class Browser:
    """A subscription, with what only the browser knows."""

    name: str
    vapid_key: str
    private: ec.EllipticCurvePrivateKey
    auth: bytes
    is_gone: bool = False

    @property
    def p256dh(self) -> str:
        point = self.private.public_key().public_bytes(
            Encoding.X962, PublicFormat.UncompressedPoint
        )
        return base64url(point)

    def decrypted(self, body: bytes) -> bytes:
        plain = http_ece.decrypt(
            body, private_key=self.private, auth_secret=self.auth, version="aes128gcm"
        )
        return bytes(plain)


@dataclass(frozen=True)
class Delivered:
    browser: str
    headers: dict[str, str]
    plaintext: bytes

    @property
    def body(self) -> Any:
        return msgspec.json.decode(self.plaintext)


@dataclass
class PushService:
    clock: Callable[[], int]
    url: str = ""
    browsers: dict[str, Browser] = field(default_factory=dict)
    delivered: list[Delivered] = field(default_factory=list)
    script: Script = field(default_factory=Script)

    def subscribe(self, vapid_key: str) -> dict[str, Any]:
        """The recipient that a device registers."""
        name = f"browser-{len(self.browsers)}"
        private = ec.generate_private_key(ec.SECP256R1())
        browser = Browser(name, vapid_key, private, b"0123456789abcdef")
        self.browsers[name] = browser
        return {
            "transportType": "web",
            "targetUrl": f"{self.url}/push/{name}",
            "publicVapidKey": vapid_key,
            "encryptionKey": {"p256dh": browser.p256dh, "auth": base64url(browser.auth)},
        }

    async def handle(self, request: Request) -> Answer:
        try:
            delivered = self.checked(request)
        except Refusal as refusal:
            return Reply(refusal.status, refusal.reason.encode())
        scripted = self.script.next()
        if scripted is not None:
            return scripted
        self.delivered.append(delivered)
        location = f"{self.url}/message/{len(self.delivered)}"
        return Reply(201, headers={"location": location})

    def checked(self, request: Request) -> Delivered:
        browser = self.browsers.get(request.path.removeprefix("/push/"))
        if request.method != "POST" or browser is None:
            raise Refusal(404, "no such subscription")
        _check_headers(request.headers)
        self._check_vapid(request.headers.get("authorization", ""), browser)
        if len(request.body) > BYTES_MAX:
            raise Refusal(413, "too large")
        if browser.is_gone:
            raise Refusal(410, "unsubscribed")
        try:
            plaintext = browser.decrypted(request.body)
        except (http_ece.ECEException, ValueError):
            raise Refusal(400, "the browser could not decrypt it") from None
        return Delivered(browser.name, request.headers, plaintext)

    def _check_vapid(self, authorization: str, browser: Browser) -> None:
        match = _VAPID.fullmatch(authorization)
        if not match:
            raise Refusal(401, "no VAPID")
        token, key = match.groups()
        if key != browser.vapid_key:
            raise Refusal(403, "not the key that was subscribed to")
        try:
            point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), from_base64(key))
            options = {"require": ["aud", "exp", "sub"], "verify_exp": False}
            claims = jwt.decode(
                token, point, algorithms=["ES256"], audience=self.url, options=options
            )
        except (jwt.PyJWTError, ValueError):
            raise Refusal(403, "bad VAPID token") from None
        now_s = self.clock() // 1_000
        if not now_s - CLOCK_SKEW_S < claims["exp"] <= now_s + DAY_S:
            raise Refusal(403, "VAPID token out of time")
        if not claims["sub"].startswith(("mailto:", "https:")):
            raise Refusal(403, "bad VAPID subject")


def _check_headers(headers: dict[str, str]) -> None:
    if not re.fullmatch(r"[0-9]+", headers.get("ttl", "")):
        raise Refusal(400, "no TTL")
    if headers.get("content-encoding") != "aes128gcm":
        raise Refusal(415, "not aes128gcm")
    if headers.get("urgency", "normal") not in ("very-low", "low", "normal", "high"):
        raise Refusal(400, "bad Urgency")
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", headers.get("topic", "t")):
        raise Refusal(400, "bad Topic")
