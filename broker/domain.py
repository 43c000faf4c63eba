"""What the broker registers with its log: every decider and every projection, in one place."""

from broker import administration, audit, purge
from broker.auth import nonces, revocations
from broker.auth.nonces import Nonces
from broker.auth.revocations import Revocations
from broker.beams import instances, webhooks
from broker.beams.instances import BeamsInstances
from broker.beams.webhooks import BeamsWebhooks
from broker.channels import occupancy, presence
from broker.channels.lifecycle import ActiveChannels
from broker.channels.occupancy import Occupancies
from broker.channels.presence import Members
from broker.channels.registry import Channels
from broker.events import decode, encode
from broker.interactions import annotating, changing
from broker.interactions.projection import Interactions
from broker.limits import only_if_known
from broker.live import app_log, connection_log, idle_channels
from broker.live.connection_log import ConnectionLog
from broker.matrix import rules as matrix_rules
from broker.matrix.rules import MatrixConfiguration
from broker.messages import publishing
from broker.messages.acceptance import Accepted
from broker.messages.publishing import Dedup
from broker.purge import Purges
from broker.push import outbox_log, registration, removal, subscriptions, topics
from broker.push.outbox_log import OutboxLog
from broker.push.registry import PushRegistry
from broker.stats import recording
from broker.stats.projections import Stats, StatsMinutes
from broker.tenancy import Tenancy
from storage import Domain
from storage.projection import Decide, Projection

# Count up when a fold writes other rows than before for the same events.
ROWS_VERSION = 6

PROJECTIONS: tuple[Projection, ...] = (
    Tenancy(),
    MatrixConfiguration(),
    Channels(),
    ActiveChannels(),
    Dedup(),
    Accepted(),
    Interactions(),
    PushRegistry(),
    OutboxLog(),
    Members(),
    Occupancies(),
    ConnectionLog(),
    Nonces(),
    Revocations(),
    StatsMinutes(),
    Stats(),
    Purges(),
    BeamsInstances(),
    BeamsWebhooks(),
)


def broker_domain() -> Domain:
    published: dict[type, Decide] = {
        **publishing.DECIDE,
        **changing.DECIDE,
        **annotating.DECIDE,
        **presence.DECIDE,
    }
    decide: dict[type, Decide] = {
        **published,
        **only_if_known.deciding(published, published),
        **administration.DECIDE,
        **audit.DECIDE,
        **matrix_rules.DECIDE,
        **app_log.DECIDE,
        **registration.DECIDE,
        **removal.DECIDE,
        **subscriptions.DECIDE,
        **topics.DECIDE,
        **outbox_log.DECIDE,
        **occupancy.DECIDE,
        **idle_channels.DECIDE,
        **connection_log.DECIDE,
        **nonces.DECIDE,
        **revocations.DECIDE,
        **recording.DECIDE,
        **purge.DECIDE,
        **instances.DECIDE,
        **webhooks.DECIDE,
    }
    return Domain(decide, PROJECTIONS, encode, decode, version=ROWS_VERSION)
