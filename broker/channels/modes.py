"""Channel modes: what an attachment may do and is given (TB2d), and the operation each needs.

The values are the protocol's flag bits (TR3), so that a granted set goes out as it is.
"""

from collections.abc import Iterable
from enum import IntFlag

from broker.auth.capability import Capability
from broker.errors import BadRequest


class Mode(IntFlag):
    PRESENCE = 1 << 16
    PUBLISH = 1 << 17
    SUBSCRIBE = 1 << 18
    PRESENCE_SUBSCRIBE = 1 << 19
    ANNOTATION_PUBLISH = 1 << 21
    ANNOTATION_SUBSCRIBE = 1 << 22
    OBJECT_SUBSCRIBE = 1 << 24
    OBJECT_PUBLISH = 1 << 25


ALL = Mode(sum(Mode))
DEFAULT = (
    Mode.PUBLISH
    | Mode.SUBSCRIBE
    | Mode.PRESENCE
    | Mode.PRESENCE_SUBSCRIBE
    | Mode.ANNOTATION_PUBLISH
)

# Any one of the operations grants the mode (reference 2.5).
_OPERATIONS: dict[Mode, tuple[str, ...]] = {
    Mode.PRESENCE: ("presence",),
    Mode.PUBLISH: ("publish",),
    Mode.SUBSCRIBE: ("subscribe",),
    Mode.PRESENCE_SUBSCRIBE: ("subscribe",),
    Mode.ANNOTATION_PUBLISH: ("annotation-publish",),
    Mode.ANNOTATION_SUBSCRIBE: ("annotation-subscribe",),
    Mode.OBJECT_SUBSCRIBE: ("object-subscribe", "subscribe"),
    Mode.OBJECT_PUBLISH: ("object-publish",),
}


def permitted(capability: Capability, channel: str) -> Mode:
    """Every mode that a capability grants on a channel, a name as a client writes it."""
    granted = Mode(0)
    for mode, operations in _OPERATIONS.items():
        if any(capability.permits(operation, channel) for operation in operations):
            granted |= mode
    return granted


def parse(names: Iterable[str]) -> Mode:
    """Modes by name, in any case. Raises BadRequest 40000 for a name that is none."""
    modes = Mode(0)
    for name in names:
        try:
            modes |= Mode[name.strip().upper()]
        except KeyError:
            raise BadRequest(f"unknown channel mode {name.strip()[:64]!r}") from None
    return modes
