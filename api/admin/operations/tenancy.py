"""Operations on apps, their keys, namespaces and limits, which take effect as the broker goes on.

Results that show a key hold its secret: they are for the operator who asked, and nothing else.
"""

from typing import Any, TypeVar

import msgspec

from api.admin.operations.arguments import INVALID_ARGUMENTS, converted, existing_app
from broker import Broker, NotFound
from broker.apps import DEFAULT_CAPABILITY
from broker.auth.credentials import Key
from broker.errors import BadRequest
from broker.tenancy import NO_LIMITS, NO_RULES, App, Limits, NamespaceRules

T = TypeVar("T", bound=msgspec.Struct)


async def list_apps(broker: Broker) -> list[dict[str, Any]]:
    """Every app, oldest first."""
    return [_app_fields(broker, app) for app in broker.apps.list()]


async def create_app(broker: Broker, app: str | None = None, name: str = "") -> dict[str, Any]:
    """A new app with a root key."""
    created = await broker.apps.create(app, name=name, with_root_key=True)
    return {**_app_fields(broker, created), "key": broker.apps.keys(created.id)[0].string}


async def delete_app(broker: Broker, app: str) -> None:
    """Remove an app, its keys and namespaces, and what its channels hold."""
    await broker.apps.delete(app)


async def limit_app(broker: Broker, app: str, limits: dict[str, Any]) -> dict[str, Any]:
    """Set the given limits of an app; those not given stay as they are."""
    app = existing_app(broker, app)
    await broker.apps.set_limits(app, _merged(broker.apps.limits(app), limits, Limits, "limit"))
    return next(_app_fields(broker, one) for one in broker.apps.list() if one.id == app)


async def list_keys(
    broker: Broker, app: str | None = None, revoked: bool = False
) -> list[dict[str, Any]]:
    """The keys of an app, or of all apps; `revoked`: those too that were revoked."""
    apps = [existing_app(broker, app)] if app else [one.id for one in broker.apps.list()]
    keys = (key for one in apps for key in broker.apps.keys(one))
    return [_key_fields(broker, key) for key in keys if revoked or not key.revoked]


async def create_key(
    broker: Broker,
    app: str | None = None,
    capability: str = DEFAULT_CAPABILITY,
    revocable_tokens: bool = False,
) -> dict[str, Any]:
    key = await broker.apps.create_key(
        existing_app(broker, app), granted=capability, revocable_tokens=revocable_tokens
    )
    return _key_fields(broker, key)


async def copy_key(broker: Broker, key: str, app: str | None = None) -> dict[str, Any]:
    """A new key that may do the same, with the same limits."""
    return _key_fields(broker, await _copied(broker, _living(broker, app, key)))


async def limit_key(
    broker: Broker, key: str, limits: dict[str, Any], app: str | None = None
) -> dict[str, Any]:
    """Set the given limits of a key; those not given stay as they are."""
    found = _living(broker, app, key)
    known = broker.apps.limits(found.app_id, found.key_id)
    changed = _merged(known, limits, Limits, "limit")
    await broker.apps.set_limits(found.app_id, changed, key=found.key_id)
    return _key_fields(broker, found)


async def revoke_key(broker: Broker, key: str, app: str | None = None) -> dict[str, Any]:
    """`key`: appId.keyId, or keyId."""
    found = _key(broker, app, key)
    await broker.apps.revoke_key(found.app_id, found.key_id)
    return _key_fields(broker, _key(broker, found.app_id, found.key_id))


async def rotate_key(broker: Broker, key: str, app: str | None = None) -> dict[str, Any]:
    """A new key that may do the same; then the old one is revoked."""
    old = _living(broker, app, key)
    new = await _copied(broker, old)
    await broker.apps.revoke_key(old.app_id, old.key_id)
    return _key_fields(broker, new)


async def list_namespaces(broker: Broker, app: str | None = None) -> list[dict[str, Any]]:
    app = existing_app(broker, app)
    return [_rules_fields(app, *found) for found in sorted(broker.apps.namespaces(app).items())]


async def set_namespace(
    broker: Broker, namespace: str, rules: dict[str, Any], app: str | None = None
) -> dict[str, Any]:
    """Set the given rules of a namespace; those not given stay as they are."""
    app = existing_app(broker, app)
    known = broker.apps.namespaces(app).get(namespace, NO_RULES)
    changed = _merged(known, rules, NamespaceRules, "rule")
    await broker.apps.set_namespace(app, namespace, changed)
    return _rules_fields(app, namespace, changed)


async def remove_namespace(broker: Broker, namespace: str, app: str | None = None) -> None:
    await broker.apps.remove_namespace(existing_app(broker, app), namespace)


def _merged(known: T, given: dict[str, Any], kind: type[T], what: str) -> T:
    """`known` with what is `given`. Raises BadRequest 40003."""
    fields = msgspec.structs.asdict(known)
    unknown = set(given) - set(fields)
    if unknown:
        raise BadRequest(f"{min(unknown)} is not a {what}: {', '.join(fields)}", INVALID_ARGUMENTS)
    merged: T = converted(fields | given, kind)
    return merged


async def _copied(broker: Broker, key: Key) -> Key:
    app, limits = key.app_id, broker.apps.limits(key.app_id, key.key_id)
    new = await broker.apps.create_key(
        app, granted=str(key.capability), revocable_tokens=key.revocable_tokens
    )
    if limits != NO_LIMITS:
        await broker.apps.set_limits(app, limits, key=new.key_id)
    return new


def _living(broker: Broker, app: str | None, name: str) -> Key:
    found = _key(broker, app, name)
    if found.revoked:
        raise BadRequest(f"key {found.name} was revoked already: create a new one")
    return found


def _key(broker: Broker, app: str | None, name: str) -> Key:
    """A key by appId.keyId or by keyId. A whole key string is understood too, and not repeated."""
    name = name.partition(":")[0]
    named_app, dot, key_id = name.partition(".")
    app_id = existing_app(broker, named_app if dot else app)
    found = broker.apps.key(app_id, key_id if dot else name)
    if found is None:
        raise NotFound(f"app {app_id!r} has no key {(key_id if dot else name)!r}")
    return found


def _app_fields(broker: Broker, app: App) -> dict[str, Any]:
    limits = msgspec.to_builtins(broker.apps.limits(app.id))
    return {"id": app.id, "name": app.name, "created": app.created_ms, "limits": limits}


def _key_fields(broker: Broker, key: Key) -> dict[str, Any]:
    return {
        "key": key.string,
        "name": key.name,
        "appId": key.app_id,
        "keyId": key.key_id,
        "capability": str(key.capability),
        "revocableTokens": key.revocable_tokens,
        "revoked": key.revoked,
        "limits": msgspec.to_builtins(broker.apps.limits(key.app_id, key.key_id)),
    }


def _rules_fields(app: str, namespace: str, rules: NamespaceRules) -> dict[str, Any]:
    return {"app": app, "id": namespace, **msgspec.structs.asdict(rules)}
