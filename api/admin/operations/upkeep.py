"""Operations on the broker as a whole: remove, rebuild and trim what it stores, say how it is."""

from typing import Any

from api.admin.operations.arguments import existing_app
from broker import Broker


async def purge(
    broker: Broker,
    app: str | None = None,
    channel: str | None = None,
    client_id: str | None = None,
) -> None:
    """Remove for good what was stored so far of an app, one of its channels or of its clients."""
    await broker.purge(existing_app(broker, app), channel=channel, client_id=client_id)


async def rebuild(broker: Broker) -> None:
    """Fold every projection again from the log."""
    await broker.rebuild()


async def sweep(broker: Broker) -> dict[str, Any]:
    """Trim what is past its retention, now."""
    return {"streamsTrimmed": await broker.sweep()}


async def status(broker: Broker) -> dict[str, Any]:
    return {
        "ready": broker.failure is None,
        "failure": broker.failure,
        "time": broker.now(),
        "apps": len(broker.apps.list()),
        "metrics": {name: getattr(broker.metrics, name) for name in broker.metrics.__slots__},
    }
