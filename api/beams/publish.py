"""`/publish_api/v1/…/publishes`: notifications to those who have interests, and to users.

Accepted is on disk, with what webhooks will be told of it. Order of checks: content type, instance,
key, rate, size, JSON, schema.
"""

from quart import Blueprint, Response

from api.application import json_reply
from api.beams.bodies import as_object, read_bounded, require_json_type
from api.beams.caller import Callers
from api.beams.errors import TOO_LARGE_FOR_INTERESTS, TOO_LARGE_FOR_USERS
from api.beams.publish_reading import Publish, notification, read_publish
from api.beams.telling import to_publisher, to_webhooks
from api.push.guard import Guard
from api.settings import ServerSettings
from broker import Broker
from broker.beams.service import new_uuid
from broker.beams.webhooks import PUBLISHED_TO_USERS
from broker.push.events import Following

INTERESTS_BODY_BYTES_MAX = 10 * 1024
USERS_BODY_BYTES_MAX = 200 * 1024
PREFIX = "/publish_api/v1/instances/<segment:instance>/publishes"


def routes(broker: Broker, settings: ServerSettings, guard: Guard, callers: Callers) -> Blueprint:
    blueprint = Blueprint("push_beams_publish", __name__)

    @blueprint.post(PREFIX, endpoint="bare")
    @blueprint.post(f"{PREFIX}/interests")
    async def to_interests(instance: str) -> Response:
        return await accepted(instance, to_users=False)

    @blueprint.post(f"{PREFIX}/users")
    async def to_users(instance: str) -> Response:
        return await accepted(instance, to_users=True)

    async def accepted(segment: str, *, to_users: bool) -> Response:
        require_json_type()
        instance = callers.instance(segment)
        if to_users:
            raw = await read_bounded(USERS_BODY_BYTES_MAX, TOO_LARGE_FOR_USERS)
        else:
            raw = await read_bounded(INTERESTS_BODY_BYTES_MAX, TOO_LARGE_FOR_INTERESTS)
        body = as_object(raw, settings)
        publish = read_publish(body, guard, to_users=to_users)
        id_ = f"pubid-{new_uuid()}"
        beside, following = _told(publish, id_, body)
        if to_users:
            told = {"publish_id": id_}
            following += to_webhooks(broker, instance, PUBLISHED_TO_USERS, told)
        payload = notification(publish.parts, instance.id, id_)
        await broker.push.publish(
            instance.app,
            publish.selector,
            payload,
            following=following,
            beside=beside,
            cost=256 + 4 * len(raw),
        )
        return json_reply({"publishId": id_})

    return blueprint


def _told(
    publish: Publish, id_: str, body: dict[str, object]
) -> tuple[list[Following], list[Following]]:
    """What whoever published it is told at once, and when everybody was tried."""
    if publish.hook is None:
        return [], []
    started = to_publisher(publish.hook, id_, body, "STARTED")
    finished = to_publisher(publish.hook, id_, body, "FINISHED", platforms=list(publish.parts))
    return [started], [finished]
