"""How long each stream is kept: the policy behind the log's sweep."""

from broker import tenancy
from broker.auth.nonces import NONCE_RETENTION_MS
from broker.auth.revocations import REVOCATION_RETENTION_MS
from broker.event import Kind
from broker.settings import FOREVER, HOUR_MS, BrokerSettings
from storage import LocalLog, Retention, Stream, View

STATS_CURSOR_RETENTION_MS = HOUR_MS  # the row that they fold to is kept

# Longer than anything can be on its way (broker.push.lifetime.TTL_MS_MAX).
PUBLISHES_RETENTION_MS = 48 * HOUR_MS


def retention(view: View, settings: BrokerSettings, stream: Stream) -> Retention:
    """What a stream keeps. Channel, app and system streams without an entry keep everything."""
    match stream.kind:
        case Kind.VERSIONS | Kind.ANNOTATIONS:
            # What is about messages is kept as long as any message before it is.
            messages = view.first(Stream(stream.app, stream.channel, Kind.MESSAGES))
            return Retention(before=messages or view.position + 1)
        case Kind.MESSAGES | Kind.PRESENCE:
            rules = tenancy.rules(view, stream.app, stream.channel)
            age = (
                settings.message_retention_ms if rules.retention_ms is None else rules.retention_ms
            )
            return Retention(_age(age), rules.messages_max, rules.bytes_max)
        case Kind.EPHEMERAL:
            return Retention(_age(settings.ephemeral_retention_ms))
        case Kind.ATTACHMENTS | Kind.CONNECTIONS | Kind.LIFECYCLE:
            return Retention(_age(settings.attachment_retention_ms))
        case Kind.PUBLISHES:
            return Retention(PUBLISHES_RETENTION_MS)
        case Kind.NONCES:
            return Retention(NONCE_RETENTION_MS)
        case Kind.REVOCATIONS:
            return Retention(REVOCATION_RETENTION_MS)
        case Kind.AUDIT:
            return Retention(_age(settings.audit_retention_ms))
        case Kind.STATS:
            age = settings.stats_retention_ms if stream.app else STATS_CURSOR_RETENTION_MS
            return Retention(_age(age))
    return Retention()


def _age(ms: int) -> int | None:
    return None if ms == FOREVER else ms


async def sweep(log: LocalLog, settings: BrokerSettings) -> int:
    """Trim every stream to what it keeps; returns how many needed it."""
    return await log.sweep(lambda view, stream: retention(view, settings, stream))
