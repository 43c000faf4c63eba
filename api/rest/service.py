"""Routes about the service itself: its time, its health, and whether it can write."""

from quart import Blueprint, Response

from api.replies import reply
from broker import Broker


def routes(broker: Broker) -> Blueprint:
    blueprint = Blueprint("service", __name__)

    @blueprint.get("/time")
    async def time() -> Response:
        """`[ms]`: not before any message that exists, before every later one (reference 1.6.2)."""
        return reply([broker.now()])

    @blueprint.get("/health")
    async def health() -> Response:
        """The process answers."""
        return reply({"status": "ok"})

    @blueprint.get("/ready")
    async def ready() -> Response:
        """200 while publishes are accepted, 503 when writing has stopped for good."""
        if broker.failure:
            return reply({"status": "failed", "reason": "writing has stopped"}, 503)
        return reply({"status": "ready"})

    @blueprint.get("/is-the-internet-up.txt")
    async def internet_up() -> Response:
        """What SDKs ask before they blame the server (reference 3.14)."""
        return Response("yes\n", content_type="text/plain")

    return blueprint
