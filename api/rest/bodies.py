"""What requests carry, as types: the schemas of bodies in `/openapi.json`.

Bodies are read with more patience than this (reference, appendix B): null means absent, numbers may
be text, and fields that nobody knows are passed over.
"""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

Text = str | UnsetType


class Body(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of what is sent."""


class Notification(Body, frozen=True, kw_only=True):
    """What a device shows."""

    title: Text = UNSET
    body: Annotated[str, Meta(description="text below the title")] | UnsetType = UNSET
    icon: Text = UNSET
    sound: Text = UNSET
    collapse_key: (
        Annotated[str, Meta(description="notifications with the same one are shown as one")]
        | UnsetType
    ) = UNSET


class PlatformPush(Body, frozen=True, kw_only=True):
    """What one platform's devices are sent instead."""

    notification: Notification | UnsetType = UNSET


class Push(Body, frozen=True, kw_only=True):
    """What devices subscribed to the channel are sent."""

    notification: Notification | UnsetType = UNSET
    data: Annotated[Any, Meta(description="for the app itself")] = UNSET
    apns: PlatformPush | UnsetType = UNSET
    fcm: PlatformPush | UnsetType = UNSET
    web: PlatformPush | UnsetType = UNSET
    matrix: (
        Annotated[dict[str, Any], Meta(description="a notification in Matrix's words")] | UnsetType
    ) = UNSET


Scalar = str | int | float | bool | None


class Extras(Body, frozen=True, kw_only=True):
    """What travels with a message besides its data. Comes back as it was sent."""

    push: Push | UnsetType = UNSET
    headers: dict[str, Scalar] | UnsetType = UNSET
    ref: dict[str, Any] | UnsetType = UNSET
    ephemeral: Annotated[bool, Meta(description="not kept in history")] | UnsetType = UNSET


class PublishedMessage(Body, frozen=True, kw_only=True):
    """A message to publish (TM2)."""

    id: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=1024,
                description="published once; of several messages <base>:<index> each",
            ),
        ]
        | UnsetType
    ) = UNSET
    name: Annotated[str, Meta(max_length=2048)] | UnsetType = UNSET
    data: (
        Annotated[
            str | dict[str, Any] | list[Any],
            Meta(description="text, binary (MessagePack), or JSON: an object or an array"),
        ]
        | UnsetType
    ) = UNSET
    encoding: Annotated[str, Meta(max_length=1024)] | UnsetType = UNSET
    client_id: Annotated[str, Meta(min_length=1)] | UnsetType = UNSET
    connection_key: (
        Annotated[str, Meta(description="of the live connection to publish for")] | UnsetType
    ) = UNSET
    extras: Extras | UnsetType = UNSET


class MessageVersion(Body, frozen=True, kw_only=True):
    """Who changes a message, and why (MOP)."""

    client_id: Text = UNSET
    description: Annotated[str, Meta(max_length=2048)] | UnsetType = UNSET
    metadata: dict[str, str] | UnsetType = UNSET


class MessageChange(Body, frozen=True, kw_only=True):
    """What a message is to be; what is absent stays as it is."""

    action: (
        Annotated[int, Meta(ge=1, le=5, description="1 update (when absent), 2 delete, 5 append")]
        | UnsetType
    ) = UNSET
    serial: Annotated[str, Meta(description="that of the path")] | UnsetType = UNSET
    name: Annotated[str, Meta(max_length=2048)] | UnsetType = UNSET
    data: str | dict[str, Any] | list[Any] | UnsetType = UNSET
    encoding: Annotated[str, Meta(max_length=1024)] | UnsetType = UNSET
    extras: Extras | UnsetType = UNSET
    version: MessageVersion | UnsetType = UNSET


class NewAnnotation(Body, frozen=True, kw_only=True):
    """What a client says about a message, or takes back (TAN2)."""

    action: Annotated[int, Meta(ge=0, le=1, description="0 to make it, 1 to take it back")]
    type: Annotated[str, Meta(min_length=1, max_length=1024, description="namespace:method.v1")]
    name: Annotated[str, Meta(max_length=1024)] | UnsetType = UNSET
    count: Annotated[int, Meta(ge=1, le=1_000_000)] | UnsetType = UNSET
    id: Annotated[str, Meta(min_length=1, max_length=1024)] | UnsetType = UNSET
    client_id: Annotated[str, Meta(min_length=1)] | UnsetType = UNSET
    data: str | dict[str, Any] | list[Any] | UnsetType = UNSET
    encoding: Annotated[str, Meta(max_length=1024)] | UnsetType = UNSET
    extras: dict[str, Any] | UnsetType = UNSET


class BatchSpec(Body, frozen=True, kw_only=True):
    """The same messages for each of some channels."""

    channels: str | Annotated[list[str], Meta(min_length=1, max_length=100)]
    messages: PublishedMessage | Annotated[list[PublishedMessage], Meta(min_length=1)]


class TokenRequest(Body, frozen=True, kw_only=True):
    """A request for a token of a key (TE1-TE6); unsigned ones need its credentials."""

    key_name: Annotated[str, Meta(description="appId.keyId, that of the path")] | UnsetType = UNSET
    ttl: Annotated[int, Meta(ge=1, le=86_400_000, description="ms")] | UnsetType = UNSET
    capability: (
        Annotated[
            str | dict[str, list[str]],
            Meta(description="resources and operations, as an object or as its JSON text"),
        ]
        | UnsetType
    ) = UNSET
    client_id: (
        Annotated[str, Meta(min_length=1, description='"*" for a token for any client')] | UnsetType
    ) = UNSET
    timestamp: Annotated[int, Meta(ge=0, description="when it was made, ms")] | UnsetType = UNSET
    nonce: Annotated[str, Meta(min_length=16, max_length=1024)] | UnsetType = UNSET


class SignedTokenRequest(TokenRequest, frozen=True, kw_only=True):
    """A request that is its own credential, once."""

    timestamp: Annotated[int, Meta(ge=0, description="when it was made, ms")]
    nonce: Annotated[str, Meta(min_length=16, max_length=1024)]
    mac: Annotated[
        str, Meta(description="base64 of the HMAC-SHA256 of its fields, a line each, by the secret")
    ]


class RevocationRequest(Body, frozen=True, kw_only=True):
    """Which tokens are to be refused (RSA17)."""

    targets: Annotated[
        list[str],
        Meta(
            min_length=1,
            max_length=100,
            description="clientId:…, revocationKey:… or channel:… each",
        ),
    ]
    issued_before: (
        Annotated[int, Meta(ge=0, description="ms, within the past hour; now when absent")]
        | UnsetType
    ) = UNSET
    allow_reauth_margin: (
        Annotated[bool, Meta(description="refuse them in 30 s only")] | UnsetType
    ) = UNSET
