"""What happens to devices and to notifications, as the log keeps it (see broker.events)."""

from typing import Any

import msgspec

from broker.event import Event

APIS = ABLY, BEAMS, MATRIX = "ably", "beams", "matrix"
"""The APIs that a device may have been registered over."""

INTERESTS, MATRIX_CHANNELS = "beams", "matrix"
"""The spaces of topics beside Ably's channels, whose is ""."""


class Device(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """A device that notifications are pushed to. `recipient`, `secret`: sealed with the device's
    key (broker.push.sealing). `rev`: counts its addresses, `updated_ms`: since when it has this
    one. `token_id`: of the token that it identifies itself with. `failures`: attempts in a row that
    came to nothing. `error`: an ErrorInfo. `api`: that it was registered over. `address`: a keyed
    digest that others with the same address are found by; empty where nobody looks for it."""

    id: str
    platform: str
    form_factor: str
    transport: str
    recipient: bytes
    secret: bytes = b""
    client_id: str | None = None
    metadata: dict[str, Any] | None = None
    rev: int = 1
    created_ms: int = 0
    updated_ms: int = 0
    modified_ms: int = 0
    token_id: str = ""
    update_token: str = ""
    state: str = "ACTIVE"
    failures: int = 0
    error: dict[str, Any] | None = None
    api: str = ABLY
    address: bytes = b""


class DeviceRegistered(Event, frozen=True, tag="device.registered", gc=False):
    """A device as it is from now on, whole: new, or changed."""

    device: Device


class DeviceRemoved(Event, frozen=True, tag="device.removed"):
    """With its own subscriptions."""

    device: str


class Subscription(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of a channel, or of a topic in another space: of one device, or of whatever devices a client
    has."""

    channel: str
    device_id: str | None = None
    client_id: str | None = None
    space: str = ""


class ChannelSubscribed(Event, frozen=True, tag="push.subscribed"):
    subscription: Subscription


class ChannelUnsubscribed(Event, frozen=True, tag="push.unsubscribed"):
    subscription: Subscription


class TopicsChanged(Event, frozen=True, tag="push.topics"):
    """Of the topics of a `space`, a device is subscribed to those that are `on` from now on, and
    no more to those that are `off` (which is remembered) or `gone`."""

    device: str
    space: str
    on: tuple[str, ...] = ()
    off: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


class PushRemoved(Event, frozen=True, tag="push.removed"):
    """The app was deleted, and its devices and subscriptions are gone."""


class Selector(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who a notification is for: one of `channel`, `device_id`, `client_id`, `recipient` (an
    address of its own), `topics` of a `space`, and `clients`; of clients and topics together, the
    clients' devices that are subscribed. `apis`, `transports`: only devices with one of these."""

    channel: str | None = None
    device_id: str | None = None
    client_id: str | None = None
    recipient: dict[str, Any] | None = None
    topics: tuple[str, ...] = ()
    space: str = ""
    clients: tuple[str, ...] = ()
    apis: tuple[str, ...] = ()
    transports: tuple[str, ...] = ()


class Following(msgspec.Struct, frozen=True, omit_defaults=True):
    """A notification that tells what came of another one: it is accepted when everybody whom that
    one is for has been tried once, and goes to `recipient`. What it says is `payload`, and `at` (in
    ms), `tally` and `clients` (the other's) beside it."""

    recipient: dict[str, Any]
    payload: dict[str, Any]


class Tally(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of first attempts: how many by transport, and for which clients. A client with a
    device that was reached is not among the missed."""

    sent: dict[str, int] = {}
    failed: dict[str, int] = {}
    reached: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()


class PublishAccepted(Event, frozen=True, tag="push.accepted", gc=False):
    """A notification for those whom `selector` names, wanted until `expires_ms`. `following`: what
    is accepted when everybody has been tried once."""

    selector: Selector
    payload: dict[str, Any]
    expires_ms: int
    following: tuple[Following, ...] = ()


class PushReported(Event, frozen=True, tag="push.reported"):
    """A device says what became of a notification: `what` ("delivery", "open")."""

    publish: str
    device: str
    what: str
    at_ms: int


class Attempt(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A delivery that is to be tried at `at_ms`, after `made` attempts. `device`: its id, "" for a
    selector with a recipient of its own. `in_order`: not before those of earlier publishes to the
    device are over."""

    device: str
    at_ms: int
    made: int = 0
    in_order: bool = False


class PublishProgressed(Event, frozen=True, tag="push.progressed", gc=False):
    """Everybody up to `cursor` has been tried with `publish` (a serial), and those in `attempts`
    are to be tried again. `cursor` None: there is nobody behind. `tally`: what came of it, where
    something follows."""

    publish: int
    cursor: bytes | None
    attempts: tuple[Attempt, ...] = ()
    tally: Tally | None = None


class DeliverySettled(Event, frozen=True, tag="push.settled", gc=False):
    """A delivery that had to be tried again is over, or, with `again`, is to be tried again."""

    publish: int
    device: str
    again: Attempt | None = None
