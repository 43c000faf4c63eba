"""How much of a workload: one set of options for all, of which each workload reads what it needs.

Each has a least and a most; a value outside is a `BadOption` before anything is started.
"""

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
    """rate: operations per second over all connections; 0 is a closed loop. publishers and
    subscribers: connections, over which `channels` are spread evenly. window: operations under way
    on a connection. stored: messages of each channel before the clock starts; page: of a read.
    slow: the share of subscribers that stops reading for the middle third. storms: how often all
    subscribers are cut off. patience_s: without any progress, before what is missing counts as
    lost."""

    rate: Annotated[float, msgspec.Meta(ge=0, le=10_000_000)] = 1_000
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
            raise BadOption(str(error)) from error
        if max(made.publishers, made.channels) * 2 > PUBLISHERS_MAX:
            raise BadOption(f"at most {PUBLISHERS_MAX // 2:,} publishers or channels")
        return made


def spread(connections: int, channels: int) -> list[range]:
    """The channels of each connection: together they cover all, as evenly as can be, and several
    connections share a channel where there are more of them."""
    if connections >= channels:
        return [range(one % channels, one % channels + 1) for one in range(connections)]
    return [range(one, channels, connections) for one in range(connections)]
