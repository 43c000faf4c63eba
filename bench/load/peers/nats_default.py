"""NATS as it comes: JetStream acknowledges what is in the page cache, and syncs every 2 minutes."""

from bench.load.peers.nats import NatsPeer

PEER = NatsPeer("nats-default", ("nats-jetstream-default",), wants_sync=False)
