"""What the push admin API takes and answers, as types (PCD, PCS)."""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType, field

from api.parameters import Count
from api.rest.bodies import Body, Notification, Push
from api.rest.resources import Ms, Resource

Platform = Literal["android", "ios", "browser"]
FormFactor = Literal["phone", "tablet", "desktop", "tv", "watch", "car", "embedded", "other"]
TransportType = Literal["apns", "fcm", "gcm", "web", "webhook", "ablyChannel"]
Text = str | UnsetType
LIMIT_MAX = 1_000
Limit = Annotated[Count, Meta(description="items of a page; at most 1,000 are given")]


class Recipient(Body, frozen=True, kw_only=True):
    """Where a device is reached; what is needed depends on the transport."""

    transport_type: TransportType
    device_token: Annotated[str, Meta(description="of apns")] | UnsetType = UNSET
    registration_token: Annotated[str, Meta(description="of fcm and gcm")] | UnsetType = UNSET
    target_url: Annotated[str, Meta(description="of web: the endpoint")] | UnsetType = UNSET
    encryption_key: (
        Annotated[dict[str, str], Meta(description="of web: p256dh and auth")] | UnsetType
    ) = UNSET
    public_vapid_key: Text = UNSET
    url: Annotated[str, Meta(description="of webhook")] | UnsetType = UNSET
    secret: Annotated[str, Meta(description="of webhook: what signs requests")] | UnsetType = UNSET
    channel: Annotated[str, Meta(description="of ablyChannel")] | UnsetType = UNSET
    ably_key: Text = UNSET
    ably_url: Text = UNSET


class DevicePush(Body, frozen=True, kw_only=True):
    recipient: Recipient


class NewDevice(Body, frozen=True, kw_only=True):
    """A device to register."""

    id: Annotated[str, Meta(min_length=1, max_length=256)]
    platform: Platform
    form_factor: FormFactor
    push: DevicePush
    client_id: Annotated[str, Meta(min_length=1)] | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET
    device_secret: Annotated[str, Meta(max_length=256)] | UnsetType = UNSET
    recipient: (
        Annotated[Recipient, Meta(description="push.recipient, spelt in one")] | UnsetType
    ) = field(default=UNSET, name="push.recipient")


class DeviceChange(Body, frozen=True, kw_only=True):
    """What is to be otherwise of a device."""

    push: DevicePush | UnsetType = UNSET
    client_id: str | UnsetType | None = UNSET
    metadata: dict[str, Any] | UnsetType | None = UNSET


class DeviceDetails(Resource, frozen=True, kw_only=True):
    """A device (PCD)."""

    id: str
    platform: Platform
    form_factor: FormFactor
    push: Annotated[
        dict[str, Any], Meta(description="recipient, state (ACTIVE, FAILING, FAILED), error")
    ]
    modified: Ms
    client_id: str | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET
    device_secret: Annotated[str, Meta(description="to admins")] | UnsetType = UNSET
    update_token: str | UnsetType = UNSET
    device_identity_token: (
        Annotated[dict[str, Any], Meta(description="when it is registered: who it is")] | UnsetType
    ) = UNSET


class Subscription(Resource, frozen=True, kw_only=True):
    """A device, or all of a client's, that a channel's notifications go to (PCS)."""

    channel: str
    device_id: str | UnsetType = UNSET
    client_id: str | UnsetType = UNSET


class NewSubscription(Body, frozen=True, kw_only=True):
    """One of device_id and client_id."""

    channel: Annotated[str, Meta(min_length=1)]
    device_id: Text = UNSET
    client_id: Text = UNSET


class Notice(Body, frozen=True, kw_only=True):
    """A notification to devices. What it says is beside the recipient, or in `push`."""

    recipient: Annotated[
        dict[str, Any],
        Meta(
            description="a deviceId, a clientId, a matrixChannel (with a clientId: of that client's"
            " pushers only), or an address of its own"
        ),
    ]
    notification: Notification | UnsetType = UNSET
    data: Any = UNSET
    apns: dict[str, Any] | UnsetType = UNSET
    fcm: dict[str, Any] | UnsetType = UNSET
    web: dict[str, Any] | UnsetType = UNSET
    matrix: dict[str, Any] | UnsetType = UNSET
    push: Push | UnsetType = UNSET


class BatchNotice(Body, frozen=True, kw_only=True):
    """The same notification to one or several recipients."""

    recipient: dict[str, Any] | list[dict[str, Any]]
    payload: dict[str, Any]
