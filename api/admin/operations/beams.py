"""Operations on instances of Beams.

Results hold secrets: they are for the operator who asked, and nothing else.
"""

from typing import Any

from api.admin.operations.arguments import existing_app
from broker import Broker
from broker.beams.instances import Instance


async def create_instance(broker: Broker, app: str | None = None) -> dict[str, Any]:
    """A new instance, with a random secret."""
    return _fields(await broker.beams.create(existing_app(broker, app)))


async def list_instances(broker: Broker) -> list[dict[str, Any]]:
    return [_fields(instance) for instance in broker.beams.list()]


async def remove_instance(broker: Broker, instance: str) -> None:
    """Remove an instance, and the devices that were registered with it, for good."""
    await broker.beams.remove(instance)


def _fields(instance: Instance) -> dict[str, Any]:
    return {"app": instance.app, "instance": instance.id, "secretKey": instance.secret}
