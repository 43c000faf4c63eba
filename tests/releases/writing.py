"""Everything that a data directory can hold, said over the APIs that clients and operators have.

Each part leaves questions whose answers show that it is there.
"""

import base64
from typing import Any
from urllib.parse import quote

import jwt
import msgspec
import trio
from trio.testing import memory_stream_pair

from api.admin import audit
from api.admin.audit import SOCKET, Actor
from api.realtime.protocol import Action
from broker import sharing
from broker.auth.token_requests import sign
from broker.events import WorkerEnded, WorkerStarted
from broker.stats.counters import CONNECTIONS
from tests.api.beams.beams_server import P256DH
from tests.api.matrix.asking import HOST
from tests.api.matrix.bodies import CHANNELS, encrypted, encryption, pusher
from tests.api.realtime_server import RealtimeClient
from tests.api.rest_server import basic, bearer
from tests.releases.asking import Directory, Question

INSTANCE, SECRET = "8f9a6e22-2483-49aa-8552-125f1a4c5781", "6" * 64
DEVICES = f"/device_api/v1/instances/{INSTANCE}/devices"
MESSAGE = "/channels/notes:a/messages"


class Writer:
    """Of one directory. `questions`: with which to find again what was written."""

    def __init__(self, directory: Directory, now_ms: int) -> None:
        self.broker = directory.broker
        self.questions: list[Question] = []
        self.directory = directory
        self.now_ms = now_ms
        self.app = self.broker.default_app()
        self.key = self.broker.apps.keys(self.app)[0]
        self.auth = basic(self.key.string)

    async def call(self, method: str, path: str, body: Any = None, *, headers: Any = None) -> Any:
        """The answer of a request that must succeed."""
        asked = Question(method, path, headers or self.auth, body)
        status, answer = await self.directory.ask(asked)
        assert status in (200, 201, 204), (path, status, answer)
        return answer

    async def administer(self, operation: str, **arguments: Any) -> Any:
        """As somebody at the admin socket, so that it is in the audit log."""
        return await audit.run(self.broker, Actor(1000, SOCKET), operation, arguments)

    def ask(self, method: str, path: str, body: Any = None, **more: Any) -> None:
        headers = more.pop("headers", self.auth)
        self.questions.append(Question(method, path, headers, body, **more))

    def ask_operation(self, name: str, **arguments: Any) -> None:
        self.questions.append(Question("", name, body=arguments, operation=True))


async def tenancy(w: Writer) -> None:
    await w.administer("apps.create", app="other", name="another app")
    await _removed_app(w)
    (key,) = w.broker.apps.keys("other")
    await w.administer("apps.limits", app="other", limits={"connections_max": 5})
    await w.administer("keys.limits", app="other", key=key.name, limits={"messages_per_s": 9})
    await w.administer("keys.create", capability='{"a:*":["publish"]}', revocable_tokens=True)
    revoked = await w.administer("keys.create", capability='{"b":["history"]}')
    await w.administer("keys.revoke", key=revoked["name"])
    for namespace, rules in {
        "notes": {"mutable_messages": True},
        "push": {"push_enabled": True},
        "kept": {"persisted": True, "retention_ms": 0},
        "brief": {"persisted": True, "retention_ms": 60_000},
        "mine": {"identified": True},
    }.items():
        await w.administer("namespaces.set", namespace=namespace, rules=rules)
    await w.administer("namespaces.remove", namespace="mine")
    for name in ("apps.list", "namespaces.list"):
        w.ask_operation(name)
    w.ask_operation("keys.list", revoked=True)
    w.ask_operation("keys.list", app="other")
    w.ask("GET", "/channels/c", headers=basic(revoked["key"]))


async def _removed_app(w: Writer) -> None:
    key = (await w.administer("apps.create", app="gone"))["key"]
    await w.call("POST", "/channels/c/messages", {"name": "gone"}, headers=basic(key))
    await w.call("POST", "/push/deviceRegistrations", _phone("gone"), headers=basic(key))
    await w.broker.add_stats("gone", [(0, {"messages.inbound.rest.messages.count": 1})])
    await w.administer("apps.delete", app="gone")
    w.ask("GET", "/channels/c/messages", headers=basic(key))


def _phone(id_: str) -> dict[str, Any]:
    return {
        "id": id_,
        "platform": "ios",
        "formFactor": "phone",
        "clientId": "ann",
        "metadata": {"model": "x"},
        "push": {"recipient": {"transportType": "apns", "deviceToken": "7f01"}},
    }


