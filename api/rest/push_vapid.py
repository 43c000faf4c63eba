"""`/push/publicVapidKey`: what browsers subscribe to, so that only we notify them (RFC 8292)."""

from quart import Blueprint, Response

from api.operation import operation
from api.push.transports import Transports
from api.rest.push_caller import caller
from broker import Broker
from broker.errors import NotFound


def routes(broker: Broker, transports: Transports | None) -> Blueprint:
    blueprint = Blueprint("push_vapid", __name__)

    @blueprint.get("/push/publicVapidKey")
    @operation(
        "getPublicVapidKey",
        "The application server's key: an uncompressed P-256 point, base64url",
        "Push",
        answer=str,
        text_type="text/plain",
    )
    async def vapid_key() -> Response:
        caller(broker)
        if transports is None:
            raise NotFound("this server sends no Web Push")
        return Response(transports.public_vapid_key, content_type="text/plain")

    return blueprint
