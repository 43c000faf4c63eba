"""Instances of Beams and their webhooks as callers have them: look-ups, making and removing them.

Look-ups read the projection, so what a command created is there when the command has returned.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from broker import randomness
from broker.apps import Submit, View
from broker.beams import instances, webhooks
from broker.beams.instances import CreateInstance, Instance, RemoveInstance
from broker.beams.webhooks import EVENTS, AddWebhook, RemoveWebhook, Webhook
from broker.errors import NotFound
from broker.push.events import BEAMS
from broker.push.service import Push

_SECRET_BYTES = 32


def new_uuid() -> str:
    return str(UUID(bytes=randomness.new_bytes(16), version=4))


class Beams:
    """What `tidelog beams` does, in process."""

    def __init__(self, submit: Submit, rows: View, push: Push) -> None:
        self._submit = submit
        self._rows = rows
        self._push = push

    def instance(self, id_: str) -> Instance | None:
        """By its id, in capitals or not."""
        with self._rows() as rows:
            return instances.instance(rows, id_.lower())

    def instance_of(self, app: str) -> Instance | None:
        with self._rows() as rows:
            return instances.instance_of(rows, app)

    def list(self) -> list[Instance]:
        with self._rows() as rows:
            return instances.instances(rows)

    async def create(self, app: str) -> Instance:
        """A new instance with a random secret. Raises NotFound, BadRequest."""
        id_ = new_uuid()
        secret = randomness.new_bytes(_SECRET_BYTES).hex().upper()
        return await self.ensure(app, id_, secret, keep=False)

    async def ensure(self, app: str, id_: str, secret: str, *, keep: bool = True) -> Instance:
        """Make an instance exist: how configuration is reconciled. Raises NotFound for the app,
        BadRequest when the instance, or another of the app, exists otherwise."""
        if self.instance_of(app) is None:  # of one before, if a crash came while it was removed
            await self._push.remove(app, api=BEAMS)
        await self._submit(CreateInstance(app, id_, secret, keep), app=app)
        made = self.instance(id_)
        if made is None:
            raise NotFound(f"there is no Beams instance {id_!r}")
        return made

    async def remove(self, id_: str) -> None:
        """Remove an instance, and then the devices that were registered with it, for good."""
        known = self.instance(id_)
        if known is None:
            raise NotFound(f"there is no Beams instance {id_!r}")
        await self._submit(RemoveInstance(known.id), app=known.app)
        await self._push.remove(known.app, api=BEAMS)

    def webhooks(self, app: str) -> Sequence[Webhook]:
        """Those of an app's instance."""
        with self._rows() as rows:
            return webhooks.of_app(rows, app)

    async def add_webhook(
        self,
        app: str,
        url: str,
        secret: str | None = None,
        events: tuple[str, ...] = EVENTS,
        custom_data: dict[str, Any] | None = None,
    ) -> Webhook:
        """A new webhook of an app's instance, with a random secret unless one is given. Raises
        NotFound, BadRequest."""
        secret = secret or randomness.new_secret()
        return await self.put_webhook(
            Webhook(app, new_uuid(), url, secret, events, custom_data or {})
        )

    async def put_webhook(self, webhook: Webhook) -> Webhook:
        """Add a webhook, or replace the one with its id. Raises NotFound, BadRequest."""
        await self._submit(AddWebhook(webhook), app=webhook.app)
        return webhook

    async def remove_webhook(self, app: str, id_: str) -> None:
        """Raises NotFound."""
        await self._submit(RemoveWebhook(app, id_), app=app)
