"""`/device_api/v1/instances/<instance>/web-vapid-public-key`: what browsers subscribe to.

All instances of a server have the same key, because it is the server that signs. Another key would
make every subscription useless.
"""

from quart import Blueprint, Response

from api.application import json_reply
from api.beams.errors import NOT_CONFIGURED, BeamsError
from api.beams.paths import find_instance, instance_id
from api.push.transports import Transports
from broker import Broker


def routes(broker: Broker, transports: Transports | None) -> Blueprint:
    blueprint = Blueprint("push_beams_web_key", __name__)

    @blueprint.get("/device_api/v1/instances/<segment:instance>/web-vapid-public-key")
    async def web_key(instance: str) -> Response:
        find_instance(broker, instance_id(instance))
        if transports is None:
            raise BeamsError(NOT_CONFIGURED)
        return json_reply({"vapidPublicKey": transports.public_vapid_key})

    return blueprint
