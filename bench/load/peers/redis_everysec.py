"""Redis as most people run it: a reply comes before the sync, which is a second away at most."""

from bench.load.peers.redis import RedisPeer

PEER = RedisPeer("redis-everysec", "everysec", ("redis-streams-everysec",))