async def tokens(w: Writer) -> None:
    (limited,) = [key for key in w.broker.apps.keys(w.app) if key.revocable_tokens]
    path = f"/keys/{limited.name}"
    asked = {"keyName": limited.name, "timestamp": w.broker.now(), "nonce": "0123456789abcdef"}
    text = "".join(
        f"{asked.get(name, '')}\n"
        for name in ("keyName", "ttl", "capability", "clientId", "timestamp", "nonce")
    )
    signed = {**asked, "mac": sign(text, limited.secret)}
    good = await w.call("POST", f"{path}/requestToken", signed, headers={"X-Ably-Version": "3"})
    auth = basic(limited.string)
    bad = await w.call(
        "POST",
        f"{path}/requestToken",
        {"keyName": limited.name, "timestamp": w.broker.now(), "clientId": "eve"},
        headers=auth,
    )
    await w.call("POST", f"{path}/revokeTokens", {"targets": ["clientId:eve"]}, headers=auth)
    message = {"id": "token:0", "name": "by token"}
    await w.call("POST", "/channels/a:1/messages", message, headers=bearer(good["token"]))
    for token in (good["token"], bad["token"]):
        w.ask("POST", "/channels/a:1/messages", message, headers=bearer(token))
    w.ask("POST", f"{path}/requestToken", signed, headers={"X-Ably-Version": "3"})


async def messages(w: Writer) -> None:
    path = "/channels/kept:orders/messages"
    for n in range(12):
        body = {"id": f"order-{n}:0", "name": "created", "data": {"n": n}, "clientId": f"c{n % 3}"}
        await w.call("POST", path, body)
    await w.call("POST", "/channels/brief:a/messages", [{"name": "old"}, {"name": "older"}])
    binary = {"name": "binary", "data": base64.b64encode(bytes(range(256))).decode()}
    await w.call(
        "POST", path, [{**binary, "encoding": "base64"}, {"extras": {"headers": {"a": 1}}}]
    )
    await w.call("POST", "/channels/plain/messages", {"name": "one", "data": "\u00e4\u4f60"})
    await w.call(
        "POST", "/messages", {"channels": ["kept:x", "plain"], "messages": {"data": "both"}}
    )
    w.ask("GET", f"{path}?limit=5&direction=forwards")
    w.ask("GET", path)
    w.ask("GET", "/channels/plain/messages")
    w.ask("POST", path, {"id": "order-3:0", "name": "created", "data": {"n": 3}, "clientId": "c0"})
    w.ask("GET", "/channels/kept:x")
    w.ask("GET", "/channels/brief:a/messages")
    w.ask("GET", "/channels?by=id")
    w.ask_operation("history", channel="kept:orders", limit=3)


async def changing_messages(w: Writer) -> None:
    def at(serial: str, *more: str) -> str:
        return "/".join((MESSAGE, quote(serial, safe=""), *more))

    published = await w.call("POST", MESSAGE, [{"name": "a", "data": "one"}, {"data": "two"}])
    first, second = published["serials"]
    await w.call("PATCH", at(first), {"action": 1, "data": "changed"})
    await w.call("PATCH", at(first), {"action": 5, "data": " and more"})
    await w.call("PATCH", at(second), {"action": 2, "data": "gone"})
    for kind, fields in {
        "r:distinct.v1": {"name": "+1"},
        "r:unique.v1": {"name": "x"},
        "r:multiple.v1": {"name": "m", "count": 3},
        "r:flag.v1": {},
        "r:total.v1": {},
    }.items():
        for client in ("ann", "bob"):
            item = {"action": 0, "type": kind, "clientId": client, **fields}
            await w.call("POST", at(first, "annotations"), [item])
    taken_back = {"action": 1, "type": "r:distinct.v1", "clientId": "bob", "name": "+1"}
    await w.call("POST", at(first, "annotations"), [taken_back])
    w.ask("GET", MESSAGE)
    for serial in (first, second):
        for part in ((), ("versions",), ("annotations",)):
            w.ask("GET", at(serial, *part))


async def worker(w: Writer) -> None:
    """Another process held connections, and has ended."""
    theirs, ours = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sharing.admit, w.broker, ours)
        await w.directory.until(WorkerStarted)
        await theirs.send_eof()
        await w.directory.until(WorkerEnded)


async def left_behind(w: Writer) -> None:
    """A connection that nobody comes back for."""
    client = await w.directory.connect(key=w.key.string)
    client.vanish()


