"""Commands that create, change and remove apps, keys, namespaces and limits, and what they come to.

Ids are the caller's (randomness comes with the command), so a retried command is recognised. With
`keep`, creating what exists already is a success that changes nothing: that is how configuration is
reconciled at every start.
"""

import msgspec

from broker import purge, tenancy
from broker.auth import capability
from broker.auth.credentials import Key
from broker.channels.lifecycle import opening
from broker.errors import BadRequest, NotFound
from broker.event import Event, Kind
from broker.events import (
    AppCreated,
    AppDeleted,
    KeyCreated,
    KeyRevoked,
    LimitsSet,
    LogCreated,
    MemberEntered,
    NamespaceRemoved,
    NamespaceSet,
    PurgeRequested,
)
from broker.messages.message import PresenceMessage
from broker.tenancy import SYSTEM, Limits, NamespaceRules
from storage import Decision, Rows, Stream
from storage.projection import Decide

ID_CHARS_MAX = 64
NAMESPACE_CHARS_MAX = 128
SECRET_CHARS_MAX = 256
NUMBER_MAX = (1 << 53) - 1  # what JSON and TOML agree on
_ID_CHARS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


class CreateLog(msgspec.Struct, frozen=True):
    series: str


class CreateApp(msgspec.Struct, frozen=True):
    app: str
    name: str = ""
    keep: bool = False


class DeleteApp(msgspec.Struct, frozen=True):
    app: str


class CreateKey(msgspec.Struct, frozen=True):
    """`capability`: JSON, or the object it stands for; canonicalised in the event."""

    app: str
    key: str
    secret: str
    capability: str
    revocable_tokens: bool = False
    keep: bool = False

    def __repr__(self) -> str:
        return f"<CreateKey {self.app}.{self.key}>"


class RevokeKey(msgspec.Struct, frozen=True):
    app: str
    key: str


class SetNamespace(msgspec.Struct, frozen=True):
    app: str
    namespace: str
    rules: NamespaceRules


class RemoveNamespace(msgspec.Struct, frozen=True):
    app: str
    namespace: str


class SetLimits(msgspec.Struct, frozen=True):
    """Of an app, or of one of its keys: all of them, those that are None as the settings say."""

    app: str
    key: str | None
    limits: Limits


class Fixture(msgspec.Struct, frozen=True):
    channel: str
    members: tuple[PresenceMessage, ...]


class ProvisionApp(msgspec.Struct, frozen=True):
    """A new app with all that it begins with: everything is made, or nothing. `fixtures`: members
    that its channels have from the start, and for good, for no connection of theirs can end."""

    app: str
    keys: tuple[CreateKey, ...] = ()
    namespaces: tuple[SetNamespace, ...] = ()
    fixtures: tuple[Fixture, ...] = ()
    presence_members_max: int | None = None


def create_log(rows: Rows, command: CreateLog, ms: int) -> Decision:
    known = tenancy.series(rows)
    return Decision() if known else tenancy.in_system_log(LogCreated(command.series))


def create_app(rows: Rows, command: CreateApp, ms: int) -> Decision:
    if command.keep and tenancy.app_exists(rows, command.app):
        return Decision()
    _require_free(rows, command.app)
    return tenancy.in_system_log(AppCreated(command.app, command.name))


def provision_app(rows: Rows, command: ProvisionApp, ms: int) -> Decision:
    _require_free(rows, command.app)
    if len({key.key for key in command.keys}) != len(command.keys):
        raise BadRequest("the keys of an app need different ids")
    if len({fixture.channel for fixture in command.fixtures}) != len(command.fixtures):
        raise BadRequest("a channel can be listed only once")
    created = AppCreated(command.app, presence_members_max=command.presence_members_max)
    of_app: list[Event] = [
        created,
        *map(_key_created, command.keys),
        *map(_namespace_set, command.namespaces),
    ]
    events: list[tuple[Stream, object]] = [(SYSTEM, event) for event in of_app]
    for fixture in command.fixtures:
        events += _entered(rows, command.app, fixture)
    return Decision(events)


def _entered(rows: Rows, app: str, fixture: Fixture) -> list[tuple[Stream, object]]:
    stream = Stream(app, fixture.channel, Kind.PRESENCE)
    events: list[tuple[Stream, object]] = [
        (stream, MemberEntered(member)) for member in fixture.members
    ]
    return opening(rows, app, fixture.channel, events)


def delete_app(rows: Rows, command: DeleteApp, ms: int) -> Decision:
    tenancy.require_app(rows, command.app)
    return Decision([(SYSTEM, AppDeleted(command.app)), (SYSTEM, PurgeRequested(command.app))])


