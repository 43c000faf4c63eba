"""Extras of a message: which keys a publisher may set, of what shape, and what they ask of us.

Invariant: extras that pass can leave in JSON and in MessagePack, and come out as they went in
(RSL6a2): nothing here changes them.

Refuses to do: judge what is inside `push`, `ref`, `privileged` and `ai`, which are for others to
read, or limit size (`broker.messages.publish` counts extras with the rest of the message).
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from broker.auth.credentials import Principal
from broker.errors import BadRequest
from broker.messages.message import Message, json_text

INVALID_EXTRAS = 40032

# `delta` is missing on purpose: the broker sets it, and one from a client would make subscribers
# patch a payload we never had.
_EXTRAS = frozenset({"push", "headers", "ref", "ephemeral", "privileged", "ai"})


def is_ephemeral(message: Message) -> bool:
    """Whether the publisher asked for a message that is not kept."""
    return bool(message.extras and message.extras.get("ephemeral"))


def check_extras(extras: Mapping[str, Any], principal: Principal, channel: str) -> None:
    """Raises BadRequest 40032; Unauthorized 40160 `privileged` without `privileged-headers`."""
    if not isinstance(extras, Mapping):
        raise _bad_extras("must be an object")
    for key in extras:
        if key not in _EXTRAS:
            raise _bad_extras(f"has an unknown key {str(key)[:64]!r}")
    if not isinstance(extras.get("ephemeral"), bool | None):
        raise _bad_extras("ephemeral must be true or false")
    if extras.get("headers") is not None:
        _check_headers(extras["headers"])
    if extras.get("privileged") is not None:
        principal.require("privileged-headers", channel)
    check_encodable(extras)


def _check_headers(headers: object) -> None:
    if not isinstance(headers, Mapping):
        raise _bad_extras("headers must be an object")
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str | int | float | None):
            raise _bad_extras("headers must be a flat map of strings to scalars")


def check_encodable(
    extras: Mapping[str, Any], field: str = "extras", code: int = INVALID_EXTRAS
) -> None:
    """Extras must leave as they came in either format: JSON has no bytes, MessagePack no 2**64.
    Raises BadRequest `code`, which names `field`."""
    json_text(extras, field, code)
    try:
        msgspec.msgpack.encode(extras)
    except (OverflowError, TypeError, UnicodeError):
        said = f"{field} holds a value that MessagePack cannot represent"
        raise BadRequest(said, code) from None


def _bad_extras(reason: str) -> BadRequest:
    return BadRequest(f"extras {reason}", INVALID_EXTRAS)
