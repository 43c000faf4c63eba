"""Operations on apps, their keys and their namespaces, which take effect as the broker goes on.

Results that show a key hold its secret: they are for the operator who asked, and nothing else.
"""

from typing import Any

import msgspec

from api.admin.operations.arguments import INVALID_ARGUMENTS, converted, existing_app
from broker import Broker, NotFound
from broker.apps import DEFAULT_CAPABILITY
from broker.auth.credentials import Key
from broker.errors import BadRequest
from broker.tenancy import NO_RULES, App, NamespaceRules


async def list_apps(broker: Broker) -> list[dict[str, Any]]:
    """Every app, oldest first."""
    return [_app_fields(app) for app in broker.apps.list()]


async def create_app(broker: Broker, app: str | None = None, name: str = "") -> dict[str, Any]:
    """A new app with a root key."""
    created = await broker.apps.create(app, name=name, with_root_key=True)
    return {**_app_fields(created), "key": broker.apps.keys(created.id)[0].string}


async def delete_app(broker: Broker, app: str) -> None:
    """Remove an app, its keys and namespaces, and what its channels hold."""
    await broker.apps.delete(app)


async def list_keys(
    broker: Broker, app: str | None = None, revoked: bool = False
) -> list[dict[str, Any]]:
    """The keys of an app, or of all apps; `revoked`: those too that were revoked."""
    apps = [existing_app(broker, app)] if app else [one.id for one in broker.apps.list()]
    keys = (key for one in apps for key in broker.apps.keys(one))
    return [_key_fields(key) for key in keys if revoked or not key.revoked]


async def create_key(
    broker: Broker,
    app: str | None = None,
    capability: str = DEFAULT_CAPABILITY,
    revocable_tokens: bool = False,
) -> dict[str, Any]:
    key = await broker.apps.create_key(
        existing_app(broker, app), granted=capability, revocable_tokens=revocable_tokens
    )
    return _key_fields(key)


async def revoke_key(broker: Broker, key: str, app: str | None = None) -> dict[str, Any]:
    """`key`: appId.keyId, or keyId."""
    found = _key(broker, app, key)
    await broker.apps.revoke_key(found.app_id, found.key_id)
    return _key_fields(_key(broker, found.app_id, found.key_id))


async def rotate_key(broker: Broker, key: str, app: str | None = None) -> dict[str, Any]:
    """A new key that may do the same; then the old one is revoked."""
    old = _key(broker, app, key)
    if old.revoked:
        raise BadRequest(f"key {old.name} was revoked already: create a new one")
    new = await broker.apps.create_key(
        old.app_id, granted=str(old.capability), revocable_tokens=old.revocable_tokens
    )
    await broker.apps.revoke_key(old.app_id, old.key_id)
    return _key_fields(new)


async def list_namespaces(broker: Broker, app: str | None = None) -> list[dict[str, Any]]:
    app = existing_app(broker, app)
    return [_rules_fields(app, *found) for found in sorted(broker.apps.namespaces(app).items())]


async def set_namespace(
    broker: Broker, namespace: str, rules: dict[str, Any], app: str | None = None
) -> dict[str, Any]:
    """Set the given rules of a namespace; those not given stay as they are."""
    app = existing_app(broker, app)
    known = msgspec.structs.asdict(broker.apps.namespaces(app).get(namespace, NO_RULES))
    unknown = set(rules) - set(known)
    if unknown:
        raise BadRequest(f"{min(unknown)} is not a rule: {', '.join(known)}", INVALID_ARGUMENTS)
    changed = converted(known | rules, NamespaceRules)
    await broker.apps.set_namespace(app, namespace, changed)
    return _rules_fields(app, namespace, changed)


async def remove_namespace(broker: Broker, namespace: str, app: str | None = None) -> None:
    await broker.apps.remove_namespace(existing_app(broker, app), namespace)


def _key(broker: Broker, app: str | None, name: str) -> Key:
    """A key by appId.keyId or by keyId. A whole key string is understood too, and not repeated."""
    name = name.partition(":")[0]
    named_app, dot, key_id = name.partition(".")
    app_id = existing_app(broker, named_app if dot else app)
    found = broker.apps.key(app_id, key_id if dot else name)
    if found is None:
        raise NotFound(f"app {app_id!r} has no key {(key_id if dot else name)!r}")
    return found


def _app_fields(app: App) -> dict[str, Any]:
    return {"id": app.id, "name": app.name, "created": app.created_ms}


def _key_fields(key: Key) -> dict[str, Any]:
    return {
        "key": key.string,
        "name": key.name,
        "appId": key.app_id,
        "keyId": key.key_id,
        "capability": str(key.capability),
        "revocableTokens": key.revocable_tokens,
        "revoked": key.revoked,
    }


def _rules_fields(app: str, namespace: str, rules: NamespaceRules) -> dict[str, Any]:
    return {"app": app, "id": namespace, **msgspec.structs.asdict(rules)}
