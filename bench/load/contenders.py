"""Brokers that a run can be made on, by the names of their drivers: started here, or elsewhere.

tidelog, tidelog-rest     the endpoint at --url, or a server that is started for the run
ably, ably-rest           any endpoint of Ably's protocol, at --url
in-process                `broker.open`, in the load generator's process
instant                   no broker: what the load generator itself can do
and those of the peers    brokers that are started here when they are installed
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from api.version import tidelog_version
from bench.load import peers
from bench.load.ably.drivers import OverRest, OverWebSocket
from bench.load.ably.endpoint import Endpoint
from bench.load.driver import Driver, Peer
from bench.load.in_process import InProcess
from bench.load.instant import Instant
from bench.load.options import BadOption

AT_URL: dict[str, tuple[type[OverWebSocket] | type[OverRest], str]] = {
    "tidelog": (OverWebSocket, "fsynced"),
    "tidelog-rest": (OverRest, "fsynced"),
    "ably": (OverWebSocket, "what the endpoint's operator says"),
    "ably-rest": (OverRest, "what the endpoint's operator says"),
}


class Contender(NamedTuple):
    """server_pid: None of a server elsewhere, and of what is in this process."""

    driver: Driver
    version: str
    server_pid: int | None = None


@dataclass(frozen=True)
class Absent:
    """A peer that cannot run here, and why."""

    name: str
    reason: str


@contextmanager
def contender(name: str, work: Path, endpoint: Endpoint | None = None) -> Iterator[Contender]:
    """Of a driver's name. `work`: an empty directory. Raises BadOption when there is no such
    driver, or it cannot run here."""
    if endpoint is not None:
        if name not in AT_URL:
            raise BadOption(f"{name} cannot be at --url: only {', '.join(AT_URL)}")
        kind, promise = AT_URL[name]
        abilities = kind.abilities if endpoint.keeps else kind.abilities - {"history"}
        driver = kind(name, promise, endpoint, abilities=abilities)
        yield Contender(driver, f"{endpoint.host}:{endpoint.port}")
    elif name in HERE:
        yield Contender(HERE[name](work), tidelog_version())
    elif name.startswith("ably"):
        raise BadOption(f"{name} needs --url and --key")
    else:
        with started(_peer_of(name), work) as made:
            yield next(one for one in made if one.driver.name == name)


HERE: dict[str, Callable[[Path], Driver]] = {
    "in-process": lambda work: InProcess(work / "data"),
    "instant": lambda _work: Instant(),
}


@contextmanager
def started(peer: Peer, work: Path) -> Iterator[list[Contender]]:
    """A peer runs meanwhile; all its drivers."""
    version = f"{peer.name} {peer.version()}"
    with peer.start(work / peer.name) as address:
        yield [Contender(peer.driver(name, address), version, address.pid) for name in peer.drivers]


def found() -> tuple[list[Peer], list[Absent]]:
    """Which peers can run here, Tidelog first, and which cannot."""
    here: list[Peer] = []
    absent: list[Absent] = []
    for name in sorted(peers.MODULES, key=lambda name: name != "tidelog"):
        try:
            peer = peers.peer(name)
        except ImportError as error:
            absent.append(Absent(name, f"its client library is not installed: {error}"))
            continue
        reason = peer.missing()
        if reason is None:
            here.append(peer)
        else:
            absent.append(Absent(name, reason))
    return here, absent


def _peer_of(name: str) -> Peer:
    here, absent = found()
    for peer in here:
        if name in peer.drivers:
            return peer
    names = [*AT_URL, *HERE, *(one for peer in here for one in peer.drivers)]
    missing = "".join(f"; {one.name}: {one.reason}" for one in absent)
    raise BadOption(f"no driver {name!r} here: {', '.join(dict.fromkeys(names))}{missing}")
