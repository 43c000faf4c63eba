"""Requests to the webhooks of an instance, and to the `webhookUrl` of a publish.

Each is a notification of its own, that follows a publish or a report (api.push.beams_webhook).
"""

from typing import Any

from api.push.beams_webhook import PUBLISH_HOOK, WEBHOOK
from broker import Broker
from broker.beams.instances import Instance
from broker.beams.service import new_uuid
from broker.push.events import Following

Json = dict[str, Any]


def to_webhooks(
    broker: Broker, instance: Instance, event: str, told: Json, at_ms: int | None = None
) -> list[Following]:
    """`told`: what the event says beside the instance. `at_ms`: when it happened, if that is known
    already."""
    payload: Json = {
        "event": event,
        "eventId": new_uuid(),
        "payload": {"instance_id": instance.id, **told},
    }
    if at_ms is not None:
        payload["at"] = at_ms
    return [
        Following(
            {
                "transportType": WEBHOOK,
                "url": webhook.url,
                "secret": webhook.secret,
                "id": webhook.id,
                "customData": webhook.custom_data,
            },
            payload,
        )
        for webhook in broker.beams.webhooks(instance.app)
        if event in webhook.events
    ]


def to_publisher(hook: str, publish: str, body: Json, status: str, **more: Any) -> Following:
    payload = {"publishId": publish, "status": status, "requestBody": body, **more}
    return Following({"transportType": PUBLISH_HOOK, "url": hook}, payload)
