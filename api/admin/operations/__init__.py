"""What can be asked of a broker: one table, name -> function of the broker and named arguments.

The command line, the admin socket and tests all go through `run`, `stream` and this table, so an
operation means the same wherever it is called. Arguments are checked before anything runs
(`arguments`). Results are plain values for JSON.

An async generator is an operation that streams. Results of `keys.*` and `beams.*` hold secrets: the
socket is its owner's alone, and nothing here is ever logged.
"""

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, cast

import msgspec

from api.admin.operations import beams, matrix, messages, push, tenancy, top, upkeep
from api.admin.operations.arguments import argument_struct, converted
from broker import Broker, NotFound

Operation = Callable[..., Awaitable[Any] | AsyncIterator[Any]]
UNKNOWN_OPERATION = 40400

OPERATIONS: dict[str, Operation] = {
    "publish": messages.publish,
    "history": messages.history,
    "tail": messages.tail,
    "apps.list": tenancy.list_apps,
    "apps.create": tenancy.create_app,
    "apps.delete": tenancy.delete_app,
    "apps.limits": tenancy.limit_app,
    "keys.list": tenancy.list_keys,
    "keys.create": tenancy.create_key,
    "keys.copy": tenancy.copy_key,
    "keys.limits": tenancy.limit_key,
    "keys.revoke": tenancy.revoke_key,
    "keys.rotate": tenancy.rotate_key,
    "namespaces.list": tenancy.list_namespaces,
    "namespaces.set": tenancy.set_namespace,
    "namespaces.remove": tenancy.remove_namespace,
    "push.devices": push.list_devices,
    "push.remove": push.remove_device,
    "push.send": push.send,
    "push.status": push.status,
    "beams.create": beams.create_instance,
    "beams.list": beams.list_instances,
    "beams.remove": beams.remove_instance,
    "beams.webhooks.add": beams.add_webhook,
    "beams.webhooks.list": beams.list_webhooks,
    "beams.webhooks.remove": beams.remove_webhook,
    "matrix.show": matrix.show,
    "matrix.channels": matrix.set_channels,
    "matrix.encryption": matrix.set_encryption,
    "matrix.token": matrix.token,
    "purge": upkeep.purge,
    "rebuild": upkeep.rebuild,
    "sweep": upkeep.sweep,
    "status": upkeep.status,
    "top": top.top,
    "audit": upkeep.audit,
}

_ARGUMENTS = {name: argument_struct(function) for name, function in OPERATIONS.items()}


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


def check(name: str, arguments: Mapping[str, Any]) -> None:
    """Raises NotFound for an operation that there is not, BadRequest for arguments of another."""
    _checked(_known(name), arguments)


def _known(name: str) -> str:
    if name not in OPERATIONS:
        known = ", ".join(OPERATIONS)
        raise NotFound(f"there is no operation {name[:64]!r}; there are {known}", UNKNOWN_OPERATION)
    return name


def _checked(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    return msgspec.structs.asdict(converted(arguments, _ARGUMENTS[name]))
