"""How much the realtime benchmarks measure, by the name of the run's scale."""

from dataclasses import dataclass

from bench.scale import Scale


@dataclass(frozen=True, slots=True, kw_only=True)
class RealtimeScale:
    """in_flight: messages that a publisher has not seen acknowledged. window: messages that not
    all subscribers have received yet, when they are published faster than one by one.
    stalled: (subscribers, of which stall, messages per second, bytes of one). documents: bytes of
    one; audiences: their subscribers. apart: (subscribers that are behind, by how many documents at
    most, subscribers with a filter each, rounds). appends: (subscribers, appends per second).
    filters: distinct ones."""

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
    documents: tuple[int, ...]
    audiences: tuple[int, ...]
    apart: tuple[int, int, int, int]
    appends: tuple[int, int]
    filters: tuple[int, ...]


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
        documents=(4_096, 32_768),
        audiences=(1, 10, 100, 1_000),
        apart=(1_000, 50, 100, 7),
        appends=(100, 1_000),
        filters=(1, 10, 100),
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
        documents=(4_096, 32_768),
        audiences=(1, 10, 100, 1_000),
        apart=(1_000, 50, 100, 3),
        appends=(100, 1_000),
        filters=(1, 10, 100),
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
        documents=(800,),
        audiences=(1, 3),
        apart=(4, 3, 3, 2),
        appends=(3, 200),
        filters=(1, 2),
    ),
}


def of(scale: Scale) -> RealtimeScale:
    return _SCALES[scale.name]
