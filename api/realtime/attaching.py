"""What an ATTACH asks for, and whether it may have it (RTL4; reference 3.7).

Everything is judged here before anything changes: an ATTACH that is refused leaves the channel as
it was.
"""

from functools import lru_cache
from typing import Any, NamedTuple

from api.realtime.protocol import ATTACH_RESUME, Inbound
from broker.auth.credentials import NOT_PERMITTED, Principal
from broker.channels import channel_name, meta, modes
from broker.channels.channel_name import ChannelName
from broker.channels.message_filter import MessageFilter, message_filter
from broker.channels.modes import Mode
from broker.errors import BadRequest, Unauthorized
from broker.live.attach_point import Rewind, parse_rewind

parsed = lru_cache(maxsize=10_000)(channel_name.parse)
"""`channel_name.parse`, remembered: every publish names its channel."""

INVALID_NAME = 40010
FILTER = "filter"
# What may be done on a channel that is another's view: it is listened to.
_SEEN_OF = {
    meta.QUALIFIER: Mode.SUBSCRIBE,
    FILTER: Mode.SUBSCRIBE | Mode.ANNOTATION_SUBSCRIBE,
}
# The parameters that mean something here, and are echoed; others are ignored (reference 3.7).
_KNOWN = ("rewind", "rewindLimit", "modes", "occupancy", "delta")


class Wanted(NamedTuple):
    """An ATTACH that may be granted: `modes` of those `asked`. `serial`: what the client saw last,
    as it wrote it. `continues`: it says that it was attached before. `filter`: which messages it is
    about, of a filtered channel."""

    name: ChannelName
    asked: Mode
    modes: Mode
    params: dict[str, str]
    serial: str | None
    rewind: Rewind | None
    continues: bool
    filter: MessageFilter | None = None


def wanted(request: Inbound, principal: Principal) -> Wanted:
    """Raises BadRequest 40010 for the name, 40000 for a parameter; Unauthorized 40160."""
    name = parsed(request.channel or "")
    selected = message_filter(name.expression) if name.expression else None
    params = _params(name, request.params)
    flags = request.flags or 0
    asked = _asked(params, flags)
    granted = asked & permitted(name, principal)
    if not granted:
        raise Unauthorized("the credentials permit no mode of this channel", NOT_PERMITTED)
    if "occupancy" in params:
        principal.require("channel-metadata", name.sent)
    continues = bool(request.channel_serial) or bool(flags & ATTACH_RESUME)
    rewind = params.get("rewind")
    return Wanted(
        name,
        asked,
        granted,
        params,
        request.channel_serial or None,
        parse_rewind(rewind, params.get("rewindLimit")) if rewind else None,
        continues,
        selected,
    )


def _params(name: ChannelName, given: dict[str, Any] | None) -> dict[str, str]:
    """Those in force: of the qualifier and of the message, as strings."""
    both = {**name.params, **(given or {})}
    found = {key: both[key] for key in _KNOWN if both.get(key) is not None}
    for key, value in found.items():
        if not isinstance(value, str | int):
            raise BadRequest(f"the channel parameter {key} must be a string")
    return {key: str(value) for key, value in found.items()}


def _asked(params: dict[str, str], flags: int) -> Mode:
    named = modes.parse(params["modes"].split(",")) if "modes" in params else Mode(0)
    return named or Mode(flags & modes.ALL) or modes.DEFAULT


def permitted(name: ChannelName, principal: Principal) -> Mode:
    """Every mode that a client may have on a channel."""
    found = modes.permitted(principal.capability, name.sent)
    return found & _SEEN_OF.get(name.qualifier or "", modes.ALL)
