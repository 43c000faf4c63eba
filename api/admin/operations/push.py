"""Operations on push: which devices there are, what is on its way to them, and one notification.

Nothing here shows an address or a secret of a device.
"""

from typing import Any

from api.admin.operations.arguments import INVALID_ARGUMENTS, existing_app
from broker import Broker, NotFound
from broker.errors import BadRequest
from broker.messages import serials
from broker.push.events import APIS, Device, Selector

DEVICES_MAX = 1_000
PUBLISHES_MAX = 100


async def list_devices(
    broker: Broker, app: str | None = None, client_id: str | None = None, limit: int = 100
) -> list[dict[str, Any]]:
    """Devices of an app, or of one of its clients."""
    if not 1 <= limit <= DEVICES_MAX:
        raise BadRequest(f"limit must be 1 to {DEVICES_MAX}", INVALID_ARGUMENTS)
    page = await broker.push.lists.devices(
        existing_app(broker, app), client=client_id, limit=limit, api=None
    )
    return [_device_fields(device) for device in page.items]


async def remove_device(broker: Broker, device: str, app: str | None = None) -> None:
    """Remove a device and its subscriptions; what was stored of it cannot be read any more."""
    app = existing_app(broker, app)
    if broker.push.device(app, device, api=None) is None:
        raise NotFound(f"there is no device {device!r}")
    await broker.push.remove(app, device=device, api=None)


async def send(
    broker: Broker,
    title: str,
    body: str = "",
    app: str | None = None,
    device: str | None = None,
    client_id: str | None = None,
    channel: str | None = None,
) -> None:
    """Notify a device, a client's devices, or the subscribers of a channel."""
    if sum(one is not None for one in (device, client_id, channel)) != 1:
        raise BadRequest("give one of device, client_id and channel", INVALID_ARGUMENTS)
    app = existing_app(broker, app)
    if device is not None and broker.push.device(app, device, api=None) is None:
        raise NotFound(f"there is no device {device!r}")
    selector = Selector(channel=channel, device_id=device, client_id=client_id, apis=APIS)
    await broker.push.publish(app, selector, {"notification": {"title": title, "body": body}})


async def status(broker: Broker) -> dict[str, Any]:
    """What is on its way, what came of attempts since the broker started, and which endpoints are
    left alone for a while because they fail."""
    publishes = await broker.outbox.unfinished(PUBLISHES_MAX)
    return {
        "unfinished": [
            {
                "app": row.app,
                "serial": serials.render(row.serial, broker.series),
                "for": _whom(row.selector),
                "expires": row.expires_ms,
                "expanding": row.cursor is not None,
                "waiting": row.waiting,
            }
            for row in publishes
        ],
        "attempts": {verdict.value: count for verdict, count in broker.outbox.counts.items()},
        "openCircuits": broker.outbox.attempts.lanes.open_circuits,
    }


def _whom(selector: Selector) -> str:
    """In few words: of many names how many there are, and of an address only its kind."""
    if selector.recipient is not None:
        return f"an address: {selector.recipient.get('transportType')}"
    named = {
        "channel": selector.channel,
        "device": selector.device_id,
        "client": selector.client_id,
        "topics": _few(selector.topics),
        "clients": _few(selector.clients),
    }
    return ", ".join(f"{what} {who}" for what, who in named.items() if who)


def _few(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"({len(names)})" if names else ""


def _device_fields(device: Device) -> dict[str, Any]:
    return {
        "id": device.id,
        "api": device.api,
        "platform": device.platform,
        "formFactor": device.form_factor,
        "transport": device.transport,
        "clientId": device.client_id,
        "state": device.state,
        "failures": device.failures,
        "error": device.error,
        "modified": device.modified_ms,
    }
