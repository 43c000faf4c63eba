"""NATS as it comes: JetStream acknowledges what is in the page cache, and syncs every 2 minutes."""

from bench.load.peers.nats import PEER as SYNCED
from bench.load.peers.nats import NatsPeer


class NatsAsItComes(NatsPeer):
    def missing(self) -> str | None:
        if (missing := super().missing()) is not None:
            return missing
        return None if SYNCED.is_synced else "this nats-server can do nothing else: see nats"


PEER = NatsAsItComes("nats-default", ("nats-jetstream-default",), wants_sync=False)
