"""Operations on instances of Beams, and on their webhooks.

Results hold secrets: they are for the operator who asked, and nothing else.
"""

from typing import Any

from api.admin.operations.arguments import INVALID_ARGUMENTS, existing_app
from api.push.guard import Guard, RefusedUrl
from broker import Broker
from broker.beams.instances import Instance
from broker.beams.webhooks import EVENTS, Webhook
from broker.errors import BadRequest, NotFound


async def create_instance(broker: Broker, app: str | None = None) -> dict[str, Any]:
    """A new instance, with a random secret."""
    return _fields(await broker.beams.create(existing_app(broker, app)))


async def list_instances(broker: Broker) -> list[dict[str, Any]]:
    return [_fields(instance) for instance in broker.beams.list()]


async def remove_instance(broker: Broker, instance: str) -> None:
    """Remove an instance, and the devices that were registered with it, for good."""
    await broker.beams.remove(instance)


async def add_webhook(
    broker: Broker,
    instance: str,
    url: str,
    secret: str | None = None,
    events: list[str] | None = None,
    custom_data: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Tell a URL of an instance's events, of all unless some are given. The secret is a random one
    unless it is given."""
    app = _existing(broker, instance).app
    check_url(url)
    webhook = await broker.beams.add_webhook(
        app, url, secret, tuple(events or EVENTS), custom_data or {}
    )
    return _webhook_fields(webhook)


async def list_webhooks(broker: Broker, instance: str) -> list[dict[str, Any]]:
    found = broker.beams.webhooks(_existing(broker, instance).app)
    return [_webhook_fields(webhook) for webhook in found]


async def remove_webhook(broker: Broker, instance: str, webhook: str) -> None:
    await broker.beams.remove_webhook(_existing(broker, instance).app, webhook)


def check_url(url: str) -> None:
    """Raises BadRequest for what no server would ask for. Whether this one asks this machine, its
    configuration says."""
    try:
        Guard(allow_loopback=True).url(url)
    except RefusedUrl as refused:
        raise BadRequest(f"the webhook's URL: {refused}", INVALID_ARGUMENTS) from None


def _existing(broker: Broker, id_: str) -> Instance:
    found = broker.beams.instance(id_)
    if found is None:
        raise NotFound(f"there is no Beams instance {id_!r}")
    return found


def _fields(instance: Instance) -> dict[str, Any]:
    return {"app": instance.app, "instance": instance.id, "secretKey": instance.secret}


def _webhook_fields(webhook: Webhook) -> dict[str, Any]:
    return {
        "id": webhook.id,
        "url": webhook.url,
        "secret": webhook.secret,
        "events": list(webhook.events),
        "customData": webhook.custom_data,
    }
