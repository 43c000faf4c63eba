"""A strict Matrix push gateway, of both kinds: it takes what the APIs document, and nothing else.

Checks before it looks at the script: method, path, content type, that JSON is what it says, every
member and its type, the sizes, that ids in a batch differ. What is encrypted it decrypts with the
key of the phone that it is for, as that would. `delivered` holds what it took, `texts` what the
phones read. `rejected` are pushkeys that it names dead, `earlier` some that it names though nobody
asked; `verdicts` and `poison` are what it says of single items. `held`: it answers nobody before.
"""

import json
from dataclasses import dataclass, field
from typing import Any

import msgspec
import trio
from cryptography.exceptions import InvalidTag

from tests.api.push.http_gateway import Answer, Reply, Request, json_reply
from tests.api.push.scripted import Refusal, Script
from tests.broker.push.gematik_client import Phone, opened

NOTIFY = "/_matrix/push/v1/notify"
PLAIN_BATCH, ENCRYPTED_BATCH = "/notify/batch", "/notifyEncrypted/batch"
BATCH_MAX = 100
REQUEST_BYTES_MAX = 256_000
INVALID = "Invalid data format"
TOO_MANY = "Batch size exceeds maximum limit"
DUPLICATES = "Duplicate notification IDs in batch"

PLAIN = {
    "event_id": str,
    "room_id": str,
    "type": str,
    "sender": str,
    "sender_display_name": str,
    "room_name": str,
    "room_alias": str,
    "user_is_target": bool,
    "prio": str,
    "content": dict,
    "counts": dict,
    "devices": list,
}
ENCRYPTED = {
    "ciphertext": str,
    "time_message_encrypted": str,
    "key_identifier": str,
    "identifier": str,
    "prio": str,
    "counts": dict,
    "device": dict,
}
DEVICE = {"app_id": str, "pushkey": str, "pushkey_ts": int, "data": dict, "tweaks": dict}


