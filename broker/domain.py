"""What the broker registers with its log: every decider and every projection, in one place."""

from broker import (
    administration,
    app_log,
    connection_log,
    idle_channels,
    nonces,
    occupancy,
    presence,
    publishing,
    purge,
    revocations,
)
from broker.acceptance import Accepted
from broker.channels import Channels
from broker.connection_log import ConnectionLog
from broker.events import decode, encode
from broker.lifecycle import ActiveChannels
from broker.nonces import Nonces
from broker.occupancy import Occupancies
from broker.presence import Members
from broker.publishing import Dedup
from broker.purge import Purges
from broker.revocations import Revocations
from broker.tenancy import Tenancy
from storage import Domain
from storage.projection import Decide, Projection

# Count up when a fold writes other rows than before for the same events.
ROWS_VERSION = 3

PROJECTIONS: tuple[Projection, ...] = (
    Tenancy(),
    Channels(),
    ActiveChannels(),
    Dedup(),
    Accepted(),
    Members(),
    Occupancies(),
    ConnectionLog(),
    Nonces(),
    Revocations(),
    Purges(),
)


def broker_domain() -> Domain:
    decide: dict[type, Decide] = {
        **administration.DECIDE,
        **app_log.DECIDE,
        **publishing.DECIDE,
        **presence.DECIDE,
        **occupancy.DECIDE,
        **idle_channels.DECIDE,
        **connection_log.DECIDE,
        **nonces.DECIDE,
        **revocations.DECIDE,
        **purge.DECIDE,
    }
    return Domain(decide, PROJECTIONS, encode, decode, version=ROWS_VERSION)
