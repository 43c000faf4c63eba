"""Redis, with its append-only file synced before each reply, or every second.

Nothing else touches the disk: no snapshots, and no rewriting of the file, which would be paid for
by whatever runs just then.
"""

from pathlib import Path

from bench.load.driver import Address, Driver
from bench.load.peers.local import LocalPeer
from bench.realtime.wires import LOOPBACK

_OPTIONS = {
    "bind": LOOPBACK,
    "appendonly": "yes",
    "auto-aof-rewrite-percentage": "0",
    "save": "",
    "daemonize": "no",
}


class RedisPeer(LocalPeer):
    """appendfsync: "always" or "everysec". more: other options."""

    program = "redis-server"
    package = "redis-server"
    client = "redis"
    hello = b"PING\r\n"
    answer = b"+PONG\r\n"

    def __init__(self, name: str, appendfsync: str, drivers: tuple[str, ...], **more: str) -> None:
        self.name = name
        self.drivers = drivers
        self.settings = f"appendonly yes, appendfsync {appendfsync}, save ''"
        self._appendfsync = appendfsync
        self._more = more

    def arguments(self, work: Path, port: int) -> list[str]:
        options = _OPTIONS | {
            "port": str(port),
            "dir": str(work),
            "appendfsync": self._appendfsync,
            **self._more,
        }
        return [*(part for name in options for part in (f"--{name}", options[name]))]

    def driver(self, name: str, address: Address) -> Driver:
        from bench.load.drivers import redis_pubsub, redis_streams  # needs the client library

        if name == redis_pubsub.NAME:
            return redis_pubsub.RedisPubSub(address)
        return redis_streams.RedisStreams(name, address, self._appendfsync)


PEER = RedisPeer("redis", "always", ("redis-streams", "redis-pubsub"))
