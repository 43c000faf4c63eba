"""`/customer_api/v1/…/users/<user>`, and `/user_api/v1/…` as the Node SDK has it: deleting a user.

All devices of the user that were registered over Beams go, for good. A user who has none, or was
never heard of, is deleted too. The id is all that is left of the path: some SDKs do not encode its
slashes.
"""

from urllib.parse import unquote

from quart import Blueprint, Response

from api.beams.caller import Callers
from api.beams.errors import BAD_USER_ID, NO_USER_ID, BeamsError
from api.beams.names import is_user
from api.beams.replies import done
from broker import Broker
from broker.push.events import BEAMS

APIS = ("customer_api", "user_api")


def routes(broker: Broker, callers: Callers) -> Blueprint:
    blueprint = Blueprint("push_beams_customer", __name__)

    async def delete_user(instance: str, user: str = "") -> Response:
        found = callers.instance(instance)
        await broker.push.remove(found.app, client=_user_id(user), api=BEAMS)
        return done()

    for api in APIS:
        users = f"/{api}/v1/instances/<segment:instance>/users"
        blueprint.add_url_rule(users, f"{api}_nobody", delete_user, methods=["DELETE"])
        blueprint.add_url_rule(f"{users}/<rest:user>", api, delete_user, methods=["DELETE"])
    return blueprint


def _user_id(segment: str) -> str:
    if not segment:
        raise BeamsError(NO_USER_ID)
    try:
        user = unquote(segment, errors="strict")
    except UnicodeDecodeError:
        raise BeamsError(BAD_USER_ID) from None
    if not is_user(user):
        raise BeamsError(BAD_USER_ID)
    return user