def create_key(rows: Rows, command: CreateKey, ms: int) -> Decision:
    tenancy.require_app(rows, command.app)
    created = _key_created(command)
    known = tenancy.key(rows, command.app, command.key)
    if known is None:
        return tenancy.in_system_log(created)
    if command.keep and known.secret == command.secret and not known.revoked:
        return Decision()
    raise BadRequest(
        f"key {command.app}.{command.key} exists already, with another secret or revoked"
    )


def revoke_key(rows: Rows, command: RevokeKey, ms: int) -> Decision:
    known = _require_key(rows, command.app, command.key)
    return (
        Decision() if known.revoked else tenancy.in_system_log(KeyRevoked(command.app, command.key))
    )


def set_namespace(rows: Rows, command: SetNamespace, ms: int) -> Decision:
    tenancy.require_app(rows, command.app)
    event = _namespace_set(command)
    if tenancy.namespaces(rows, command.app).get(command.namespace) == command.rules:
        return Decision()
    return tenancy.in_system_log(event)


def remove_namespace(rows: Rows, command: RemoveNamespace, ms: int) -> Decision:
    if command.namespace not in tenancy.namespaces(rows, command.app):
        raise NotFound(f"app {command.app!r} has no namespace {command.namespace!r}")
    return tenancy.in_system_log(NamespaceRemoved(command.app, command.namespace))


def set_limits(rows: Rows, command: SetLimits, ms: int) -> Decision:
    tenancy.require_app(rows, command.app)
    if command.key is not None:
        _require_key(rows, command.app, command.key)
        if command.limits.connections_max is not None:
            raise BadRequest("connections_max is a limit of apps, not of keys")
    check_numbers(command.limits)
    if tenancy.limits(rows, command.app, command.key or "") == command.limits:
        return Decision()
    given = msgspec.to_builtins(command.limits)
    return tenancy.in_system_log(LimitsSet(command.app, command.key, given))


def _require_key(rows: Rows, app: str, key: str) -> Key:
    found = tenancy.key(rows, app, key)
    if found is None:
        raise NotFound(f"there is no key {app}.{key}")
    return found


def _key_created(command: CreateKey) -> KeyCreated:
    check_id(command.key, "key id")
    check_secret(command.secret)
    granted = str(capability.parse(command.capability))
    return KeyCreated(command.app, command.key, command.secret, granted, command.revocable_tokens)


def _namespace_set(command: SetNamespace) -> NamespaceSet:
    check_namespace(command.namespace)
    check_numbers(command.rules)
    rules = msgspec.to_builtins(command.rules)
    return NamespaceSet(command.app, command.namespace, rules)


def _require_free(rows: Rows, app: str) -> None:
    """The id may be given out: no app has it, and of none that had it anything is left."""
    check_id(app, "app id")
    if any(request.app == app for _, request in purge.pending(rows)):
        raise BadRequest(f"app {app!r} is being purged; try again when that is done")
    if tenancy.app_exists(rows, app):
        raise BadRequest(f"app {app!r} exists already")


def check_id(text: str, what: str) -> None:
    """App and key ids go into key strings, URLs and row keys."""
    if not text or len(text) > ID_CHARS_MAX or not _ID_CHARS.issuperset(text):
        raise BadRequest(f"{what} must be 1 to {ID_CHARS_MAX} letters, digits, '_' or '-'")


def check_secret(secret: str) -> None:
    """What SDKs accept behind the colon of a key (reference 1.17)."""
    bad = not secret or len(secret) > SECRET_CHARS_MAX or not secret.isascii()
    if bad or not secret.isprintable() or set(secret) & set(": ."):
        raise BadRequest(
            f"a key's secret must be 1 to {SECRET_CHARS_MAX} visible ASCII characters "
            "without ':' and '.'"
        )


def check_namespace(name: str) -> None:
    if not name or len(name.encode()) > NAMESPACE_CHARS_MAX or set(name) & set(":*[]\0\n"):
        raise BadRequest(
            f"a namespace must be 1 to {NAMESPACE_CHARS_MAX} bytes without ':', '*' or brackets"
        )


def check_numbers(rules: NamespaceRules | Limits) -> None:
    for name, value in msgspec.structs.asdict(rules).items():
        if isinstance(value, int) and not 0 <= value <= NUMBER_MAX:
            raise BadRequest(f"{name} must be a number from 0 to {NUMBER_MAX}")


DECIDE: dict[type, Decide] = {
    CreateLog: create_log,
    CreateApp: create_app,
    ProvisionApp: provision_app,
    DeleteApp: delete_app,
    CreateKey: create_key,
    RevokeKey: revoke_key,
    SetNamespace: set_namespace,
    RemoveNamespace: remove_namespace,
    SetLimits: set_limits,
}