async def connections(w: Writer) -> dict[str, Any]:
    """Members, attachments, and a connection that can be resumed: how."""
    staying = await w.directory.connect(key=w.key.string, clientId="ann")
    leaving = await w.directory.connect(key=w.key.string, clientId="bob")
    for client in (staying, leaving):
        await client.attach("room")
        for serial, action in enumerate((2, 4)):
            presence = [{"action": action, "data": f"at {serial}"}]
            await client.says(Action.PRESENCE, channel="room", msgSerial=serial, presence=presence)
            await _until(client, Action.ACK, msgSerial=serial)
    await leaving.says(Action.PRESENCE, channel="room", msgSerial=2, presence=[{"action": 3}])
    await _until(leaving, Action.ACK, msgSerial=2)
    leaving.vanish()
    leaving = await w.directory.connect(key=w.key.string, resume=leaving.key)
    await leaving.says(Action.CLOSE)
    await _until(leaving, Action.CLOSED)
    return await _resumable(w, staying)


async def _resumable(w: Writer, client: RealtimeClient) -> dict[str, Any]:
    attached = await _attach(client, "kept:live")
    await client.publish("kept:live", 2, "sent", "over the connection")
    await _until(client, Action.ACK, msgSerial=2)
    client.vanish()
    await w.call("POST", "/channels/kept:live/messages", {"name": "missed"})
    w.ask("GET", "/channels/room/presence")
    w.ask("GET", "/channels/room/presence/history?direction=forwards")
    w.ask("GET", "/channels/room")
    w.ask("GET", "/channels/kept:live/messages")
    return {
        "key": client.key,
        "id": client.id,
        "auth": w.key.string,
        "channel": "kept:live",
        "channelSerial": attached["channelSerial"],
        "names": ["sent", "missed"],
    }


async def _attach(client: Any, channel: str) -> Any:
    await client.says(Action.ATTACH, channel=channel)
    return await _until(client, Action.ATTACHED, channel=channel)


async def _until(client: Any, action: int, **fields: Any) -> Any:
    while True:
        message = await client.next()
        assert message["action"] not in (Action.ERROR, Action.NACK), message
        if message["action"] == action:
            assert {name: message.get(name) for name in fields} == fields
            return message


async def push(w: Writer) -> None:
    """Ably's API."""
    registered = await w.call("POST", "/push/deviceRegistrations", _phone("phone"))
    await w.call("POST", "/push/deviceRegistrations", _phone("lost"))
    await w.call("DELETE", "/push/deviceRegistrations/lost")
    for subscribed in (
        {"channel": "push:news", "deviceId": "phone"},
        {"channel": "push:all", "clientId": "ann"},
        {"channel": "push:over", "deviceId": "phone"},
    ):
        await w.call("POST", "/push/channelSubscriptions", subscribed)
    await w.call("DELETE", "/push/channelSubscriptions?channel=push:over&deviceId=phone")
    await _in_process(w)
    notice = {"notification": {"title": "t"}, "data": {"a": 1}}
    await w.call("POST", "/push/publish", {"recipient": {"deviceId": "phone"}, **notice})
    await w.call("POST", "/channels/push:news/messages", {"extras": {"push": notice}})
    w.ask("GET", "/push/deviceRegistrations/phone", sealed=True)
    token = registered["deviceIdentityToken"]["token"]
    w.ask(
        "GET",
        "/push/deviceRegistrations/phone",
        headers={"X-Ably-DeviceToken": token, **w.auth},
        sealed=True,
    )
    w.ask("GET", "/push/deviceRegistrations/lost")
    w.ask("GET", "/push/channelSubscriptions?channel=push:news")
    w.ask("GET", "/push/channelSubscriptions?clientId=ann")
    w.ask("GET", "/push/channels")
    w.ask("GET", "/push/publicVapidKey", sealed=True)
    w.ask_operation("push.devices")
    w.ask_operation("push.status")


async def _in_process(w: Writer) -> None:
    """A notification that can be delivered without leaving the process, and one that cannot."""
    recipient = {
        "transportType": "ablyChannel",
        "channel": "kept:delivered",
        "ablyKey": w.key.string,
        "ablyUrl": "http://127.0.0.1",
    }
    device = {**_phone("channel"), "push": {"recipient": recipient}}
    await w.call("POST", "/push/deviceRegistrations", device)
    notice = {"notification": {"title": "delivered"}}
    await w.call("POST", "/push/publish", {"recipient": {"deviceId": "channel"}, **notice})


