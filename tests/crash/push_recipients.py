"""Who the notifications of the crash test are for: what the killed broker and the test agree on.

A notification's number says who it is for: a channel with devices of its own and those of a client,
the client, one device, or an address of its own. What came of one to the channel is told to another
address. Some devices are told in order.
"""

from pathlib import Path
from typing import Any

import broker
from broker.push.events import ABLY, MATRIX, Following, Selector, Subscription
from broker.push.service import DeviceSpec
from broker.tenancy import NamespaceRules

TRANSPORT = "recorded"
CHANNEL, CLIENT = "push:c", "me"
DEVICES = [f"d{number}" for number in range(27)]
CLIENTS = [f"c{number}" for number in range(6)]
IN_ORDER = {*DEVICES[:6], *CLIENTS[:2]}


def _address(name: str) -> dict[str, Any]:
    return {"transportType": TRANSPORT, "address": name}


def selector(number: int) -> Selector:
    match number % 4:
        case 0:
            return Selector(channel=CHANNEL)
        case 1:
            return Selector(client_id=CLIENT)
        case 2:
            return Selector(device_id=DEVICES[number % len(DEVICES)])
    return Selector(recipient=_address(f"own{number}"))


def following(number: int) -> tuple[Following, ...]:
    if number % 4:
        return ()
    return (Following(_address(f"told{number}"), {"number": number}),)


def recipients(number: int) -> set[str]:
    match number % 4:
        case 0:
            return {*DEVICES, *CLIENTS, f"told{number}"}
        case 1:
            return set(CLIENTS)
        case 2:
            return {DEVICES[number % len(DEVICES)]}
    return {f"own{number}"}


async def prepare(path: Path) -> None:
    """A directory with an app, the devices, and their subscriptions."""
    async with broker.open(path, hold_connections=False) as b:
        app = b.default_app()
        await b.apps.set_namespace(app, "push", NamespaceRules(push_enabled=True))
        for name in [*DEVICES, *CLIENTS]:
            spec = DeviceSpec(
                id=name,
                platform="android",
                form_factor="phone",
                recipient=_address(name),
                client_id=CLIENT if name in CLIENTS else None,
                api=MATRIX if name in IN_ORDER else ABLY,
            )
            await b.push.register(app, spec)
        for name in [*DEVICES, CLIENTS[0]]:
            await b.push.subscribe(app, Subscription(CHANNEL, device_id=name))
        await b.push.subscribe(app, Subscription(CHANNEL, client_id=CLIENT))
