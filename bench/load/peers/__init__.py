"""Brokers that can be started on this machine, each in a module that has a `PEER`, imported when it
is asked for: a client library that is not installed is then no error for the others."""

import importlib

from bench.load.driver import Peer

MODULES: dict[str, str] = {
    "tidelog": "bench.load.peers.tidelog",
    "redis": "bench.load.peers.redis",
    "redis-everysec": "bench.load.peers.redis_everysec",
    "nats": "bench.load.peers.nats",
    "nats-default": "bench.load.peers.nats_default",
    "mosquitto": "bench.load.peers.mosquitto",
}


def peer(name: str) -> Peer:
    """That of a name in MODULES."""
    found: Peer = importlib.import_module(MODULES[name]).PEER
    return found
