"""A strict FCM: the token endpoint of Google's accounts, and `messages:send` of HTTP v1.

Checks the grant (RS256 signature, key id, issuer, scope, audience, times), the bearer token and its
end, the project, the message's fields, that data holds texts only, and sizes. `delivered` holds the
messages it took. `unregistered` and `malformed` are tokens that it refuses as Google does.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from tests.api.push.http_gateway import Answer, Reply, Request, json_reply
from tests.api.push.scripted import Refusal, Script

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
TOKEN_LIFETIME_S = 3_600
CLOCK_SKEW_S = 60
BYTES_MAX = 4_096
FIELDS = {"token", "notification", "data", "android", "apns", "webpush", "fcm_options"}
NOTIFICATION_FIELDS = {"title", "body", "image"}
ANDROID_FIELDS = {"priority", "ttl", "collapse_key", "notification", "data", "direct_boot_ok"}
ANDROID_FIELDS |= {"restricted_package_name"}


@dataclass
class FcmGateway:
    public_key: RSAPublicKey
    key_id: str
    client_email: str
    project: str
    clock: Callable[[], int]
    url: str = ""
    delivered: list[dict[str, Any]] = field(default_factory=list)
    unregistered: set[str] = field(default_factory=set)
    malformed: set[str] = field(default_factory=set)
    granted: dict[str, int] = field(default_factory=dict)
    token_script: Script = field(default_factory=Script)
    script: Script = field(default_factory=Script)

    @property
    def token_url(self) -> str:
        return f"{self.url}/token"

    async def handle(self, request: Request) -> Answer:
        try:
            if request.path == "/token":
                return self._grant(request)
            return self._send(request)
        except Refusal as refusal:
            return json_reply(refusal.status, {"error": refusal.reason})

    def revoke_all(self) -> None:
        self.granted.clear()

    def _grant(self, request: Request) -> Answer:
        self._check_grant(request)
        scripted = self.token_script.next()
        if scripted is not None:
            return scripted
        token = f"ya29.{len(self.granted)}.{len(request.body)}.{self.clock()}"
        self.granted[token] = self.clock() + TOKEN_LIFETIME_S * 1_000
        granted = {"access_token": token, "expires_in": TOKEN_LIFETIME_S, "token_type": "Bearer"}
        return json_reply(200, granted)

    def _check_grant(self, request: Request) -> None:
        if request.headers.get("content-type") != "application/x-www-form-urlencoded":
            raise Refusal(400, "invalid_request")
        form = dict(parse_qsl(request.body.decode()))
        if form.get("grant_type") != GRANT:
            raise Refusal(400, "unsupported_grant_type")
        assertion = form.get("assertion", "")
        try:
            header = jwt.get_unverified_header(assertion)
            claims = self._claims(assertion)
        except jwt.PyJWTError:
            raise Refusal(400, "invalid_grant") from None
        now_s = self.clock() // 1_000
        is_in_time = claims["iat"] - CLOCK_SKEW_S <= now_s < claims["exp"] <= claims["iat"] + 3_600
        if header.get("kid") != self.key_id or not is_in_time:
            raise Refusal(400, "invalid_grant")
        if claims["scope"] != SCOPE:
            raise Refusal(400, "invalid_scope")

    def _claims(self, assertion: str) -> dict[str, Any]:
        return jwt.decode(
            assertion,
            self.public_key,
            algorithms=["RS256"],
            audience=self.token_url,
            issuer=self.client_email,
            options={
                "require": ["iss", "scope", "aud", "iat", "exp"],
                "verify_exp": False,
                "verify_iat": False,
            },
        )

    def _send(self, request: Request) -> Answer:
        if request.path != f"/v1/projects/{self.project}/messages:send":
            return error(404, "NOT_FOUND")
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or self.granted.get(token, 0) <= self.clock():
            return error(401, "UNAUTHENTICATED")
        message, refused = _message(request)
        scripted = self.script.next()
        if refused or scripted is not None:
            return refused or scripted or Reply()
        return self._deliver(message)

    def _deliver(self, message: dict[str, Any]) -> Reply:
        if message["token"] in self.unregistered:
            return error(404, "NOT_FOUND", code="UNREGISTERED")
        if message["token"] in self.malformed:
            return error(400, "INVALID_ARGUMENT", code="INVALID_ARGUMENT")
        self.delivered.append(message)
        name = f"projects/{self.project}/messages/{len(self.delivered)}"
        return json_reply(200, {"name": name})


def error(
    status: int, name: str, *, code: str = "", fields: tuple[str, ...] = (), **headers: str
) -> Reply:
    """As Google renders errors: `code` in a detail of FCM's, `fields` in one of the payload's."""
    details: list[dict[str, Any]] = []
    if code:
        details.append({"@type": FCM_ERROR, "errorCode": code})
    if fields:
        violations = [{"field": field, "description": "Invalid value"} for field in fields]
        details.append({"@type": BAD_REQUEST, "fieldViolations": violations})
    found = {"code": status, "message": "something secret", "status": name, "details": details}
    return json_reply(status, {"error": found}, **headers)


def _message(request: Request) -> tuple[dict[str, Any], Reply | None]:
    try:
        document = msgspec.json.decode(request.body, type=dict[str, Any])
    except msgspec.DecodeError:
        return {}, error(400, "INVALID_ARGUMENT", fields=("body",))
    message = document.get("message")
    if set(document) - {"message", "validate_only"} or not isinstance(message, dict):
        return {}, error(400, "INVALID_ARGUMENT", fields=("message",))
    wrong = tuple(_wrong_fields(message))
    return message, error(400, "INVALID_ARGUMENT", fields=wrong) if wrong else None


def _wrong_fields(message: dict[str, Any]) -> list[str]:
    android, notification = message.get("android", {}), message.get("notification", {})
    wrong = [f"message.{name}" for name in set(message) - FIELDS]
    wrong += [f"message.notification.{name}" for name in set(notification) - NOTIFICATION_FIELDS]
    wrong += [f"message.android.{name}" for name in set(android) - ANDROID_FIELDS]
    data = message.get("data", {})
    wrong += [f"message.data[{k}]" for k, v in data.items() if not isinstance(v, str)]
    if android.get("priority", "HIGH") not in ("HIGH", "NORMAL"):
        wrong.append("message.android.priority")
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?s", str(android.get("ttl", "0s"))):
        wrong.append("message.android.ttl")
    if not isinstance(message.get("token"), str):
        wrong.append("message.token")
    if _size(message) > BYTES_MAX:
        wrong.append("message")
    return wrong


def _size(message: dict[str, Any]) -> int:
    parts = {**message.get("data", {}), **message.get("notification", {})}
    return sum(len(f"{name}{value}".encode()) for name, value in parts.items())
