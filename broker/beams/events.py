"""What happens to instances of Beams, as the log keeps it (see broker.events)."""

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
