"""The app that a test suite describes (reference 1.17), as values of ours.

Names are the provisioning API's. Null means absent and unknown fields are ignored; a field of the
wrong type is BadRequest 40000 that says which. Every list is bounded.
"""

from typing import Annotated, Any

import msgspec

from broker import randomness
from broker.administration import Fixture
from broker.apps import DEFAULT_CAPABILITY, NewKey
from broker.auth.credentials import check_client_id
from broker.channels import channel_name
from broker.channels.channel_name import INVALID_CHANNEL_NAME
from broker.errors import BadRequest
from broker.messages.message import PresenceMessage
from broker.messages.payload_encoding import stored_payload
from broker.tenancy import NamespaceRules

LISTED_MAX = 1_000  # keys, namespaces, channels, or members of them all
MEMBERS_LIMIT_MAX = 1_000_000  # what a limit of members may be


class KeySpec(msgspec.Struct, frozen=True, rename="camel"):
    """capability: JSON text, or the object itself."""

    capability: str | dict[str, Any] | None = None
    privileged: bool | None = None
    revocable_tokens: bool | None = None


class NamespaceSpec(msgspec.Struct, frozen=True, rename="camel"):
    id: str
    persisted: bool | None = None
    identified: bool | None = None
    authenticated: bool | None = None  # what `identified` was called before
    push_enabled: bool | None = None
    mutable_messages: bool | None = None


class MemberSpec(msgspec.Struct, frozen=True, rename="camel"):
    client_id: str
    data: Any = None
    encoding: str | None = None


class ChannelSpec(msgspec.Struct, frozen=True):
    name: str
    presence: tuple[MemberSpec, ...] | None = None


class PresenceLimits(msgspec.Struct, frozen=True, rename="camel"):
    max_members: Annotated[int, msgspec.Meta(ge=1, le=MEMBERS_LIMIT_MAX)] | None = None


class Limits(msgspec.Struct, frozen=True):
    presence: PresenceLimits | None = None


class AppSpec(msgspec.Struct, frozen=True):
    keys: Annotated[tuple[KeySpec, ...], msgspec.Meta(max_length=LISTED_MAX)] | None = None
    namespaces: Annotated[tuple[NamespaceSpec, ...], msgspec.Meta(max_length=LISTED_MAX)] | None = (
        None
    )
    channels: Annotated[tuple[ChannelSpec, ...], msgspec.Meta(max_length=LISTED_MAX)] | None = None
    limits: Limits | None = None

    @property
    def presence_members_max(self) -> int | None:
        presence = self.limits.presence if self.limits else None
        return presence.max_members if presence else None


def read_spec(body: object) -> AppSpec:
    """Raises BadRequest 40000, naming the field."""
    try:
        return msgspec.convert(body, AppSpec)
    except msgspec.ValidationError as error:
        raise BadRequest(f"this describes no app: {error}") from None


def new_key(key: KeySpec) -> NewKey:
    capability = key.capability
    if isinstance(capability, dict):
        capability = msgspec.json.encode(capability).decode()
    return NewKey(capability or DEFAULT_CAPABILITY, bool(key.revocable_tokens))


def rules_of(namespace: NamespaceSpec) -> NamespaceRules:
    return NamespaceRules(
        persisted=bool(namespace.persisted),
        identified=bool(namespace.identified or namespace.authenticated),
        push_enabled=bool(namespace.push_enabled),
        mutable_messages=bool(namespace.mutable_messages),
    )


def fixtures_of(channels: tuple[ChannelSpec, ...]) -> list[Fixture]:
    """Members of a connection that the server makes up: one for all of the app's.

    Raises BadRequest 40000 for too many, 40010 for a channel name, 40012 for a client id, 40013 for
    data.
    """
    if sum(len(channel.presence or ()) for channel in channels) > LISTED_MAX:
        raise BadRequest(f"an app begins with at most {LISTED_MAX} members")
    connection = randomness.new_id()
    return [
        Fixture(
            _ordinary(channel.name),
            tuple(
                _member(member, connection, f"{connection}:{place}:{index}")
                for index, member in enumerate(channel.presence or ())
            ),
        )
        for place, channel in enumerate(channels)
    ]


def _ordinary(name: str) -> str:
    parsed = channel_name.parse(name)
    if parsed.qualifier is not None:
        raise BadRequest("a qualified channel has no members", INVALID_CHANNEL_NAME)
    return parsed.name


def _member(member: MemberSpec, connection: str, id_: str) -> PresenceMessage:
    data, encoding = stored_payload(member.data, member.encoding)
    return PresenceMessage(
        id=id_,
        client_id=check_client_id(member.client_id),
        connection_id=connection,
        data=data,
        encoding=encoding,
    )
