"""What can be asked of a broker: one table, name -> function of the broker and named arguments.

The command line, the admin socket and tests all go through `arguments_for` and this table, so an
operation means the same wherever it is called. An argument's type is its annotation; what does not
fit, or is not known, is BadRequest before anything runs. Results are plain values for JSON.

An async generator is an operation that streams. Results of `keys.*` hold secrets: the socket is
its owner's alone, and nothing here is ever logged.
"""

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, cast, get_type_hints

import msgspec

from broker import Broker, HistoryQuery, NotFound, channel_name, serials, wire
from broker.apps import DEFAULT_CAPABILITY
from broker.credentials import Key
from broker.errors import BadRequest
from broker.history import LIMIT_DEFAULT, Direction
from broker.tenancy import NO_RULES, App, NamespaceRules

Operation = Callable[..., Awaitable[Any] | AsyncIterator[Any]]
UNKNOWN_OPERATION = 40400
INVALID_ARGUMENTS = 40003


# -- messages --------------------------------------------------------------------------------------


async def publish(
    broker: Broker, channel: str, messages: list[dict[str, Any]], app: str | None = None
) -> dict[str, Any]:
    """Publish messages in their wire form, all or none."""
    published = await _channel(broker, app, channel).publish_all(wire.read_messages(messages))
    return {
        "channel": channel,
        "messageId": published.message_id,
        "serials": list(published.serials),
        "duplicate": published.duplicate,
    }


async def history(
    broker: Broker,
    channel: str,
    app: str | None = None,
    limit: int = LIMIT_DEFAULT,
    direction: Direction = "backwards",
    start: int = 0,
    end: int | None = None,
    cursor: str | None = None,
) -> dict[str, Any]:
    """A page of at most `limit` messages; `next` is the cursor of the one behind it, None at the
    end. How large a page may be is the broker's setting, so a larger limit is that one."""
    limit = min(limit, broker.settings.history_limit_max)
    behind = serials.parse(cursor, broker.series) if cursor else None
    query = HistoryQuery(start=start, end=end, direction=direction, limit=limit, cursor=behind)
    page = await _channel(broker, app, channel).history_page(query)
    following = page.next.cursor if page.next else None
    return {
        "messages": [wire.to_wire(message, binary=False) for message in page.messages],
        "next": None if following is None else serials.render(following, broker.series),
    }


async def tail(
    broker: Broker, channel: str, app: str | None = None, rewind: int = 0
) -> AsyncIterator[Any]:
    """Messages as they are published, after the last `rewind` ones. The first item is None: from
    then on nothing is missed."""
    async with _channel(broker, app, channel).subscribe(rewind=rewind) as messages:
        yield None
        async for message in messages:
            yield wire.to_wire(message, binary=False)


# -- apps, keys, namespaces ------------------------------------------------------------------------


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
    apps = [_existing(broker, app)] if app else [one.id for one in broker.apps.list()]
    keys = (key for one in apps for key in broker.apps.keys(one))
    return [_key_fields(key) for key in keys if revoked or not key.revoked]


