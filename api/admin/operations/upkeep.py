"""Operations on the broker as a whole: remove, rebuild and trim what it stores, say how it is."""

from typing import Any

import msgspec

from api.admin.operations.arguments import INVALID_ARGUMENTS, existing_app
from broker import Broker
from broker.audit_events import AdminActed
from broker.errors import BadRequest
from broker.messages import serials

AUDIT_PAGE_MAX = 500


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


async def audit(broker: Broker, limit: int = 100, cursor: str | None = None) -> dict[str, Any]:
    """What administrators did, the newest first: each action when it was asked for, and when it was
    over. `next` is the cursor of the page behind this one, None at the end."""
    if not 1 <= limit <= AUDIT_PAGE_MAX:
        raise BadRequest(f"limit must be 1 to {AUDIT_PAGE_MAX}", INVALID_ARGUMENTS)
    behind = serials.parse(cursor, broker.series) if cursor else None
    page = await broker.audit.page(limit, behind)
    return {
        "actions": [{"time": item.ms, **_action_fields(item.event)} for item in page.items],
        "next": None if page.cursor is None else serials.render(page.cursor, broker.series),
    }


def _action_fields(event: AdminActed) -> dict[str, Any]:
    return {**msgspec.structs.asdict(event), "code": event.code or None}
