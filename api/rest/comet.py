"""Realtime over plain HTTP, which we do not have: WebSockets only.

In browsers ably-js asks for it where its WebSocket could not be opened and its test of WebSockets
failed too, which on a network without internet is whenever the broker restarts. It takes a code
of 40000 to 49999 for final and never connects again, so the refusal has another one: then it
comes back, by WebSocket.
"""

from quart import Blueprint, Response

from api.operation import operation
from broker.errors import NotFound

DISCONNECTED = 80003


def routes() -> Blueprint:
    blueprint = Blueprint("comet", __name__)

    @blueprint.get("/comet/<path:rest>")
    @operation("refuseComet", "There is no comet here", "Service", status=404, is_public=True)
    async def refuse(rest: str) -> Response:
        raise _refusal()

    @blueprint.post("/comet/<path:rest>")
    @operation(
        "refuseCometRequest", "There is no comet here", "Service", status=404, is_public=True
    )
    async def refuse_post(rest: str) -> Response:
        raise _refusal()

    return blueprint


def _refusal() -> NotFound:
    return NotFound("realtime connections are WebSockets here, not comet", DISCONNECTED)
