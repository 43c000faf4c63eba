"""A real server with an instance of Beams, and all it talks to: strict providers, a receiver.

The server is a process, as an operator starts it; the rest runs here. Devices register over the
Device API, as SDKs on devices do; what they get is what the providers took.
"""

import base64
import hashlib
import hmac
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import trio

from broker.clock import wall_clock
from tests.api.push import rig
from tests.api.push.authority import authority
from tests.api.push.http_gateway import Answer, Gateway, Reply, Request, serving
from tests.api.push.rig import Apns, Fcm, Web
from tests.conformance.serving import ServerProcess

ID = "8f9a6e22-2483-49aa-8552-125f1a4c5781"
OTHER = "00000000-2483-49aa-8552-125f1a4c5781"
KEY = "0123456789ABCDEF" * 4
HOOK_SECRET = "hush"
WITHIN_S = 30
CONFIGURATION = """
[push]
{settings}

[[beams]]
instance = "{id}"
secret = "{key}"

[[beams.webhooks]]
url = "{hook}"
secret = "{hook_secret}"
"""


@dataclass
class World:
    server: ServerProcess
    client: httpx.AsyncClient
    apns: Apns
    fcm: Fcm
    web: Web
    hook: Gateway

    async def device(self, platform: str, *interests: str) -> str:
        """A new device that has these interests."""
        sent = await self._registration(platform)
        made = await self.client.post(self._devices(platform), json=sent)
        assert made.status_code == 200, made.text
        id_: str = made.json()["id"]
        path = self._devices(platform, id_, "interests")
        chosen = await self.client.put(path, json={"interests": interests})
        assert (chosen.status_code, chosen.content) == (200, b""), chosen.text
        return id_

    async def _registration(self, platform: str) -> dict[str, Any]:
        if platform == "apns":
            return {"token": rig.DEVICE_TOKEN, "bundleIdentifier": rig.TOPIC}
        if platform == "fcm":
            return {"token": rig.FCM_TOKEN}
        key = await self.client.get(f"/device_api/v1/instances/{ID}/web-vapid-public-key")
        made = self.web.fake.subscribe(key.json()["vapidPublicKey"])
        keys_ = made["encryptionKey"]
        whole = {"endpoint": made["targetUrl"], "expirationTime": None, "keys": keys_}
        return {"token": base64.b64encode(json.dumps(whole).encode()).decode()}

    async def is_there(self, id_: str) -> bool:
        reply = await self.client.get(self._devices(id_.partition("-")[0], id_))
        return reply.status_code == 200

    async def set_user(self, id_: str, token: str) -> httpx.Response:
        path = self._devices(id_.partition("-")[0], id_, "user")
        return await self.client.put(path, headers={"Authorization": f"Bearer {token}"})

    async def report(self, event: str, publish: str, device: str) -> httpx.Response:
        said = {"event": event, "publishId": publish, "deviceId": device, "timestampSecs": 1}
        return await self.client.post(f"/reporting_api/v2/instances/{ID}/events", json=said)

    def _devices(self, *parts: str) -> str:
        return "/".join((f"/device_api/v1/instances/{ID}/devices", *parts))

    def told(self, event: str) -> list[Any]:
        """The payloads that the webhook was sent of an event, each signed."""
        for request in self.hook.requests:
            expected = hmac.new(HOOK_SECRET.encode(), request.body, hashlib.sha1).hexdigest()
            assert request.headers["webhook-signature"] == expected
        documents = [msgspec.json.decode(request.body) for request in self.hook.requests]
        return [one["payload"] for one in documents if one["metadata"]["event_type"] == event]

    async def until(self, gateway: Gateway, is_so: Callable[[], object]) -> None:
        """Until what arrived at a gateway fulfils it."""
        with trio.fail_after(WITHIN_S):
            while not is_so():
                await gateway.arrived.wait()
                gateway.arrived = trio.Event()


def _trust(server: ServerProcess) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=server.ca_file)


async def _taken(_: Request) -> Answer:
    return Reply(200)


@asynccontextmanager
async def world(
    directory: Path, *, tls: bool, options: tuple[str, ...] = (), is_sound: bool = True
) -> AsyncIterator[World]:
    """`is_sound`: nothing that the server logs is an error."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        trusted = authority(directory)
        apns = await enter(rig.apns_gateway(directory, rig.kept_keys(), trusted, wall_clock))
        fcm = await enter(rig.fcm_gateway(directory, rig.kept_keys(), trusted, wall_clock))
        web = await enter(rig.push_service(trusted, wall_clock))
        hook = await enter(serving(_taken))
        settings = {**apns.settings, **fcm.settings, **web.settings}
        file = directory / "tidelog.toml"
        file.write_text(
            CONFIGURATION.format(
                settings="\n".join(
                    f"{name} = {json.dumps(value)}" for name, value in settings.items()
                ),
                id=ID,
                key=KEY,
                hook=hook.url,
                hook_secret=HOOK_SECRET,
            )
        )
        server = ServerProcess(
            directory / "data", tls=tls, options=("--config", str(file), *options)
        )
        await trio.to_thread.run_sync(server.start)
        # In a thread: it waits for what it asked the providers, who answer here.
        stack.push_async_callback(trio.to_thread.run_sync, server.stop)
        url = f"{'https' if tls else 'http'}://localhost:{server.port}"
        client = httpx.AsyncClient(base_url=url, verify=_trust(server) if tls else False)
        yield World(server, await enter(client), apns, fcm, web, hook)
    if is_sound:
        server.check()