@dataclass
class MatrixGateway:
    """base: what stands before the paths of gematik's API. phones: by key identifier."""

    base: str = "/push/v1"
    phones: dict[str, Phone] = field(default_factory=dict)
    delivered: list[dict[str, Any]] = field(default_factory=list)
    texts: list[dict[str, Any]] = field(default_factory=list)
    batches: list[list[str]] = field(default_factory=list)
    rejected: set[str] = field(default_factory=set)
    earlier: list[str] = field(default_factory=list)
    verdicts: dict[str, dict[str, Any]] = field(default_factory=dict)
    poison: set[str] = field(default_factory=set)
    held: trio.Event | None = None
    news: trio.Event = field(default_factory=trio.Event)
    too_large: int = REQUEST_BYTES_MAX
    script: Script = field(default_factory=Script)

    async def until(self, count: int) -> None:
        """So many notifications were delivered, in all."""
        while len(self.delivered) < count:
            self.news = trio.Event()
            await self.news.wait()

    async def handle(self, request: Request) -> Answer:
        if self.held is not None:
            await self.held.wait()
        try:
            return self.script.next() or self._answer(request, self._checked(request))
        except Refusal as refusal:
            return json_reply(refusal.status, {"error": refusal.reason})

    def _checked(self, request: Request) -> Any:
        if request.method != "POST":
            raise Refusal(405, "method")
        known = (NOTIFY, self.base + PLAIN_BATCH, self.base + ENCRYPTED_BATCH)
        if request.path not in known:
            raise Refusal(404, "path")
        if request.headers.get("content-type") != "application/json":
            raise Refusal(400, INVALID)
        if len(request.body) > self.too_large:
            raise Refusal(413, "Batch request payload is too large.")
        try:
            return json.loads(request.body)
        except ValueError:
            raise Refusal(400, INVALID) from None

    def _answer(self, request: Request, body: Any) -> Answer:
        if request.path == NOTIFY:
            members(body, {"notification": dict}, "notification")
            rejected = self._take(body["notification"], is_encrypted=False)
            return json_reply(200, {"rejected": rejected + self.earlier})
        return self._batch(body, is_encrypted=request.path.endswith(ENCRYPTED_BATCH))

    def _batch(self, body: Any, is_encrypted: bool) -> Answer:
        members(body, {"notifications": list}, "notifications")
        items = body["notifications"]
        for item in items:
            members(item, {"id": str, "notification": dict}, "id", "notification")
            if not 0 < len(item["id"]) <= 64 or item["id"] in self.poison:
                raise Refusal(400, INVALID)
        if not 1 <= len(items) <= BATCH_MAX:
            raise Refusal(400, TOO_MANY)
        ids = [item["id"] for item in items]
        if len(set(ids)) < len(ids):
            raise Refusal(400, DUPLICATES)
        self.batches.append(ids)
        results = [self._result(item, is_encrypted) for item in items]
        counts = {"total": len(items), "successful": 0, "failed": 0, "partial": 0}
        # In another order than they came: they are to be found by id.
        return json_reply(200, {"results": results[::-1], "summary": counts})

    def _result(self, item: dict[str, Any], is_encrypted: bool) -> dict[str, Any]:
        said = self.verdicts.get(item["id"])
        if said is not None:
            return {"id": item["id"], **said}
        rejected = self._take(item["notification"], is_encrypted)
        status = "partial" if rejected else "success"
        return {"id": item["id"], "status": status, "rejected": rejected + self.earlier}

    def _take(self, notification: dict[str, Any], is_encrypted: bool) -> list[str]:
        """The pushkeys that it rejects."""
        check_notification(notification, is_encrypted)
        devices = [notification["device"]] if is_encrypted else notification["devices"]
        rejected = [one["pushkey"] for one in devices if one["pushkey"] in self.rejected]
        if not rejected:
            self.delivered.append(notification)
            if is_encrypted:
                self.texts.append(self._read(notification))
            self.news.set()
        return rejected

    def _read(self, notification: dict[str, Any]) -> dict[str, Any]:
        """As the phone does. What it cannot read is a failure of the test, not of the gateway."""
        phone = self.phones[notification["key_identifier"]]
        try:
            text = opened(
                phone.key(notification["time_message_encrypted"]), notification["ciphertext"]
            )
        except InvalidTag:
            raise AssertionError("the phone cannot decrypt it") from None
        found = json.loads(text)
        assert isinstance(found, dict)
        return found


def check_notification(notification: dict[str, Any], is_encrypted: bool) -> None:
    if is_encrypted:
        needed = ("ciphertext", "time_message_encrypted", "key_identifier", "device")
        members(notification, ENCRYPTED, *needed)
        if len(notification["ciphertext"]) != 1_404:
            raise Refusal(400, INVALID)
        devices = [notification["device"]]
    else:
        members(notification, PLAIN, "prio", "devices")
        devices = notification["devices"]
    if notification.get("prio", "high") not in ("high", "low") or not devices:
        raise Refusal(400, INVALID)
    counts = notification.get("counts", {"unread": 1})
    if not counts or not all(type(count) is int and count > 0 for count in counts.values()):
        raise Refusal(400, INVALID)
    for device in devices:
        members(device, DEVICE, "app_id", "pushkey", "pushkey_ts")
        if len(device["app_id"]) > 64 or len(device["pushkey"].encode()) > 512:
            raise Refusal(400, INVALID)
        if "url" in device.get("data", {}):
            raise Refusal(400, INVALID)


def members(value: Any, types: dict[str, type], *needed: str) -> None:
    """Exactly these, each of its type."""
    if not isinstance(value, dict) or not set(needed) <= value.keys() <= types.keys():
        raise Refusal(400, INVALID)
    for name, member in value.items():
        if type(member) is not types[name]:
            raise Refusal(400, INVALID)


def results(*items: dict[str, Any]) -> Reply:
    return Reply(200, msgspec.json.encode({"results": list(items), "summary": {}}))
