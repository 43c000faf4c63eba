"""Apps, keys, namespaces, instances of Beams and rules of Matrix pushers that the configuration
declares, for the server to make true.

Owns their form in the file and its checking; `api.server` reconciles them into the log. What is no
longer declared stays in the log until a command removes it: a line lost from a file must not take
an app with it.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from api.config.errors import ConfigError
from broker import BrokerError
from broker.administration import check_numbers
from broker.apps import ROOT_CAPABILITY
from broker.auth import capability
from broker.auth.credentials import parse_key
from broker.beams.instances import check_secret, checked_id
from broker.beams.webhooks import EVENTS, Webhook, declared_id
from broker.beams.webhooks import check as check_webhook
from broker.matrix.rules import Encryption, Status, check_channels, check_encryption
from broker.tenancy import NO_LIMITS, Limits, NamespaceRules

TABLES = ("apps", "keys", "namespaces", "beams", "matrix")


class DeclaredLimits(Limits, frozen=True, forbid_unknown_fields=True):
    """What a file says of an app's or a key's."""

    @property
    def plain(self) -> Limits:
        return Limits(**msgspec.structs.asdict(self))


class DeclaredApp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`limits`: None leaves them as they are in the log."""

    id: str
    name: str = ""
    limits: DeclaredLimits | None = None


class DeclaredKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`key`: appId.keyId:secret. `capability`: JSON; a key that exists keeps what it has. `limits`:
    None leaves them as they are in the log."""

    key: str
    capability: str = ROOT_CAPABILITY
    limits: DeclaredLimits | None = None

    def __repr__(self) -> str:
        return "<DeclaredKey>"


class DeclaredNamespace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`app`: None is the only, or the oldest, app."""

    id: str
    rules: NamespaceRules
    app: str | None = None


class DeclaredWebhook(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A webhook of an instance of Beams, known by its URL."""

    url: str
    secret: str
    events: tuple[str, ...] = EVENTS
    custom_data: dict[str, Any] = {}

    def __repr__(self) -> str:
        return "<DeclaredWebhook>"


class DeclaredInstance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An instance of Beams and its secret key. `app`: None is the only, or the oldest, app."""

    instance: str
    secret: str
    app: str | None = None
    webhooks: tuple[DeclaredWebhook, ...] = ()

    def __repr__(self) -> str:
        return f"<DeclaredInstance {self.instance}>"


class DeclaredMatrix(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rules for Matrix pushers of `app` (None: the only, or the oldest). `channels`: all there are,
    each with what a new pusher begins with. `encryption_of`: by app_id. What is absent stays as it
    is in the log."""

    app: str | None = None
    channels: dict[str, Status] | None = None
    encryption: Encryption | None = None
    encryption_of: dict[str, Encryption] = {}


class Declarations(msgspec.Struct, frozen=True):
    apps: tuple[DeclaredApp, ...] = ()
    keys: tuple[DeclaredKey, ...] = ()
    namespaces: tuple[DeclaredNamespace, ...] = ()
    beams: tuple[DeclaredInstance, ...] = ()
    matrix: tuple[DeclaredMatrix, ...] = ()


def declared(document: Mapping[str, Any], file: Path | None, keys: list[str]) -> Declarations:
    tables = {name: list(_tables(document, name, file)) for name in TABLES}
    given = [("the given key", {"key": text}) for text in keys]
    every_key = [*tables["keys"], *given]
    return Declarations(
        tuple(_one(DeclaredApp, table, where) for where, table in tables["apps"]),
        tuple(_one(DeclaredKey, table, where) for where, table in every_key),
        tuple(_namespace(table, where) for where, table in tables["namespaces"]),
        tuple(_one(DeclaredInstance, table, where) for where, table in tables["beams"]),
        tuple(_one(DeclaredMatrix, table, where) for where, table in tables["matrix"]),
    )


def _tables(
    document: Mapping[str, Any], name: str, file: Path | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    tables = document.get(name, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigError(f"{file}: {name} must be a list of tables: [[{name}]]")
    for number, table in enumerate(tables, start=1):
        yield f"{file}: [[{name}]] number {number}", table


def _one(declared: type, table: Mapping[str, Any], where: str) -> Any:
    """Messages of msgspec name the field and the type, never the value, which may be a secret."""
    try:
        found: Any = msgspec.convert(table, declared)
        _CHECKS.get(declared, lambda _: None)(found)
    except (msgspec.ValidationError, BrokerError) as error:
        raise ConfigError(f"{where}: {error}") from None
    return found


def webhook_of(app: str, instance: str, hook: DeclaredWebhook) -> Webhook:
    return Webhook(
        app=app,
        id=declared_id(instance, hook.url),
        url=hook.url,
        secret=hook.secret,
        events=hook.events,
        custom_data=hook.custom_data,
    )


def _check_app(found: DeclaredApp) -> None:
    check_numbers(found.limits or NO_LIMITS)


def _check_key(found: DeclaredKey) -> None:
    parse_key(found.key)
    capability.parse(found.capability)
    check_numbers(found.limits or NO_LIMITS)


def _check_namespace(found: DeclaredNamespace) -> None:
    check_numbers(found.rules)


def _check_instance(found: DeclaredInstance) -> None:
    checked_id(found.instance)
    check_secret(found.secret)
    for hook in found.webhooks:
        check_webhook(webhook_of(found.app or "", found.instance, hook))


def _check_matrix(found: DeclaredMatrix) -> None:
    check_channels(found.channels or {})
    for app_id, rule in found.encryption_of.items():
        check_encryption(rule, app_id)


_CHECKS: dict[type, Callable[[Any], None]] = {
    DeclaredApp: _check_app,
    DeclaredKey: _check_key,
    DeclaredNamespace: _check_namespace,
    DeclaredInstance: _check_instance,
    DeclaredMatrix: _check_matrix,
}


def _namespace(table: Mapping[str, Any], where: str) -> DeclaredNamespace:
    own = {name: table[name] for name in ("id", "app") if name in table}
    rules = {name: value for name, value in table.items() if name not in own}
    unknown = set(rules) - set(NamespaceRules.__struct_fields__)
    if unknown:
        known = ", ".join(NamespaceRules.__struct_fields__)
        raise ConfigError(f"{where}: {min(unknown)} is not a rule; the rules are {known}")
    found: DeclaredNamespace = _one(DeclaredNamespace, {**own, "rules": rules}, where)
    return found
