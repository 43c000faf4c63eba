"""`[rate_limits]`: what each app, key, connection and channel may do, unless it has its own bound.

All of it is off by default: 0 is no limit. Apps and keys have bounds of their own in the log
(broker.tenancy.Limits), channels by their namespace (broker.tenancy.NamespaceRules).
"""

from dataclasses import dataclass, fields

from storage import setting
from storage.settings import check_positive

BURST_MS, BUCKETS_MAX = "burst_ms", "buckets_max"


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimitSettings:
    app_messages_per_s: int = setting(0, "messages", "published in one app; 0 is no limit")
    key_messages_per_s: int = setting(
        0, "messages", "published with one key and its tokens; 0 is no limit"
    )
    connection_messages_per_s: int = setting(
        0, "messages", "published over one connection; 0 is no limit"
    )
    channel_messages_per_s: int = setting(0, "messages", "published to one channel; 0 is no limit")
    app_bytes_per_s: int = setting(0, "bytes", "published in one app; 0 is no limit")
    key_bytes_per_s: int = setting(
        0, "bytes", "published with one key and its tokens; 0 is no limit"
    )
    connection_bytes_per_s: int = setting(
        0, "bytes", "published over one connection; 0 is no limit"
    )
    channel_bytes_per_s: int = setting(0, "bytes", "published to one channel; 0 is no limit")
    app_requests_per_s: int = setting(0, "requests", "of one app over HTTP; 0 is no limit")
    key_requests_per_s: int = setting(
        0, "requests", "with one key and its tokens over HTTP; 0 is no limit"
    )
    connection_frames_per_s: int = setting(
        0, "frames", "of any kind from one connection, which ends beyond it; 0 is no limit"
    )
    app_connections_max: int = setting(
        0, "connections", "realtime connections of one app; 0 is no limit"
    )
    burst_ms: int = setting(
        1_000, "ms", "after a quiet time, what this much time allows may come at once"
    )
    buckets_max: int = setting(
        100_000, "buckets", "apps, keys, connections or channels remembered for each limit"
    )

    def __post_init__(self) -> None:
        names = frozenset(item.name for item in fields(self))
        check_positive(self, names - {BURST_MS, BUCKETS_MAX})

    @property
    def limits_anything(self) -> bool:
        names = (item.name for item in fields(self))
        return any(getattr(self, name) for name in names if name not in (BURST_MS, BUCKETS_MAX))
