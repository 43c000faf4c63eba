"""`/reporting_api/v2/…/events`: devices say what became of notifications.

Anybody may call it, as at Beams. So only reports about existing devices are kept, once for each
notification and event, and webhooks are told the user that the device is bound to, not the user
that the report names. What a client sends never causes a 5xx: Android's SDK would repeat it without
end.
"""

import re
from typing import Any, NamedTuple

from quart import Blueprint, Response

from api.beams.bodies import as_object, read_bounded, require_json_type
from api.beams.errors import (
    BAD_INSTANCE_ID_OF_REPORT,
    TOO_LARGE_FOR_INTERESTS,
    BeamsError,
    invalid_in_body,
    missing_from_body,
)
from api.beams.paths import find_instance, instance_id
from api.beams.replies import done
from api.beams.telling import to_webhooks
from api.settings import ServerSettings
from broker import Broker
from broker.beams.instances import Instance
from broker.beams.webhooks import DELIVERED, OPENED
from broker.push.events import BEAMS, Device, Following

BODY_BYTES_MAX = 10 * 1024
DEVICE_ID_CHARS_MAX = 256
SECONDS_MAX = 10**11
_PUBLISH_ID = re.compile(r"pubid-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_WEBHOOK_EVENTS = {"delivery": DELIVERED, "open": OPENED}  # mobile SDKs begin them with capitals


class Report(NamedTuple):
    event: str
    publish: str
    device: str
    at_ms: int
    user: str | None


def routes(broker: Broker, settings: ServerSettings) -> Blueprint:
    blueprint = Blueprint("push_beams_reporting", __name__)

    @blueprint.post("/reporting_api/v2/instances/<segment:instance>/events")
    async def report_event(instance: str) -> Response:
        require_json_type()
        found = find_instance(broker, instance_id(instance, BAD_INSTANCE_ID_OF_REPORT))
        raw = await read_bounded(BODY_BYTES_MAX, TOO_LARGE_FOR_INTERESTS)
        said = read_report(as_object(raw, settings))
        device = broker.push.device(found.app, said.device, api=BEAMS)
        if device is None:
            return done()
        following = _told(broker, found, device, said)
        await broker.push.report(
            found.app, said.publish, said.device, said.event, said.at_ms, following
        )
        return done()

    return blueprint


def _told(broker: Broker, instance: Instance, device: Device, said: Report) -> list[Following]:
    """Nothing of a device that has no user, or another than the report says."""
    user = device.client_id
    if user is None or said.user not in (None, user):
        return []
    told = {"publish_id": said.publish, "user_id": user}
    event = _WEBHOOK_EVENTS[said.event]
    return to_webhooks(broker, instance, event, told, at_ms=broker.time_ms())


def read_report(body: dict[str, Any]) -> Report:
    """Raises BeamsError."""
    for field in ("event", "publishId", "deviceId", "timestampSecs"):
        if body.get(field) is None:
            raise BeamsError(missing_from_body(field))
    event = str(body["event"]).lower()
    publish, device, at_s = body["publishId"], body["deviceId"], body["timestampSecs"]
    user = body.get("userId")
    is_valid = {
        "event": event in _WEBHOOK_EVENTS,
        "publishId": isinstance(publish, str) and _PUBLISH_ID.fullmatch(publish),
        "deviceId": isinstance(device, str) and 0 < len(device) <= DEVICE_ID_CHARS_MAX,
        "timestampSecs": _is_instant(at_s),
        "userId": user is None or isinstance(user, str),
    }
    for field, is_one in is_valid.items():
        if not is_one:
            raise BeamsError(invalid_in_body(field))
    return Report(event, publish, device, int(at_s * 1_000), user or None)


def _is_instant(seconds: object) -> bool:
    """Early web SDKs sent fractions."""
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    return is_number and 0 <= seconds <= SECONDS_MAX  # type: ignore[operator]
