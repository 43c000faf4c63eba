"""A data directory with Apple devices, subscribed to channels of 1, 100, 10,000 … of them; and how
a broker is set up to notify them through a gateway of our own."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import broker
from bench.push_gateway import Reached
from bench.server_process import KEY
from broker import Broker
from broker.push.events import Subscription
from broker.push.service import DeviceSpec
from broker.tenancy import NamespaceRules

APP = KEY.partition(".")[0]
NAMESPACE = "push"
_AT_ONCE = 1_000
_KEY_FILE = "apns-key.p8"


def settings(directory: Path, gateway: Reached) -> tuple[str, ...]:
    """Of the broker. Makes the key that its provider tokens are signed with."""
    key = generate_private_key(SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (directory / _KEY_FILE).write_bytes(pem)
    return (
        f"push.apns_key_file={directory / _KEY_FILE}",
        "push.apns_key_id=BENCHKEY00",
        "push.apns_team_id=BENCHTEAM0",
        "push.apns_topic=org.example.bench",
        f"push.apns_url={gateway.url}",
        f"push.ca_file={gateway.authority}",
    )


@asynccontextmanager
async def undelivered(path: Path) -> AsyncIterator[Broker]:
    """The directory opened in this process: notifications are accepted, and stay where they are."""
    async with broker.open(path, create_app=False, hold_connections=False) as opened:
        yield opened


async def register(path: Path, audiences: Sequence[int]) -> None:
    """As many devices as the largest audience; the channel of each has the first ones."""
    async with undelivered(path) as opened:
        await opened.apps.ensure_key(KEY)
        await opened.apps.set_namespace(APP, NAMESPACE, NamespaceRules(push_enabled=True))
        numbers = iter(range(max(audiences)))

        async def worker() -> None:
            for number in numbers:
                await _register_one(opened, number, audiences)

        async with trio.open_nursery() as nursery:
            for _ in range(_AT_ONCE):
                nursery.start_soon(worker)


async def _register_one(opened: Broker, number: int, audiences: Sequence[int]) -> None:
    name = f"device-{number}"
    recipient = {"transportType": "apns", "deviceToken": f"{number:064x}"}
    spec = DeviceSpec(id=name, platform="ios", form_factor="phone", recipient=recipient)
    await opened.push.register(APP, spec)
    for audience in audiences:
        if number < audience:
            await opened.push.subscribe(APP, Subscription(channel(audience), device_id=name))


def channel(audience: int) -> str:
    return f"{NAMESPACE}:{audience}"
