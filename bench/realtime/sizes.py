"""How much the realtime benchmarks measure, by the name of the run's scale."""

from dataclasses import dataclass

from bench.scale import Scale


@dataclass(frozen=True, slots=True, kw_only=True)
class RealtimeScale:
    """in_flight: messages that a publisher has not seen acknowledged. window: messages that not
    all subscribers have received yet, when they are published faster than one by one.
    stalled: (subscribers, of which stall, messages per second, bytes of one)."""

    in_flight: tuple[int, ...]
    beside_in_flight: tuple[int, ...]
    subscribers: int
    window: int
    connections: int
    first_connections: int
    channels: int
    idle_s: float
    stalled: tuple[int, int, int, int]
    stall_s: float


_SCALES = {
    "full": RealtimeScale(
        in_flight=(1, 16, 100, 1_000),
        beside_in_flight=(1, 16, 100),
        subscribers=1_000,
        window=256,
        connections=5_000,
        first_connections=100,
        channels=500,
        idle_s=20.0,
        stalled=(100, 10, 300, 4_096),
        stall_s=5.0,
    ),
    "quick": RealtimeScale(
        in_flight=(1, 16, 100, 1_000),
        beside_in_flight=(1, 16),
        subscribers=1_000,
        window=256,
        connections=5_000,
        first_connections=100,
        channels=500,
        idle_s=5.0,
        stalled=(100, 10, 300, 4_096),
        stall_s=3.0,
    ),
    "tiny": RealtimeScale(
        in_flight=(1, 8),
        beside_in_flight=(2,),
        subscribers=5,
        window=4,
        connections=12,
        first_connections=4,
        channels=3,
        idle_s=0.05,
        stalled=(4, 1, 200, 256),
        stall_s=0.1,
    ),
}


def of(scale: Scale) -> RealtimeScale:
    return _SCALES[scale.name]
