"""Tidelog on this machine: `tidelog serve` in a process of its own, on an empty data directory."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from api.version import tidelog_version
from bench.load.ably.drivers import OverRest, OverWebSocket
from bench.load.ably.endpoint import Endpoint
from bench.load.driver import Address, Driver
from bench.realtime.process import raise_open_files
from bench.realtime.server import serving
from bench.server_process import KEY

PROMISE = "fsynced"
_DRIVERS: dict[str, type[OverWebSocket] | type[OverRest]] = {
    "tidelog": OverWebSocket,
    "tidelog-rest": OverRest,
}


class Tidelog:
    name = "tidelog"
    drivers = tuple(_DRIVERS)
    settings = "as it is: every acknowledgement is fsynced"

    def missing(self) -> str | None:
        return None

    def version(self) -> str:
        return tidelog_version()

    @contextmanager
    def start(self, work: Path) -> Iterator[Address]:
        raise_open_files()
        with serving(work) as server:
            yield Address("127.0.0.1", server.port, server.pid)

    def driver(self, name: str, address: Address) -> Driver:
        return _DRIVERS[name](name, PROMISE, Endpoint(address.host, address.port, KEY))


PEER = Tidelog()
