"""The page of the Beams SDK, its instance at the broker, and the server that signs its users in.

The browser, the push service and the broker are those of the tests around. The SDK's package lacks
the worker that it was built with, so its source is bundled, as that build does.
"""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import jwt
import pytest

from tests.conformance.browser.site import Site, skip_without
from tests.conformance.browser_push.beams import webhook
from tests.conformance.browser_push.beams.webhook import Webhook
from tests.conformance.browser_push.conftest import FILES, SCRIPT
from tests.conformance.serving import ServerProcess

HOME = Path(__file__).parent
NODE = HOME.parents[1] / "node"
SDK = NODE / "node_modules" / "@pusher" / "push-notifications-web"
ESBUILD = NODE / "node_modules" / ".bin" / "esbuild"
BUNDLED_WITHIN_S = 60
HOOKS = {"delivery": "v1.UserNotificationAcknowledgement", "open": "v1.UserNotificationOpen"}
LIFETIME_S = 24 * 3_600
OTHER_SECRET = "another-secret-of-forty-characters-012345"


@dataclass(frozen=True)
class Instance:
    """What the application's own server has, and does."""

    broker: ServerProcess
    id: str
    secret: str

    @property
    def url(self) -> str:
        return f"http://localhost:{self.broker.port}"

    def token(self, user: str, *, secret: str | None = None) -> str:
        """As the SDKs of servers make it: whatever the endpoint, it is by the same issuer."""
        claims = {
            "iss": f"https://{self.id}.pushnotifications.pusher.com",
            "sub": user,
            "exp": int(time.time()) + LIFETIME_S,
        }
        return jwt.encode(claims, secret or self.secret, "HS256")

    def publish(self, to: str, names: list[str], **web: Any) -> str:
        """To "interests" or to "users"; gives the id of what was published."""
        reply = httpx.post(
            f"{self.url}/publish_api/v1/instances/{self.id}/publishes/{to}",
            headers={"Authorization": f"Bearer {self.secret}"},
            json={to: names, "web": web},
        )
        assert reply.status_code == 200, reply.text
        publish_id: str = reply.json()["publishId"]
        return publish_id

    def device(self, id_: str) -> dict[str, Any]:
        """What the broker has of it; nothing, if it is not there."""
        path = f"/device_api/v1/instances/{self.id}/devices/web/{id_}"
        reply = httpx.get(f"{self.url}{path}")
        known: dict[str, Any] = reply.json()
        if reply.status_code == 404:
            assert known["error"] == "Device not found", known
            return {}
        assert reply.status_code == 200, known
        return known


@pytest.fixture(scope="session")
def instance(broker: ServerProcess) -> Instance:
    made = json.loads(broker.operator("beams", "create", "--json"))
    return Instance(broker, made["instance"], made["secretKey"])


@pytest.fixture(scope="session")
def told(instance: Instance) -> Iterator[Webhook]:
    """Where the broker says what devices report of notifications that were a user's."""
    with webhook.listening() as listening:
        command = ["beams", "webhook", "add", instance.id, listening.url]
        for event in HOOKS.values():
            command += ["--event", event]
        instance.broker.operator(*command, "--secret", webhook.SECRET)
        yield listening


@pytest.fixture(scope="session")
def _worker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle = tmp_path_factory.mktemp("beams") / "worker.js"
    source = SDK / "src" / "service-worker.js"
    command = [ESBUILD, source, "--bundle", f"--outfile={bundle}", "--log-level=error"]
    subprocess.run(command, check=True, timeout=BUNDLED_WITHIN_S)
    return bundle


@pytest.fixture
def files(request: pytest.FixtureRequest) -> Site:
    if not (SDK.exists() and ESBUILD.exists()):
        skip_without(f"the Beams SDK is not installed: npm ci --prefix {NODE}")
    instance: Instance = request.getfixturevalue("instance")

    def forged(user: str) -> str:
        return instance.token(user, secret=OTHER_SECRET)

    endpoint = f"self.PusherPushNotifications.endpointOverride = {json.dumps(instance.url)};"
    return {
        "/": ("text/html; charset=utf-8", HOME / "page.html"),
        "/page.js": (SCRIPT, HOME / "page.js"),
        "/asked.js": FILES["/asked.js"],
        "/beams.js": (SCRIPT, SDK / "dist" / "push-notifications-cdn.js"),
        "/service-worker.js": (SCRIPT, HOME / "worker.js"),
        "/beams-worker.js": (SCRIPT, request.getfixturevalue("_worker")),
        "/endpoint.js": (SCRIPT, lambda _: endpoint.encode()),
        "/auth": ("application/json", signing_in(instance.token)),
        "/forged": ("application/json", signing_in(forged)),
    }


def signing_in(token: Callable[[str], str]) -> Callable[[str], bytes]:
    def answer(query: str) -> bytes:
        (user,) = parse_qs(query)["user_id"]
        return json.dumps({"token": token(user)}).encode()

    return answer
