"""An instance whose devices are at strict providers, and whose webhooks are real receivers.

Time stands still until a test lets it pass; `until` waits for what the log, or a provider, has.
Every request goes through `call`, which keeps what was asked and answered.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec

from api.push.addresses import parsed
from api.push.settings import PushSettings
from api.push.transports import Transports, build_transports
from broker.beams.instances import Instance
from broker.push import outbox_log, waiting
from broker.push.events import BEAMS, INTERESTS
from broker.push.outbox_log import PublishRow
from broker.push.service import DeviceSpec
from broker.push.waiting import Due
from tests.api.beams.beams_server import ID
from tests.api.push import rig
from tests.api.push.authority import authority
from tests.api.push.http_gateway import Answer, Gateway, Reply, Request, serving
from tests.api.push.rig import Apns, Fcm, Web
from tests.api.push.scripted import Script
from tests.api.rest_server import RestServer, rest_server
from tests.broker.acting import Acting, Time

KEY = "the-secret-key-of-the-instance"
TURNS_MAX = 5_000  # some ten seconds
HELLO = {"notification": {"title": "Hello"}}


@dataclass
class Receiver:
    """Of webhooks. `script`: what it answers, 200 when that is over."""

    gateway: Gateway
    script: Script = field(default_factory=Script)

    async def handle(self, _: Request) -> Answer:
        return self.script.next() or Reply(200)

    @property
    def url(self) -> str:
        return f"{self.gateway.url}/hook"

    @property
    def requests(self) -> list[Request]:
        return self.gateway.requests

    @property
    def told(self) -> list[Any]:
        return [msgspec.json.decode(request.body) for request in self.requests]


@dataclass
class Publishing(Acting):
    server: RestServer = field(kw_only=True)
    instance: Instance = field(kw_only=True)
    client: httpx.AsyncClient = field(kw_only=True)
    transports: Transports = field(kw_only=True)
    apns: Apns = field(kw_only=True)
    fcm: Fcm = field(kw_only=True)
    web: Web = field(kw_only=True)
    time: Time = field(kw_only=True)
    receiver: Receiver = field(kw_only=True)

    async def call(self, method: str, path: str, **sent: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {KEY}"} | sent.pop("headers", {})
        kept = {name: value for name, value in headers.items() if value is not None}
        return await self.client.request(method, path, headers=kept, **sent)

    async def publish(self, to: str, body: Any, **sent: Any) -> httpx.Response:
        """`to`: "/interests", "/users", or nothing."""
        path = f"/publish_api/v1/instances/{ID}/publishes{to}"
        return await self.call("POST", path, json=body, **sent)

    async def published(self, body: dict[str, Any]) -> str:
        """The id of a publish that is accepted."""
        reply = await self.publish("/users" if "users" in body else "/interests", body)
        assert reply.status_code == 200, reply.text
        assert reply.json().keys() == {"publishId"}
        id_: str = reply.json()["publishId"]
        return id_

    async def report(self, **changed: Any) -> httpx.Response:
        body = {
            "event": "delivery",
            "publishId": f"pubid-{ID}",
            "deviceId": "web-1",
            "timestampSecs": 1_700_000_000,
        }
        path = f"/reporting_api/v2/instances/{ID}/events"
        sent = {name: value for name, value in (body | changed).items() if value is not ...}
        return await self.call("POST", path, json=sent, headers={"Authorization": None})

    async def device(
        self, id_: str, *interests: str, user: str | None = None, **address: Any
    ) -> str:
        """A device of the platform that its id begins with. Returns the address's token."""
        platform = id_.partition("-")[0]
        recipient = self._recipients[platform](id_) | address
        spec = DeviceSpec(
            id=id_,
            platform={"apns": "ios", "fcm": "android", "web": "browser"}[platform],
            form_factor="phone",
            recipient=recipient,
            client_id=user,
            api=BEAMS,
        )
        await self.broker.push.register(self.app, spec)
        topics = self.broker.push.topics
        await topics.replace(self.app, id_, INTERESTS, interests, 5_000)
        return str(recipient.get("deviceToken") or recipient.get("registrationToken"))

    async def ably_device(self, user: str) -> None:
        """Of another API, and reached by the receiver."""
        address = {"transportType": "webhook", "url": self.receiver.url, "secret": "s"}
        spec = DeviceSpec(
            id="ably-1", platform="ios", form_factor="tv", client_id=user, recipient=address
        )
        await self.broker.push.register(self.app, spec)

    @property
    def _recipients(self) -> dict[str, Callable[[str], dict[str, Any]]]:
        return {
            "apns": lambda id_: {
                "transportType": "apns",
                "deviceToken": id_.encode().hex().zfill(64),
            },
            "fcm": lambda id_: {"transportType": "fcm", "registrationToken": f"token:{id_}"},
            "web": lambda _: self.web.fake.subscribe(self.transports.public_vapid_key),
        }

    @property
    def at_browsers(self) -> list[Any]:
        """What browsers got."""
        return [delivered.body for delivered in self.web.fake.delivered]

    def devices(self) -> set[str]:
        return {
            id_
            for id_ in ("apns-1", "fcm-1", "web-1", "web-2", "web-3", "ably-1")
            if self.broker.push.device(self.app, id_, api=None) is not None
        }

    def unfinished(self) -> list[PublishRow]:
        with self.broker.rows() as rows:
            return list(outbox_log.unfinished(rows))

    def due(self) -> list[Due]:
        with self.broker.rows() as rows:
            return list(waiting.due(rows))

    async def until(self, is_so: Callable[[], bool]) -> None:
        for _ in range(TURNS_MAX):
            if is_so():
                return
            await self.settled()
        raise AssertionError(f"it does not come to that: {self.unfinished()}")

    async def until_tried(self) -> None:
        """Everybody has been, once."""
        await self.until(lambda: all(row.cursor is None for row in self.unfinished()))

    async def until_delivered(self) -> None:
        await self.until(lambda: not self.unfinished())


async def _no_names(host: str, port: int) -> list[str]:
    """Nothing here has one, and nothing elsewhere is to be asked."""
    if parsed(host) is None:
        raise OSError("tests look up no names")
    return [host]


@asynccontextmanager
async def publishing(directory: Path, time: Time, **limits: Any) -> AsyncIterator[Publishing]:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        trusted = authority(directory)
        apns = await enter(rig.apns_gateway(directory, rig.kept_keys(), trusted, time.wall))
        fcm = await enter(rig.fcm_gateway(directory, rig.kept_keys(), trusted, time.wall))
        web = await enter(rig.push_service(trusted, time.wall))
        receiver = Receiver(Gateway())
        receiver.gateway = await enter(serving(receiver.handle))
        settings = PushSettings(**{**apns.settings, **fcm.settings, **web.settings})
        built = build_transports(settings, directory / "data", clock=time.wall, resolve=_no_names)
        transports = await enter(built)
        running = rest_server(directory / "data", clock=time.wall, transports=transports, **limits)
        server = await enter(running)
        known = server.broker.beams.instance(ID)
        instance = known or await server.broker.beams.ensure(server.app, ID, KEY)
        yield Publishing(
            server.broker,
            server=server,
            instance=instance,
            client=await server.connect({}),
            transports=transports,
            apns=apns,
            fcm=fcm,
            web=web,
            time=time,
            receiver=receiver,
        )
