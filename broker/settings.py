"""The settings of a broker: limits and defaults of this layer, each with unit and help."""

from dataclasses import dataclass, field
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from broker.limits.settings import RateLimitSettings
from storage import LogSettings, setting
from storage.settings import check_positive

__all__ = ["BrokerSettings", "check_positive", "setting"]

HOUR_MS = 3_600_000
FOREVER = 0
_MAY_BE_ZERO = frozenset(
    {
        "message_retention_ms",
        "ephemeral_retention_ms",
        "attachment_retention_ms",
        "presence_members_max",
        "stats_retention_ms",
        "audit_retention_ms",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerSettings:
    message_bytes_max: int = setting(65_536, "bytes", "size of one publish, all messages together")
    publish_messages_max: int = setting(1_000, "messages", "messages in one publish")
    batch_messages_max: int = setting(
        10_000, "messages", "messages in one batch publish, over all its channels"
    )
    history_limit_max: int = setting(1_000, "messages", "largest page of history")
    message_retention_ms: int = setting(
        72 * HOUR_MS, "ms", "how long messages and presence events are kept; 0 is forever"
    )
    ephemeral_retention_ms: int = setting(120_000, "ms", "how long ephemeral messages are kept")
    attachment_retention_ms: int = setting(
        HOUR_MS, "ms", "how long attach and detach events are kept"
    )
    stats_retention_ms: int = setting(
        90 * 24 * HOUR_MS, "ms", "how long usage is kept by the minute; 0 is forever"
    )
    audit_retention_ms: int = setting(
        FOREVER, "ms", "how long it is kept what administrators did; 0 is forever"
    )
    sweep_interval_ms: int = setting(60_000, "ms", "how often old records are looked for")
    subscription_messages_max: int = setting(
        1_000, "messages", "messages queued for one in-process subscriber before it reads from disk"
    )
    rewind_messages_max: int = setting(
        1_000, "messages", "largest rewind of an in-process subscriber"
    )
    connection_state_ttl_ms: int = setting(
        120_000, "ms", "how long a connection that lost its transport can be resumed"
    )
    presence_leave_delay_ms: int = setting(
        15_000, "ms", "how long members stay when their connection lost its transport"
    )
    presence_members_max: int = setting(0, "members", "members of one channel; 0 is no limit")
    connection_channels_max: int = setting(200, "channels", "channels attached on one connection")
    channel_idle_ms: int = setting(60_000, "ms", "how long an unused channel stays active")
    occupancy_pause_ms: int = setting(
        1_000, "ms", "pause between two occupancy messages of one channel"
    )
    app_log_reports_max: int = setting(
        10, "messages", "refusals told on [meta]log in one second, for each app"
    )
    push_zone: str = setting(
        "Europe/Berlin", "time zone", "by whose months the keys of encrypted pushers change"
    )
    log: LogSettings = field(default_factory=LogSettings)
    rate_limits: RateLimitSettings = field(default_factory=RateLimitSettings)

    def __post_init__(self) -> None:
        check_positive(self, _MAY_BE_ZERO)
        try:
            ZoneInfo(self.push_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"push_zone is no time zone: {self.push_zone!r}") from None
