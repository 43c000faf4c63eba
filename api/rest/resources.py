"""What the REST API answers, as types: their schemas are those of `/openapi.json`.

An absent field is not there; none is ever null (reference 0.2, rule 1). Names and wording are the
protocol's. Messages leave as maps that realtime connections share (`broker.messages.wire`); the
types here say what is in them, and tests hold every reply to them.
"""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from broker.errors import BrokerError

Ms = Annotated[int, Meta(ge=0, description="milliseconds since the epoch")]
Number = Annotated[int, Meta(ge=0)]


class Resource(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of what is answered. A field that is UNSET is left out."""


class Error(Resource, frozen=True, kw_only=True):
    """Why a request was refused (TI1-TI5)."""

    message: str
    code: Annotated[int, Meta(description="what happened, from Ably's registry of codes")]
    status_code: Annotated[int, Meta(ge=400, lt=600)]
    href: Annotated[str, Meta(description="where to read about it")]
    server_id: Annotated[str, Meta(description="which server refused")] | UnsetType = UNSET


class Failure(Resource, frozen=True, kw_only=True):
    error: Error
    batch_response: (
        Annotated[
            list[dict[str, Any]],
            Meta(description="of a batch without counts: each result, some with an error"),
        ]
        | UnsetType
    ) = UNSET


class Version(Resource, frozen=True, kw_only=True):
    """Which version of a message it is, and who made it (TM2s)."""

    serial: str
    timestamp: Ms
    client_id: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    metadata: dict[str, str] | UnsetType = UNSET


class MessageAnnotations(Resource, frozen=True, kw_only=True):
    summary: Annotated[dict[str, Any], Meta(description="by type of annotation")]


class Message(Resource, frozen=True, kw_only=True):
    """A message as it is stored (TM2)."""

    id: Annotated[str, Meta(description="chosen by its publisher, or by the server")]
    name: str | UnsetType = UNSET
    data: Annotated[str, Meta(description="the payload; binary in MessagePack")] | UnsetType = UNSET
    encoding: (
        Annotated[str, Meta(description="what was done to the payload, outermost last")] | UnsetType
    ) = UNSET
    client_id: Annotated[str, Meta(description="of its publisher")] | UnsetType = UNSET
    connection_id: (
        Annotated[str, Meta(description="the connection it was published over")] | UnsetType
    ) = UNSET
    extras: dict[str, Any] | UnsetType = UNSET
    timestamp: Ms
    serial: Annotated[str, Meta(description="its place on the channel; sorts as text")]
    action: Annotated[int, Meta(ge=0, le=5, description="0 created, 1 updated, 2 deleted")]
    version: Version
    annotations: MessageAnnotations | UnsetType = UNSET


class Annotation(Resource, frozen=True, kw_only=True):
    """What a client said about a message, or took back (TAN2)."""

    id: str
    action: Annotated[int, Meta(ge=0, le=1, description="0 made, 1 taken back")]
    serial: str
    message_serial: str
    type: str
    timestamp: Ms
    name: str | UnsetType = UNSET
    count: int | UnsetType = UNSET
    client_id: str | UnsetType = UNSET
    connection_id: str | UnsetType = UNSET
    data: str | UnsetType = UNSET
    encoding: str | UnsetType = UNSET
    extras: dict[str, Any] | UnsetType = UNSET


class PresenceMessage(Resource, frozen=True, kw_only=True):
    """A member, or what one did (TP3)."""

    id: str
    action: Annotated[
        int, Meta(ge=0, le=4, description="0 absent, 1 present, 2 enter, 3 leave, 4 update")
    ]
    client_id: str
    connection_id: str
    timestamp: Ms
    data: str | UnsetType = UNSET
    encoding: str | UnsetType = UNSET
    extras: dict[str, Any] | UnsetType = UNSET


class Metrics(Resource, frozen=True, kw_only=True):
    """How many connections are attached, by what they may do, and who is present."""

    connections: Number
    publishers: Number
    subscribers: Number
    presence_connections: Number
    presence_members: Number
    presence_subscribers: Number
    object_publishers: Number
    object_subscribers: Number


class Occupancy(Metrics, frozen=True, kw_only=True):
    """The numbers twice: as SDKs read them (`metrics`), and flat."""

    metrics: Metrics


class ChannelStatus(Resource, frozen=True, kw_only=True):
    is_active: bool
    occupancy: Occupancy


class ChannelDetails(Resource, frozen=True, kw_only=True):
    """CHD. There are no regions here, so nothing is said of one."""

    channel_id: str
    name: str
    href: Annotated[str, Meta(description="where these details are")]
    status: ChannelStatus


class PublishResult(Resource, frozen=True, kw_only=True):
    """What became of a publish (reference 1.7.1)."""

    channel: str
    message_id: Annotated[str, Meta(description="what the ids of its messages begin with")]
    serials: Annotated[
        list[str | None],
        Meta(description="one for each message; null for one that only an unequal repeat had"),
    ]


class ChangeResult(Resource, frozen=True, kw_only=True):
    channel: str
    version_serial: Annotated[str, Meta(description="of the new version")]


class ChannelResult(Resource, frozen=True, kw_only=True):
    """What became of a publish to one channel: as of a single one, or why it was refused."""

    channel: str
    message_id: str | UnsetType = UNSET
    serials: list[str | None] | UnsetType = UNSET
    error: Error | UnsetType = UNSET


class BatchResult(Resource, frozen=True, kw_only=True):
    """BPR: of one spec, a result for each of its channels."""

    success_count: Number
    failure_count: Number
    results: list[ChannelResult]


class ChannelMembers(Resource, frozen=True, kw_only=True):
    """Who is on a channel, or why that is not told."""

    channel: str
    presence: list[PresenceMessage] | UnsetType = UNSET
    error: Error | UnsetType = UNSET


class BatchPresence(Resource, frozen=True, kw_only=True):
    """BGR: a result for each channel."""

    success_count: Number
    failure_count: Number
    results: list[ChannelMembers]


class TokenDetails(Resource, frozen=True, kw_only=True):
    """A token (TD1-TD7)."""

    token: str
    key_name: str
    issued: Ms
    expires: Ms
    capability: Annotated[str, Meta(description="canonical JSON text")]
    client_id: str | UnsetType = UNSET


class TargetResult(Resource, frozen=True, kw_only=True):
    """From when on tokens that match a target are refused, or why there is no such target."""

    target: Annotated[Any, Meta(description="as it was asked for: type:value")]
    issued_before: Ms | UnsetType = UNSET
    applies_at: Ms | UnsetType = UNSET
    error: Error | UnsetType = UNSET


class RevocationResult(Resource, frozen=True, kw_only=True):
    success_count: Number
    failure_count: Number
    results: list[TargetResult]


class Envelope(Resource, frozen=True, kw_only=True):
    """A reply for who sees neither status nor headers: what `envelope` asks for."""

    status_code: Annotated[int, Meta(ge=200, lt=600)]
    response: Annotated[Any, Meta(description="the body without an envelope")] = UNSET
    headers: Annotated[dict[str, str], Meta(description="by lower-case name")] | UnsetType = UNSET
    rel: Annotated[dict[str, str], Meta(description="the links")] | UnsetType = UNSET


def plain(resource: Any) -> Any:
    """A resource, or a list of them, as maps and lists that any format encodes."""
    return msgspec.to_builtins(resource, builtin_types=(bytes,))


def error_of(error: BrokerError) -> Error:
    return Error(message=error.message, code=error.code, status_code=error.status, href=error.href)
