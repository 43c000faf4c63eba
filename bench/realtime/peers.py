"""Every broker that can be measured beside ours on this machine, and what is said of the others."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench import redis_peer
from bench.realtime import nats_peer
from bench.realtime.process import raise_open_files
from bench.realtime.redis import redis_wire
from bench.realtime.server import serving
from bench.realtime.tidelog import TidelogWire
from bench.realtime.wires import Wire


@contextmanager
def tidelog_wire(directory: Path, *, tls: bool = False) -> Iterator[TidelogWire]:
    raise_open_files()
    with serving(directory, tls=tls) as server:
        yield TidelogWire(server.port, server.pid, tls, name="tidelog, TLS" if tls else "tidelog")


@contextmanager
def peer_wires(directory: Path) -> Iterator[list[Wire]]:
    """Those that are installed."""
    raise_open_files()
    with ExitStack() as stack:
        wires: list[Wire] = []
        if redis_peer.installed():
            wires.append(stack.enter_context(redis_wire(directory / "redis")))
        if nats_peer.installed():
            wires.append(stack.enter_context(nats_peer.nats_wire(directory / "nats")))
        yield wires


def notes() -> list[str]:
    said = [] if redis_peer.installed() else ["redis-server is not installed: not measured."]
    if nats_peer.installed():
        return [*said, f"NATS: {nats_peer.version()}."]
    return [*said, "nats-server is not installed: not measured."]
