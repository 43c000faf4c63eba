"""What depends on a server's transports: the key for browsers, and where targets may be."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from api.push.settings import PushSettings
from api.push.transports import build_transports
from tests.api.push_bodies import DEVICES, new_device
from tests.api.rest_server import RestServer, error_of, rest_server

KEYS = {"p256dh": "BPg", "auth": "c2VjcmV0"}


@pytest.fixture
async def pushing(tmp_path: Path) -> AsyncIterator[RestServer]:
    async with (
        build_transports(PushSettings(), tmp_path / "data") as transports,
        rest_server(tmp_path / "data", transports=transports) as running,
    ):
        yield running


async def test_the_key_that_browsers_subscribe_to(pushing: RestServer) -> None:
    reply = await pushing.client.get("/push/publicVapidKey")
    assert (reply.status_code, reply.headers["content-type"]) == (200, "text/plain")
    point = base64.urlsafe_b64decode(reply.text + "==")
    assert (len(point), point[0]) == (65, 4)
    assert (await pushing.client.get("/push/publicVapidKey")).text == reply.text


async def test_strangers_are_not_told(pushing: RestServer) -> None:
    anyone = await pushing.connect(auth={})
    assert error_of(await anyone.get("/push/publicVapidKey"))[0] == 401


async def test_a_server_without_web_push_has_no_key(server: RestServer) -> None:
    assert error_of(await server.client.get("/push/publicVapidKey")) == (404, 40400)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/hook",
        "https://127.0.0.1/hook",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]:8443/",
        "https://user:secret@example.com/",
        "https://example.com:22/",
        "https://0x7f000001/",
        "ftp://example.com/",
        "not a URL",
    ],
)
@pytest.mark.parametrize("transport", ["webhook", "web"])
async def test_targets_that_we_do_not_ask_for(
    pushing: RestServer, url: str, transport: str
) -> None:
    field = {"webhook": "url", "web": "targetUrl"}[transport]
    encoded = url if transport == "webhook" else base64.b64encode(url.encode()).decode()
    recipient: dict[str, Any] = {"transportType": transport, field: encoded}
    recipient |= {"encryptionKey": KEYS, "secret": "s"}
    position = pushing.broker.log.position
    device = new_device("dev", recipient)
    refused = [
        await pushing.client.post(DEVICES, json=device),
        await pushing.client.post(
            "/push/publish", json={"recipient": recipient, "notification": {"title": "t"}}
        ),
    ]
    for reply in refused:
        assert error_of(reply) == (400, 40000)
        assert f"push.recipient.{field}" in reply.json()["error"]["message"]
    assert pushing.broker.log.position == position


async def test_targets_anywhere_else_are_taken(pushing: RestServer) -> None:
    recipient = {
        "transportType": "webhook",
        "url": "https://hooks.example.com:8443/x",
        "secret": "s",
    }
    device = new_device("dev", recipient)
    assert (await pushing.client.post(DEVICES, json=device)).status_code == 201
