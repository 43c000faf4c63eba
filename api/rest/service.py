"""Routes about the service itself: its time, its health, and whether it can write."""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType
from quart import Blueprint, Response

from api.operation import operation
from api.replies import reply
from broker import Broker


class Health(msgspec.Struct, frozen=True):
    status: Literal["ok", "ready", "failed"]
    reason: str | UnsetType = UNSET


def routes(broker: Broker) -> Blueprint:
    blueprint = Blueprint("service", __name__)

    @blueprint.get("/time")
    @operation(
        "getTime",
        "The server's time, as an array of one number of milliseconds",
        "Service",
        answer=list[int],
        is_public=True,
    )
    async def time() -> Response:
        """`[ms]`: not before any message that exists, before every later one (reference 1.6.2)."""
        return reply([broker.now()])

    @blueprint.get("/health")
    @operation("getHealth", "Whether the process answers", "Service", answer=Health, is_public=True)
    async def health() -> Response:
        """The process answers."""
        return reply({"status": "ok"})

    @blueprint.get("/ready")
    @operation(
        "getReadiness",
        "Whether publishes are accepted: 503 once writing has stopped",
        "Service",
        answer=Health,
        others=((503, Health),),
        is_public=True,
    )
    async def ready() -> Response:
        """200 while publishes are accepted, 503 when writing has stopped for good."""
        if broker.failure:
            return reply({"status": "failed", "reason": "writing has stopped"}, 503)
        return reply({"status": "ready"})

    @blueprint.get("/is-the-internet-up.txt")
    @operation(
        "getConnectivity",
        "Whether requests get this far",
        "Service",
        answer=str,
        text_type="text/plain",
        is_public=True,
    )
    async def internet_up() -> Response:
        """What SDKs ask before they blame the server (reference 3.14)."""
        return Response("yes\n", content_type="text/plain")

    return blueprint
