"""What administrators do is written down: which operations, of whom, and what is told of them.

Every operation is in one of two tables: those that change something, with the arguments that are
told, and those that do not. One that is in neither fails the import, so none is forgotten. Told are
only arguments that are listed, shortened, and scrubbed of what looks like a secret; of a result
only the name of what was made.

Not here: `publish`, because the channel's own log has what was published, and what the
configuration declares, because nobody asked for it over the socket.
"""

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from api import codec
from api.admin import operations
from api.structured_logging import scrub
from broker import Broker, BrokerError, randomness
from broker.audit_events import ASKED, DONE, FAILED, AdminActed

TOLD_CHARS_MAX = 256
INTERNAL = 50000
SOCKET, DIRECTORY = "socket", "directory"

# Operation -> the arguments that are told.
CHANGING: dict[str, tuple[str, ...]] = {
    "apps.create": ("app", "name"),
    "apps.limits": ("app", "limits"),
    "apps.delete": ("app",),
    "keys.create": ("app", "capability", "revocable_tokens"),
    "keys.copy": ("app", "key"),
    "keys.limits": ("app", "key", "limits"),
    "keys.revoke": ("app", "key"),
    "keys.rotate": ("app", "key"),
    "namespaces.set": ("app", "namespace", "rules"),
    "namespaces.remove": ("app", "namespace"),
    "push.remove": ("app", "device"),
    "push.send": ("app", "device", "client_id", "channel"),
    "beams.create": ("app",),
    "beams.remove": ("instance",),
    "beams.webhooks.add": ("instance", "events"),
    "beams.webhooks.remove": ("instance", "webhook"),
    "matrix.channels": ("app", "channels"),
    "matrix.encryption": ("app", "rule", "app_id"),
    "matrix.token": ("app", "user", "ttl_s"),
    "purge": ("app", "channel", "client_id"),
    "rebuild": (),
}
NOT_CHANGING = frozenset(
    {
        "publish",
        "history",
        "tail",
        "apps.list",
        "keys.list",
        "namespaces.list",
        "push.devices",
        "push.status",
        "beams.list",
        "beams.webhooks.list",
        "matrix.show",
        "sweep",  # removes what would be removed in a minute, and has to work on a full disk
        "status",
        "top",
        "audit",
    }
)
assert operations.OPERATIONS.keys() == CHANGING.keys() | NOT_CHANGING

# Which field of a result names what was made; the part behind a colon is a key's secret.
_MADE = {
    "apps.create": "id",
    "keys.create": "name",
    "keys.copy": "name",
    "keys.rotate": "name",
    "beams.create": "instance",
    "beams.webhooks.add": "id",
}

logger = logging.getLogger("tidelog.admin")


class Actor(NamedTuple):
    """Who asks: `uid` of the process, None where the system does not say; `via`: which way."""

    uid: int | None
    via: str


async def run(broker: Broker, actor: Actor, name: str, arguments: Mapping[str, Any]) -> Any:
    """The result of an operation, which is written down if it changes something. Raises what it
    raises; and then nothing is done, what writing down raises."""
    if name not in CHANGING:
        return await operations.run(broker, name, arguments)
    operations.check(name, arguments)
    asked = AdminActed(
        action=randomness.new_id(),
        operation=name,
        arguments=_told(name, arguments),
        phase=ASKED,
        uid=actor.uid,
        via=actor.via,
    )
    await broker.audit.record(asked)
    try:
        result = await operations.run(broker, name, arguments)
    except Exception as error:
        code = error.code if isinstance(error, BrokerError) else INTERNAL
        await _over(broker, asked, FAILED, code=code)
        raise
    await _over(broker, asked, DONE, made=_made(name, result))
    return result


async def _over(broker: Broker, asked: AdminActed, phase: str, **more: Any) -> None:
    """What was done is done, whether or not it can be written down."""
    try:
        await broker.audit.record(msgspec.structs.replace(asked, phase=phase, **more))
    except BrokerError as error:
        logger.error("%s is over, which the audit log does not say: %s", asked.operation, error)


def _told(name: str, arguments: Mapping[str, Any]) -> dict[str, str]:
    found = {which: arguments.get(which) for which in CHANGING[name]}
    return {which: _text(which, value) for which, value in found.items() if value is not None}


def _text(which: str, value: Any) -> str:
    text = value if isinstance(value, str) else codec.encode_json(value).decode()
    if which == "key":  # a whole key is understood too, with its secret
        text = text.partition(":")[0]
    return scrub(text)[:TOLD_CHARS_MAX]


def _made(name: str, result: Any) -> str:
    return str(result[_MADE[name]]) if name in _MADE else ""
