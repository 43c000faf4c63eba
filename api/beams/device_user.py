"""`…/devices/<platform>/<device>/user`: whose a device is, as an app's own server says it."""

from quart import Blueprint, Response

from api.authentication import authorization
from api.beams.bodies import require_json_type_of_body
from api.beams.device_paths import DEVICE, as_refusals, find_device, named
from api.beams.errors import BAD_DEVICE_ID_FOR_USER, BAD_TOKEN, NO_TOKEN, BeamsError
from api.beams.paths import find_instance
from api.beams.replies import done
from api.beams.user_token import user_of
from broker import Broker

DEVICES_OF_USER_MAX = 100  # of one platform


def routes(broker: Broker) -> Blueprint:
    blueprint = Blueprint("push_beams_device_user", __name__)

    @blueprint.put(f"{DEVICE}/user")
    async def set_user(instance: str, platform: str, device: str) -> Response:
        """Saying it again is fine: SDKs do at every start."""
        path = named(instance, platform, device, BAD_DEVICE_ID_FOR_USER)
        await require_json_type_of_body()
        scheme, token = authorization()
        if not scheme:
            raise BeamsError(NO_TOKEN)
        of = find_instance(broker, path.instance)
        if scheme != "bearer":
            raise BeamsError(BAD_TOKEN)
        user = user_of(token, of, broker.clock())
        found = find_device(broker, of, path)
        with as_refusals():
            await broker.push.bind(of.app, found.id, user, DEVICES_OF_USER_MAX)
        return done()

    return blueprint
