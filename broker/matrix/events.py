"""What happens to an app's rules for Matrix pushers, as the log keeps it (see broker.events)."""

from broker.event import Event


class MatrixChannelsSet(Event, frozen=True, tag="matrix.channels"):
    """The channels that pushers of an app may have, each with the status that a new one begins
    with; no others are there from now on."""

    app: str
    channels: dict[str, str]


class MatrixEncryptionSet(Event, frozen=True, tag="matrix.encryption"):
    """Whether pushers have to be encrypted, may be, or must not be: those of the client
    application `app_id`, or, where that is None, of all that have no rule of their own. `rule`
    None: as if it had never been said."""

    app: str
    rule: str | None
    app_id: str | None = None
