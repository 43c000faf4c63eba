"""A strict APNs: it takes what Apple documents, and nothing else.

Checks before it looks at the script: HTTP/2, method, path, provider token (ES256 signature, key
id, team, age), topic, push type, priority, expiration, id, collapse id, and the payload's form and
size.
`delivered` holds what it took. `unregistered` are tokens it answers 410 for.
"""

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from tests.api.push.http_gateway import Answer, Reply, Request, json_reply
from tests.api.push.scripted import Refusal, Script

TOKEN_AGE_S_MAX = 3_600
CLOCK_SKEW_S = 60
PUSH_TYPES = ("alert", "background", "voip", "complication", "fileprovider", "mdm", "location")


@dataclass(frozen=True)
class Delivered:
    token: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class ApnsGateway:
    public_key: EllipticCurvePublicKey
    key_id: str
    team_id: str
    topics: tuple[str, ...]
    clock: Callable[[], int]
    delivered: list[Delivered] = field(default_factory=list)
    unregistered: dict[str, int] = field(default_factory=dict)
    provider_tokens: list[str] = field(default_factory=list)
    script: Script = field(default_factory=Script)

    async def handle(self, request: Request) -> Answer:
        try:
            delivered = self.checked(request)
        except Refusal as refusal:
            return refused(refusal.status, refusal.reason)
        scripted = self.script.next()
        if scripted is not None:
            return scripted
        if delivered.token in self.unregistered:
            return refused(410, "Unregistered", timestamp=self.unregistered[delivered.token])
        self.delivered.append(delivered)
        return Reply(200, headers={"apns-id": delivered.headers["apns-id"]})

    def checked(self, request: Request) -> Delivered:
        if request.http_version != "2":
            raise Refusal(400, "NotHttp2")
        if request.method != "POST":
            raise Refusal(405, "MethodNotAllowed")
        match = re.fullmatch(r"/3/device/(.+)", request.path)
        if not match:
            raise Refusal(404, "BadPath")
        self._check_provider(request.headers.get("authorization", ""))
        _check_device(match[1])
        self._check_topic(request.headers)
        _check_headers(request.headers)
        return Delivered(match[1], request.headers, _checked_body(request))

    def _check_provider(self, authorization: str) -> None:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Refusal(403, "MissingProviderToken")
        try:
            header = jwt.get_unverified_header(token)
            options = {"verify_iat": False, "require": ["iss", "iat"]}
            claims = jwt.decode(token, self.public_key, algorithms=["ES256"], options=options)
        except jwt.PyJWTError:
            raise Refusal(403, "InvalidProviderToken") from None
        if header.get("kid") != self.key_id or claims["iss"] != self.team_id:
            raise Refusal(403, "InvalidProviderToken")
        age_s = self.clock() // 1_000 - claims["iat"]
        if age_s > TOKEN_AGE_S_MAX:
            raise Refusal(403, "ExpiredProviderToken")
        if age_s < -CLOCK_SKEW_S:
            raise Refusal(403, "InvalidProviderToken")
        self._note_provider_token(token)

    def _note_provider_token(self, token: str) -> None:
        if token not in self.provider_tokens:
            self.provider_tokens.append(token)

    def _check_topic(self, headers: dict[str, str]) -> None:
        topic = headers.get("apns-topic")
        if not topic:
            raise Refusal(400, "MissingTopic")
        if topic not in self.topics:
            raise Refusal(400, "TopicDisallowed")


def refused(status: int, reason: str, **more: Any) -> Reply:
    return json_reply(status, {"reason": reason, **more})


def _check_device(token: str) -> None:
    if not re.fullmatch(r"(?:[0-9a-f]{2}){32,100}", token):
        raise Refusal(400, "BadDeviceToken")


def _check_headers(headers: dict[str, str]) -> None:
    push_type, priority = headers.get("apns-push-type"), headers.get("apns-priority")
    if push_type not in PUSH_TYPES:
        raise Refusal(400, "InvalidPushType")
    if priority not in ("10", "5", "1") or (push_type == "background" and priority == "10"):
        raise Refusal(400, "BadPriority")
    if not re.fullmatch(r"[0-9]+", headers.get("apns-expiration", "")):
        raise Refusal(400, "BadExpirationDate")
    if len(headers.get("apns-collapse-id", "").encode()) > 64:
        raise Refusal(400, "BadCollapseId")
    try:
        canonical = str(uuid.UUID(headers.get("apns-id", "")))
    except ValueError:
        canonical = ""
    if headers.get("apns-id") != canonical:
        raise Refusal(400, "BadMessageId")


def _checked_body(request: Request) -> dict[str, Any]:
    limit = 5_120 if request.headers["apns-push-type"] == "voip" else 4_096
    if not request.body:
        raise Refusal(400, "PayloadEmpty")
    if len(request.body) > limit:
        raise Refusal(413, "PayloadTooLarge")
    try:
        body = msgspec.json.decode(request.body)
    except msgspec.DecodeError:
        raise Refusal(400, "BadPayload") from None
    if not isinstance(body, dict) or not isinstance(body.get("aps"), dict):
        raise Refusal(400, "BadPayload")
    return body
