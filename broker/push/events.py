"""What happens to devices and to notifications, as the log keeps it (see broker.events)."""

from typing import Any

import msgspec

from broker.event import Event


class Device(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """A device that notifications are pushed to. `recipient`, `secret`: sealed with the device's
    key (broker.push.sealing). `rev`: counts its addresses, `updated_ms`: since when it has this
    one. `token_id`: of the token that it identifies itself with. `failures`: attempts in a row that
    came to nothing. `error`: an ErrorInfo."""

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


class DeviceRegistered(Event, frozen=True, tag="device.registered", gc=False):
    """A device as it is from now on, whole: new, or changed."""

    device: Device


class DeviceRemoved(Event, frozen=True, tag="device.removed"):
    """With its own subscriptions."""

    device: str


class Subscription(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of a channel: of one device, or of whatever devices a client has."""

    channel: str
    device_id: str | None = None
    client_id: str | None = None


class ChannelSubscribed(Event, frozen=True, tag="push.subscribed"):
    subscription: Subscription


class ChannelUnsubscribed(Event, frozen=True, tag="push.unsubscribed"):
    subscription: Subscription


class PushRemoved(Event, frozen=True, tag="push.removed"):
    """The app was deleted, and its devices and subscriptions are gone."""


class Selector(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who a notification is for: one of these. `recipient`: an address of its own."""

    channel: str | None = None
    device_id: str | None = None
    client_id: str | None = None
    recipient: dict[str, Any] | None = None


class PublishAccepted(Event, frozen=True, tag="push.accepted", gc=False):
    """A notification to be delivered to whom `selector` names, until `expires_ms`."""

    selector: Selector
    payload: dict[str, Any]
    expires_ms: int


class Attempt(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A delivery that is to be tried at `at_ms`, after `made` attempts. `device`: its id, "" for a
    selector with a recipient of its own."""

    device: str
    at_ms: int
    made: int = 0


class PublishProgressed(Event, frozen=True, tag="push.progressed", gc=False):
    """Of `publish` (a serial) everybody up to `cursor` has been tried; those in `attempts` are to
    be tried again. None: everybody has."""

    publish: int
    cursor: bytes | None
    attempts: tuple[Attempt, ...] = ()


class DeliverySettled(Event, frozen=True, tag="push.settled", gc=False):
    """A delivery that had to be tried again is over, or, with `again`, is to be tried again."""

    publish: int
    device: str
    again: Attempt | None = None
