"""Devices, addresses and an app with push enabled, in a few words."""

from pathlib import Path
from typing import Any

from broker import Broker
from broker.event import Kind
from broker.push.events import Device, Subscription
from broker.push.service import DeviceSpec
from broker.tenancy import NamespaceRules
from storage import Record, Span, Stream

CHANNEL = "push:c"


def address(text: str = "an address") -> dict[str, Any]:
    return {"transportType": "apns", "deviceToken": text}


def spec(id_: str = "d", client_id: str | None = None, **fields: Any) -> DeviceSpec:
    return DeviceSpec(
        id=id_,
        platform=fields.pop("platform", "ios"),
        form_factor=fields.pop("form_factor", "phone"),
        recipient=fields.pop("recipient", address(f"of {id_}")),
        client_id=client_id,
        **fields,
    )


def of_device(id_: str, channel: str = CHANNEL) -> Subscription:
    return Subscription(channel, device_id=id_)


def of_client(id_: str, channel: str = CHANNEL) -> Subscription:
    return Subscription(channel, client_id=id_)


async def enabled(b: Broker, app: str | None = None) -> str:
    """An app in which channels `push:…` have push enabled: the first, if none is named."""
    app = app or b.default_app()
    await b.apps.set_namespace(app, "push", NamespaceRules(push_enabled=True))
    return app


async def registered(b: Broker, app: str, *ids: str, **fields: Any) -> list[Device]:
    return [await b.push.register(app, spec(id_, **fields)) for id_ in ids]


async def records(b: Broker, app: str, kind: Kind = Kind.PUSH) -> list[Record]:
    return (await b.log.read(Stream(app, "", kind), Span(), limit=1_000)).records


async def subscriptions(b: Broker, app: str, **where: Any) -> set[tuple[str, str]]:
    """(channel, whose): a device is `d:id`, a client `c:id`."""
    found = (await b.push.lists.subscriptions(app, **where, limit=1_000)).items
    whose = {(s.channel, f"d:{s.device_id}" if s.device_id else f"c:{s.client_id}") for s in found}
    assert len(whose) == len(found)
    return whose


async def ids(b: Broker, app: str, **where: Any) -> set[str]:
    found = (await b.push.lists.devices(app, **where, limit=1_000)).items
    return {device.id for device in found}


def on_disk(path: Path) -> bytes:
    """Whatever the files of a data directory hold."""
    return b"".join(file.read_bytes() for file in path.iterdir() if file.is_file())