async def create_key(
    broker: Broker,
    app: str | None = None,
    capability: str = DEFAULT_CAPABILITY,
    revocable_tokens: bool = False,
) -> dict[str, Any]:
    key = await broker.apps.create_key(
        _existing(broker, app), granted=capability, revocable_tokens=revocable_tokens
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
    app = _existing(broker, app)
    return [_rules_fields(app, *found) for found in sorted(broker.apps.namespaces(app).items())]


async def set_namespace(
    broker: Broker, namespace: str, rules: dict[str, Any], app: str | None = None
) -> dict[str, Any]:
    """Set the given rules of a namespace; those not given stay as they are."""
    app = _existing(broker, app)
    known = msgspec.structs.asdict(broker.apps.namespaces(app).get(namespace, NO_RULES))
    unknown = set(rules) - set(known)
    if unknown:
        raise BadRequest(f"{min(unknown)} is not a rule: {', '.join(known)}", INVALID_ARGUMENTS)
    changed = _converted(known | rules, NamespaceRules)
    await broker.apps.set_namespace(app, namespace, changed)
    return _rules_fields(app, namespace, changed)


async def remove_namespace(broker: Broker, namespace: str, app: str | None = None) -> None:
    await broker.apps.remove_namespace(_existing(broker, app), namespace)


# -- the log ---------------------------------------------------------------------------------------


async def purge(
    broker: Broker,
    app: str | None = None,
    channel: str | None = None,
    client_id: str | None = None,
) -> None:
    """Remove for good what was stored so far of an app, one of its channels or of its clients."""
    await broker.purge(_existing(broker, app), channel=channel, client_id=client_id)


async def rebuild(broker: Broker) -> None:
    """Fold every projection again from the log."""
    await broker.rebuild()


async def sweep(broker: Broker) -> dict[str, Any]:
    """Trim what is past its retention, now."""
    return {"streamsTrimmed": await broker.sweep()}


async def status(broker: Broker) -> dict[str, Any]:
    return {
        "ready": broker.failure is None,
        "failure": broker.failure,
        "time": broker.now(),
        "apps": len(broker.apps.list()),
        "metrics": {name: getattr(broker.metrics, name) for name in broker.metrics.__slots__},
    }


OPERATIONS: dict[str, Operation] = {
    "publish": publish,
    "history": history,
    "tail": tail,
    "apps.list": list_apps,
    "apps.create": create_app,
    "apps.delete": delete_app,
    "keys.list": list_keys,
    "keys.create": create_key,
    "keys.revoke": revoke_key,
    "keys.rotate": rotate_key,
    "namespaces.list": list_namespaces,
    "namespaces.set": set_namespace,
    "namespaces.remove": remove_namespace,
    "purge": purge,
    "rebuild": rebuild,
    "sweep": sweep,
    "status": status,
}


def _argument_struct(function: Operation) -> type[msgspec.Struct]:
    """A type with one field per argument, to check them against."""
    hints = get_type_hints(function)
    parameters = list(inspect.signature(function).parameters.values())[1:]
    fields: list[Any] = [
        (item.name, hints[item.name])
        if item.default is inspect.Parameter.empty
        else (item.name, hints[item.name], item.default)
        for item in parameters
    ]
    return msgspec.defstruct("arguments", fields, forbid_unknown_fields=True)


_ARGUMENTS = {name: _argument_struct(function) for name, function in OPERATIONS.items()}


def is_stream(name: str) -> bool:
    return inspect.isasyncgenfunction(OPERATIONS.get(name))


async def run(broker: Broker, name: str, arguments: Mapping[str, Any]) -> Any:
    """The result of an operation that answers once."""
    function = cast("Callable[..., Awaitable[Any]]", OPERATIONS[_known(name)])
    return await function(broker, **_checked(name, arguments))


async def stream(
    broker: Broker, name: str, arguments: Mapping[str, Any]
) -> AsyncGenerator[Any, None]:
    """The items of an operation that streams."""
    function = cast("Callable[..., Any]", OPERATIONS[_known(name)])
    async with aclosing(function(broker, **_checked(name, arguments))) as items:
        async for item in items:
            yield item


def _known(name: str) -> str:
    if name not in OPERATIONS:
        known = ", ".join(OPERATIONS)
        raise NotFound(f"there is no operation {name[:64]!r}; there are {known}", UNKNOWN_OPERATION)
    return name


def _checked(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    return msgspec.structs.asdict(_converted(arguments, _ARGUMENTS[name]))


def _converted(value: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise BadRequest(f"{error}", INVALID_ARGUMENTS) from None


# -- what arguments name, and how things are shown -------------------------------------------------


def _existing(broker: Broker, app: str | None) -> str:
    """The app's id; the oldest app's when none is named."""
    if app is None:
        return broker.default_app()
    if not broker.apps.app_exists(app):
        raise NotFound(f"there is no app {app!r}")
    return app


def _channel(broker: Broker, app: str | None, name: str) -> Any:
    if channel_name.parse(name).qualifier is not None:
        raise BadRequest("messages of a qualified channel cannot be addressed")
    return broker.channel(name, app=_existing(broker, app))


def _key(broker: Broker, app: str | None, name: str) -> Key:
    """A key by appId.keyId or by keyId. A whole key string is understood too, and not repeated."""
    name = name.partition(":")[0]
    named_app, dot, key_id = name.partition(".")
    app_id = _existing(broker, named_app if dot else app)
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
