"""A data directory with devices that a gateway counts for, subscribed to channels of 1, 1,000 …"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

import broker
from bench.server_process import KEY
from broker import Broker
from broker.push.events import Subscription
from broker.push.service import DeviceSpec
from broker.tenancy import NamespaceRules

APP = KEY.partition(".")[0]
NAMESPACE = "push"
_AT_ONCE = 200


@asynccontextmanager
async def undelivered(path: Path) -> AsyncIterator[Broker]:
    """The directory opened in this process: notifications are accepted, and stay where they are."""
    async with broker.open(path, create_app=False, hold_connections=False) as opened:
        yield opened


async def register(path: Path, audiences: Sequence[int], gateway_port: int) -> None:
    """As many devices as the largest audience; the channel of each has the first ones."""
    async with undelivered(path) as opened:
        await opened.apps.ensure_key(KEY)
        await opened.apps.set_namespace(APP, NAMESPACE, NamespaceRules(push_enabled=True))
        numbers = iter(range(max(audiences)))

        async def worker() -> None:
            for number in numbers:
                await _register_one(opened, number, audiences, gateway_port)

        async with trio.open_nursery() as nursery:
            for _ in range(_AT_ONCE):
                nursery.start_soon(worker)


async def _register_one(
    opened: Broker, number: int, audiences: Sequence[int], gateway_port: int
) -> None:
    name = f"device-{number}"
    url = f"http://127.0.0.1:{gateway_port}/{name}"
    recipient = {"transportType": "webhook", "url": url, "secret": "not-a-secret"}
    spec = DeviceSpec(id=name, platform="android", form_factor="phone", recipient=recipient)
    await opened.push.register(APP, spec)
    for audience in audiences:
        if number < audience:
            await opened.push.subscribe(APP, Subscription(channel(audience), device_id=name))


def channel(audience: int) -> str:
    return f"{NAMESPACE}:{audience}"
