"""`/push/publish`: notifications to devices, clients and addresses (RSH1a); reference push.md 3.3.

Accepted is on disk: what comes of it later is told on `[meta]log:push` and by the device's state.
"""

from collections.abc import Mapping
from typing import Any

from quart import Blueprint, Response, request

from api.formats import decode_body
from api.operation import operation
from api.push.guard import Guard
from api.replies import no_content, reply
from api.rest.push_caller import caller
from api.rest.push_reading import checked_id, fields_of, read_payload, read_recipient
from api.rest.push_resources import BatchNotice, Notice
from api.settings import ServerSettings
from broker import Broker
from broker.errors import BadRequest
from broker.push import identity, notice
from broker.push.events import Selector

NOTICES_MAX = 10_000


def routes(broker: Broker, settings: ServerSettings, guard: Guard) -> Blueprint:
    blueprint = Blueprint("push_publish", __name__)

    async def body() -> Any:
        return decode_body(await request.data, request.content_type, settings)

    @blueprint.post("/push/publish")
    @operation(
        "publishPushNotificationToDevices",
        "Notify a device, a client's devices, or an address",
        "Push",
        body=Notice,
        status=204,
    )
    async def publish() -> Response:
        principal = caller(broker)
        identity.require_admin(principal)
        fields = fields_of(await body())
        payload, selector = read_payload(fields), read_selector(fields.get("recipient"), guard)
        await broker.push.publish(principal.app_id, selector, payload)
        return no_content()

    async def batch() -> Response:
        principal = caller(broker)
        identity.require_admin(principal)
        notices = read_batch(await body(), guard)
        await broker.push.publish_each(principal.app_id, notices)
        return reply({"successCount": len(notices), "failureCount": 0}, 201)

    for path, id_ in (
        ("/push/batch/publish", "publishPushBatch"),
        ("/push/admin/batch/publish", "publishPushBatchToo"),
    ):
        described = operation(
            id_,
            "Several notifications in one request",
            "Push",
            body=list[BatchNotice],
            answer=dict[str, int],
            status=201,
        )

        async def view() -> Response:
            return await batch()

        blueprint.add_url_rule(path, id_, described(view), methods=["POST"])
    return blueprint


def read_selector(recipient: Any, guard: Guard) -> Selector:
    """Raises BadRequest 40000."""
    if not isinstance(recipient, Mapping) or not recipient:
        raise BadRequest("recipient must name a device, a client, a Matrix channel, or an address")
    if recipient.get("matrixChannel") is not None:
        return _of_matrix(recipient)
    if recipient.get("deviceId"):
        return Selector(device_id=checked_id(recipient["deviceId"], "recipient.deviceId"))
    if recipient.get("clientId"):
        return Selector(client_id=checked_id(recipient["clientId"], "recipient.clientId"))
    return Selector(recipient=read_recipient(recipient, guard))


def _of_matrix(recipient: Mapping[str, Any]) -> Selector:
    """The Matrix pushers that have a channel enabled: all, or a client's."""
    named = {name: recipient.get(name) for name in ("deviceId", "clientId", "matrixChannel")}
    ids = {
        name: checked_id(value, f"recipient.{name}")
        for name, value in named.items()
        if value is not None
    }
    return notice.selector(ids.get("deviceId"), ids.get("clientId"), None, ids.get("matrixChannel"))


def read_batch(body: Any, guard: Guard) -> list[tuple[Selector, dict[str, Any]]]:
    """Everything is read before anything is accepted. Raises BadRequest 40000."""
    items = body if isinstance(body, list) else [body]
    notices: list[tuple[Selector, dict[str, Any]]] = []
    for index, item in enumerate(items):
        if not isinstance(item, Mapping) or not isinstance(item.get("payload"), Mapping):
            raise BadRequest(f"notice {index}: it needs a recipient and a payload")
        given = item.get("recipient")
        payload = read_payload(item["payload"])
        recipients = given if isinstance(given, list) else [given]
        notices += [(read_selector(one, guard), payload) for one in recipients]
    if not 1 <= len(notices) <= NOTICES_MAX:
        raise BadRequest(f"a batch has 1 to {NOTICES_MAX} notifications")
    return notices
