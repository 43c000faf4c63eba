"""How much of a workload: one set of options for all, of which each workload reads what it needs.

Each has a least and a most; a value outside is a `BadOption` before anything is started.
"""

import re
from typing import Annotated

import msgspec

from bench.load.arrival import Arrival
from bench.load.body import HEAD_BYTES, PUBLISHERS_MAX

_Count = Annotated[int, msgspec.Meta(ge=0, le=50_000)]
_Some = Annotated[int, msgspec.Meta(ge=1, le=50_000)]
_Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]


class BadOption(ValueError):
    """An option, or two of them together, make no sense; the message says what would."""


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """HELP says what each is."""

    rate: Annotated[float, msgspec.Meta(ge=0, le=10_000_000)] = 1_000.0
    duration_s: _Seconds = 10.0
    warm_up_s: Annotated[float, msgspec.Meta(ge=0, le=3_600)] = 1.0
    size: Annotated[int, msgspec.Meta(ge=HEAD_BYTES, le=16 << 20)] = 256
    publishers: _Some = 8
    subscribers: _Count = 0
    channels: _Some = 8
    window: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 64
    arrival: Arrival = "poisson"
    seed: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)] = 1
    stored: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    page: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 100
    slow: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    storms: Annotated[int, msgspec.Meta(ge=0, le=1_000)] = 0
    devices: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1_000
    patience_s: _Seconds = 30.0

    def but(self, **changes: object) -> "Options":
        """With other values. Raises BadOption."""
        given = {name: value for name, value in changes.items() if value is not None}
        try:
            made = msgspec.convert({**msgspec.to_builtins(self), **given}, Options)
        except msgspec.ValidationError as error:
            raise BadOption(_PATH.sub(lambda found: flag(found[1]), str(error))) from error
        if max(made.publishers, made.channels) * 2 > PUBLISHERS_MAX:
            raise BadOption(f"at most {PUBLISHERS_MAX // 2:,} publishers or channels")
        return made


_PATH = re.compile(r"`\$\.(\w+)`")


def flag(name: str) -> str:
    """How a field is called on the command line."""
    return f"--{name.removesuffix('_s').replace('_', '-')}"


HELP = {
    "rate": "Operations per second, over all connections; 0: each waits for the one before.",
    "duration_s": "Seconds that count.",
    "warm_up_s": "Seconds before them.",
    "size": "Bytes of a message's body.",
    "publishers": "Connections that publish, read history or enter.",
    "subscribers": "Connections that subscribe.",
    "channels": "Spread evenly over the connections.",
    "window": "Operations under way on a connection.",
    "arrival": "poisson or constant.",
    "seed": "Of what is random.",
    "stored": "Messages in each channel beforehand.",
    "page": "Messages in a read of history.",
    "slow": "The share of subscribers that stop reading for the middle third.",
    "storms": "How often all subscribers lose their connections at once.",
    "devices": "How many each notification is for.",
    "patience_s": "Seconds without progress until what is missing is lost.",
}


def spread(connections: int, channels: int) -> list[range]:
    """The channels of each connection: together they cover all, as evenly as can be, and several
    connections share a channel where there are more of them."""
    if connections >= channels:
        return [range(one % channels, one % channels + 1) for one in range(connections)]
    return [range(one, channels, connections) for one in range(connections)]
