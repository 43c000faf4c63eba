"""What happens to instances of Beams, as the log keeps it (see broker.events)."""

from typing import Any

from broker.event import Event


class BeamsInstanceCreated(Event, frozen=True, tag="beams.created"):
    """An app is served to the SDKs of Beams, as `instance` (a UUID), which `secret` is the key
    of."""

    app: str
    instance: str
    secret: str

    def __repr__(self) -> str:
        return f"<BeamsInstanceCreated {self.app} {self.instance}>"


class BeamsInstanceRemoved(Event, frozen=True, tag="beams.removed"):
    app: str
    instance: str


class BeamsWebhookAdded(Event, frozen=True, tag="beams.webhook.added"):
    """The instance of an app tells `url` of these events, signed with `secret`; with `custom_data`
    in every request. Replaces the one with this id (a UUID)."""

    app: str
    id: str
    url: str
    secret: str
    events: tuple[str, ...]
    custom_data: dict[str, Any]

    def __repr__(self) -> str:
        return f"<BeamsWebhookAdded {self.app} {self.id}>"


class BeamsWebhookRemoved(Event, frozen=True, tag="beams.webhook.removed"):
    app: str
    id: str