async def beams(w: Writer) -> None:
    await w.broker.beams.ensure(w.app, INSTANCE, SECRET)
    created = await w.administer("beams.create", app="other")
    await w.administer("beams.remove", instance=created["instance"])
    hook = {"instance": INSTANCE, "url": "https://hooks.example.com/a", "secret": "s"}
    await w.administer("beams.webhooks.add", **hook, custom_data={"a": 1})
    over = await w.administer("beams.webhooks.add", **hook)
    await w.administer("beams.webhooks.remove", instance=INSTANCE, webhook=over["id"])
    subscription = {
        "endpoint": "https://push.example.com/send/1",
        "expirationTime": None,
        "keys": {"p256dh": P256DH, "auth": "A" * 22},
    }
    token = base64.b64encode(msgspec.json.encode(subscription)).decode()
    registered = await w.call(
        "POST", f"{DEVICES}/web", {"token": token, "metadata": {"sdkVersion": "2.1.0"}}
    )
    device = f"{DEVICES}/web/{registered['id']}"
    await w.call("PUT", f"{device}/interests", {"interests": ["a", "b", "debug-c"]})
    await w.call("DELETE", f"{device}/interests/b")
    claims = {
        "iss": f"https://{INSTANCE}.pushnotifications.pusher.com",
        "sub": "alice",
        "exp": w.now_ms // 1000 + 86_400,
    }
    user = {"Authorization": f"Bearer {jwt.encode(claims, SECRET, 'HS256')}"}
    await w.call("PUT", f"{device}/user", {}, headers=user)
    publish = {"interests": ["a"], "web": {"notification": {"title": "Hello"}}}
    path = f"/publish_api/v1/instances/{INSTANCE}/publishes/interests"
    auth = {"Authorization": f"Bearer {SECRET}"}
    published = await w.call("POST", path, publish, headers=auth)
    await w.call(
        "POST",
        f"/reporting_api/v2/instances/{INSTANCE}/events",
        {
            "event": "delivery",
            "publishId": published["publishId"],
            "deviceId": registered["id"],
            "timestampSecs": w.now_ms // 1000,
        },
        headers={"Content-Type": "application/json"},
    )
    w.ask("GET", device, headers={})
    w.ask("GET", f"{device}/interests", headers={})
    w.ask_operation("beams.list")
    w.ask_operation("beams.webhooks.list", instance=INSTANCE)


async def matrix(w: Writer, month: str) -> None:
    await w.administer("matrix.channels", channels=CHANNELS)
    await w.administer("matrix.encryption", rule="required", app_id="org.example.secret")
    token = await w.administer("matrix.token", user="@ann:example.org", ttl_s=86_400)
    headers = {**HOST, "Authorization": f"Bearer {token['token']}"}
    secret = encryption(time_iss_created=month)
    for body in (pusher("plain"), encrypted("secret", given=secret), pusher("gone")):
        await w.call("POST", "/pushers/set", body, headers=headers)
    await w.call("POST", "/pushers/set", {**pusher("gone"), "kind": None}, headers=headers)
    chosen = {"channels": [{"id": "task", "status": "enabled"}]}
    await w.call("POST", "/channels/plain", chosen, headers=headers)
    notice = {
        "recipient": {"matrixChannel": "task", "clientId": "@ann:example.org"},
        "data": {"a": "1"},
    }
    await w.call("POST", "/push/publish", notice)
    w.ask("GET", "/pushers", headers=headers, sealed=True)
    w.ask("GET", "/channels/plain", headers=headers, sealed=True)
    w.ask("GET", "/channels", headers=headers)
    w.ask_operation("matrix.show")


async def purged(w: Writer) -> None:
    for client in ("ann", "forgotten"):
        body = {"name": f"by {client}", "clientId": client}
        await w.call("POST", "/channels/kept:people/messages", body)
    await w.call("POST", "/channels/kept:purged/messages", {"name": "gone"})
    await w.administer("purge", client_id="forgotten")
    await w.administer("purge", channel="kept:purged")
    w.ask("GET", "/channels/kept:people/messages")
    w.ask("GET", "/channels/kept:purged/messages")


async def usage(w: Writer) -> None:
    past_ms = w.now_ms - 3 * 86_400_000
    minute = past_ms - past_ms % 60_000
    counters = {"messages.inbound.rest.messages.count": 7, f"{CONNECTIONS}.peak": 3}
    await w.broker.add_stats(w.app, [(minute, counters)])
    w.ask("GET", f"/stats?unit=minute&end={w.now_ms - 120_000}")
    w.ask("GET", f"/stats?unit=day&end={w.now_ms - 86_400_000}")
    w.ask_operation("audit")
