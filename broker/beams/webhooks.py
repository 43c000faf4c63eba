"""Webhooks of instances of Beams: commands, what they come to, and the fold of it.

A webhook is told of those events of its instance that it was made for. It is removed with its
instance, and that with its app. Adding one whose id is there replaces it, so that a configuration
can be applied again and again.
"""

from typing import Any
from uuid import UUID, uuid5

import msgspec

from broker import tenancy
from broker.beams import instances
from broker.beams.events import (
    BeamsInstanceRemoved,
    BeamsWebhookAdded,
    BeamsWebhookRemoved,
)
from broker.errors import BadRequest, NotFound
from broker.event import Kind
from broker.events import AppDeleted
from broker.messages.extras import check_encodable
from broker.messages.message import json_text
from storage import Decision, OnTrim, Record, Rows, Table
from storage.projection import Decide

TABLE = "beams_webhooks"
EVENTS = (
    PUBLISHED_TO_USERS,
    DELIVERED,
    OPENED,
) = (
    "v1.PublishToUsersAttempt",
    "v1.UserNotificationAcknowledgement",
    "v1.UserNotificationOpen",
)
WEBHOOKS_MAX = 20
SECRET_CHARS_MAX = 256
URL_CHARS_MAX = 4_096
CUSTOM_BYTES_MAX = 4_096


class Webhook(msgspec.Struct, frozen=True):
    """`id`: a UUID. `secret`: what requests are signed with. `events`: some of EVENTS, that it is
    told of. `custom_data`: what every request repeats.

    Defaults are kept like all else: what omits them compares tuples by identity, and the `events`
    of an event that was read from the log are another tuple than those of a live one.
    """

    app: str
    id: str
    url: str
    secret: str
    events: tuple[str, ...] = EVENTS
    custom_data: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"<Webhook {self.app} {self.id}>"


class AddWebhook(msgspec.Struct, frozen=True):
    webhook: Webhook


class RemoveWebhook(msgspec.Struct, frozen=True):
    app: str
    id: str


_encode = msgspec.msgpack.Encoder().encode
_read = msgspec.msgpack.Decoder(Webhook).decode


def add(rows: Rows, command: AddWebhook, ms: int) -> Decision:
    wanted = command.webhook
    check(wanted)
    if instances.instance_of(rows, wanted.app) is None:
        raise NotFound(f"app {wanted.app!r} has no Beams instance")
    known = {one.id: one for one in of_app(rows, wanted.app)}
    if known.get(wanted.id) == wanted:
        return Decision()
    if wanted.id not in known and len(known) >= WEBHOOKS_MAX:
        raise BadRequest(f"a Beams instance may have {WEBHOOKS_MAX} webhooks")
    fields = msgspec.structs.asdict(wanted)
    return tenancy.in_system_log(BeamsWebhookAdded(**fields))


def remove(rows: Rows, command: RemoveWebhook, ms: int) -> Decision:
    if all(one.id != command.id for one in of_app(rows, command.app)):
        raise NotFound(f"there is no webhook {command.id!r}")
    return tenancy.in_system_log(BeamsWebhookRemoved(command.app, command.id))


def declared_id(instance: str, url: str) -> str:
    """The id of a webhook that a configuration declares: the same at every start."""
    return str(uuid5(UUID(instance), url))


def check(webhook: Webhook) -> None:
    """Whether it makes sense. Which hosts may be asked is judged at each request, by the transport.
    Raises BadRequest."""
    instances.checked_id(webhook.id)
    if not 0 < len(webhook.url) <= URL_CHARS_MAX:
        raise BadRequest(f"a webhook's URL has 1 to {URL_CHARS_MAX} characters")
    if not 0 < len(webhook.secret) <= SECRET_CHARS_MAX:
        raise BadRequest(f"a webhook's secret has 1 to {SECRET_CHARS_MAX} characters")
    if not webhook.events or not set(webhook.events) <= set(EVENTS):
        raise BadRequest(f"a webhook's events are one or more of {', '.join(EVENTS)}")
    check_encodable(webhook.custom_data, "custom data", 40000)
    if len(json_text(webhook.custom_data, "custom data", 40000)) > CUSTOM_BYTES_MAX:
        raise BadRequest(f"a webhook's custom data has at most {CUSTOM_BYTES_MAX} bytes")


class BeamsWebhooks:
    """The projection."""

    name = TABLE
    prefix = b"f"
    kinds = frozenset({int(Kind.SYSTEM)})
    on_trim = OnTrim.KEEP

    def fold(self, table: Table, record: Record) -> None:
        match record.event:
            case BeamsWebhookAdded(app, id_):
                webhook = Webhook(**msgspec.structs.asdict(record.event))
                table.put(_of_app(app) + id_.encode(), _encode(webhook))
            case BeamsWebhookRemoved(app, id_):
                table.delete(_of_app(app) + id_.encode())
            case BeamsInstanceRemoved(app) | AppDeleted(app):
                for key, _ in list(table.scan(_of_app(app))):
                    table.delete(key)

    def unfold(self, table: Table, record: Record) -> None:
        raise AssertionError("the system log is never trimmed")


def _of_app(app: str) -> bytes:
    return app.encode() + b"\0"


def of_app(rows: Rows, app: str) -> list[Webhook]:
    """Of the instance of an app, in the order of their ids."""
    return [_read(row) for _, row in rows.scan(TABLE, _of_app(app))]


DECIDE: dict[type, Decide] = {
    AddWebhook: add,
    RemoveWebhook: remove,
}
