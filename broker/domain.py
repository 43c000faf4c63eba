"""What the broker registers with its log: every decider and every projection, in one place."""

from broker import administration, publishing, purge
from broker.channels import Channels
from broker.events import decode, encode
from broker.publishing import Dedup
from broker.purge import Purges
from broker.tenancy import Tenancy
from storage import Domain
from storage.projection import Decide

# Count up when a fold writes other rows than before for the same events.
ROWS_VERSION = 2


def broker_domain() -> Domain:
    decide: dict[type, Decide] = {**administration.DECIDE, **publishing.DECIDE, **purge.DECIDE}
    return Domain(
        decide, (Tenancy(), Channels(), Dedup(), Purges()), encode, decode, version=ROWS_VERSION
    )
