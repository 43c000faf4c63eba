"""A server with an instance of Beams, and the Device API as SDKs call it."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from api.push.settings import PushSettings
from api.push.transports import build_transports
from broker import Broker
from broker.beams.instances import Instance
from broker.push.events import INTERESTS
from tests.api.push import rig
from tests.api.push.rig import Keys
from tests.api.rest_server import RestServer, rest_server

ID = "8f9a6e22-2483-49aa-8552-125f1a4c5781"
OTHER = "00000000-2483-49aa-8552-125f1a4c5781"
SECRET = "6" * 64
ISSUER = f"https://{ID}.pushnotifications.pusher.com"
NOBODY = "00000000-0000-4000-8000-000000000000"
PLATFORMS = ("apns", "fcm", "web")
Refused = tuple[int, str, str]

NO_INSTANCE_ID = (400, "Incomplete Request", "instance-id param is missing from path.")
BAD_INSTANCE_ID = (400, "Bad Request", "instance-id given is not valid.")
NO_DEVICE_ID = (400, "Incomplete Request", "device-id param is missing from path.")
INSTANCE_NOT_FOUND = (404, "Instance not found", "Could not find the instance.")
DEVICE_NOT_FOUND = (404, "Device not found", "Could not find the device.")
BAD_TYPE = (400, "Invalid content type", "Only application/json is supported.")
NOT_JSON = (400, "Bad request", "Failed to read body as a JSON object.")
BROKEN = (500, "Something went wrong", "Internal server error.")
BAD_CREDENTIALS = (401, "Unauthorized", "Incorrect instance credentials.")

_POINT = ec.generate_private_key(ec.SECP256R1()).public_key()
P256DH = base64.urlsafe_b64encode(
    _POINT.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
).decode()


def web_token(endpoint: Any = "https://push.example.com/send/1", **changed: Any) -> str:
    """A PushSubscription as the SDK sends it."""
    keys = {"p256dh": P256DH, "auth": "A" * 22} | changed.pop("keys", {})
    whole = {"endpoint": endpoint, "expirationTime": None, "keys": keys, **changed}
    return base64.b64encode(json.dumps(whole).encode()).decode()


def registration(platform: str, number: int = 1) -> dict[str, Any]:
    """What an SDK sends to register a device of its own."""
    return {
        "apns": {
            "token": f"{number:064X}",
            "bundleIdentifier": "org.example.app",
            "metadata": {"sdkVersion": "4.0.0", "iosVersion": "17.1"},
        },
        "fcm": {
            "token": f"fcm:token_{number}",
            "metadata": {"sdkVersion": "1.9.0", "androidVersion": "14"},
            "knownPreviousClientIds": [],
        },
        "web": {
            "token": web_token(f"https://push.example.com/send/{number}"),
            "metadata": {"sdkVersion": "2.1.0"},
        },
    }[platform]


def refused(reply: httpx.Response) -> Refused:
    body = reply.json()
    assert body.keys() == {"error", "description"}
    assert reply.headers["content-type"] == "application/json"
    return reply.status_code, body["error"], body["description"]


def is_done(reply: httpx.Response) -> bool:
    return (reply.status_code, reply.content) == (200, b"")


@dataclass
class BeamsServer:
    server: RestServer
    instance: Instance
    client: httpx.AsyncClient

    @property
    def broker(self) -> Broker:
        return self.server.broker

    @property
    def app(self) -> str:
        return self.instance.app

    def path(self, *parts: str, instance: str = ID) -> str:
        return "/".join((f"/device_api/v1/instances/{instance}/devices", *parts))

    async def ask(
        self, method: str, *parts: str, instance: str = ID, **sent: Any
    ) -> httpx.Response:
        return await self.client.request(method, self.path(*parts, instance=instance), **sent)

    async def register(self, platform: str, number: int = 1, **changed: Any) -> str:
        """The id of a device."""
        reply = await self.ask("POST", platform, json=registration(platform, number) | changed)
        assert reply.status_code == 200, reply.text
        body = reply.json()
        assert body.keys() == {"id", "initialInterestSet"}
        assert body["initialInterestSet"] == []
        id_: str = body["id"]
        return id_

    async def described(self, id_: str) -> dict[str, Any]:
        reply = await self.ask("GET", id_.partition("-")[0], id_)
        assert reply.status_code == 200, reply.text
        body: dict[str, Any] = reply.json()
        return body

    def recipient(self, id_: str) -> dict[str, Any]:
        device = self.broker.push.device(self.app, id_, "beams")
        assert device is not None
        return self.broker.push.recipient(self.app, device)

    async def interests(self, id_: str) -> list[str]:
        """All of them, by pages."""
        found: list[str] = []
        params: dict[str, str] = {}
        while True:
            platform = id_.partition("-")[0]
            reply = await self.ask("GET", platform, id_, "interests", params=params)
            assert reply.status_code == 200, reply.text
            found += reply.json()["interests"]
            more = reply.json()["responseMetadata"]
            if "nextCursor" not in more:
                return found
            params = {"cursor": more["nextCursor"]}

    def token(self, secret: str = SECRET, algorithm: str = "HS256", **changed: Any) -> str:
        """A Beams token as an app's server makes it; None leaves a claim out."""
        claims = {"iss": ISSUER, "sub": "alice", "exp": self.broker.clock() // 1_000 + 86_400}
        kept = {name: value for name, value in (claims | changed).items() if value is not None}
        return jwt.encode(kept, secret, algorithm)

    async def set_user(self, id_: str, user: str = "alice", **sent: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token(sub=user)}"}
        return await self.ask(
            "PUT", id_.partition("-")[0], id_, "user", **{"headers": headers, **sent}
        )

    async def whole(self) -> dict[str, Any]:
        """Everything that the broker knows of devices of Beams."""
        push, found = self.broker.push, {}
        for device in (await push.lists.devices(self.app, limit=1_000, api="beams")).items:
            topics = await push.topics.page(self.app, device.id, INTERESTS, limit=5_000)
            recipient, names = push.recipient(self.app, device), [topic.name for topic in topics]
            found[device.id] = (device.client_id, device.metadata, recipient, names)
        return found


def every_platform(directory: Path, keys: Keys) -> PushSettings:
    """Settings with which APNs and FCM are configured; nothing is sent there."""
    (directory / "AuthKey.p8").write_text(rig.pem(keys.apns))
    rig.write_account(directory / "account.json", keys)
    return PushSettings(
        apns_key_file=str(directory / "AuthKey.p8"),
        apns_key_id=rig.KEY_ID,
        apns_team_id=rig.TEAM_ID,
        apns_topic=rig.TOPIC,
        fcm_service_account_file=str(directory / "account.json"),
    )


@asynccontextmanager
async def beams_server(
    directory: Path, push: PushSettings, **options: Any
) -> AsyncIterator[BeamsServer]:
    async with (
        build_transports(push, directory / "data") as transports,
        rest_server(directory / "data", transports=transports, **options) as running,
    ):
        there = running.broker.beams.instance(ID)
        instance = there or await running.broker.beams.ensure(running.app, ID, SECRET)
        yield BeamsServer(running, instance, await running.connect({}))
