"""NATS, with JetStream in files that are synced at every message where the server knows how to.

`sync_interval: always` came with nats-server 2.10; Debian 12 has 2.9, which refuses a file that
names it. Whether it is known is asked of the server itself: it checks a configuration without
starting. An older one runs as it is, and the promise says so. A newer one is taken when it comes
first on PATH. It pings nobody: not every client of these benchmarks answers.
"""

import functools
import subprocess
import tempfile
from pathlib import Path

from bench.load.driver import Address, Driver
from bench.load.peers.local import LocalPeer
from bench.realtime.wires import LOOPBACK

_ALWAYS = "sync_interval: always"
_CONFIGURATION = """\
host: {host}
port: {port}
ping_interval: 1h
jetstream {{
  store_dir: "{store}"
  {sync}
}}
"""


class NatsPeer(LocalPeer):
    """is_synced: it is asked for, and the server can do it."""

    program = "nats-server"
    package = "nats-server"
    client = "nats"
    hello = b'CONNECT {"verbose":false}\r\nPING\r\n'
    answer = b"PONG\r\n"

    def __init__(self, name: str, drivers: tuple[str, ...], *, wants_sync: bool) -> None:
        self.name = name
        self.drivers = drivers
        self._wants_sync = wants_sync

    @property
    def is_synced(self) -> bool:
        return self._wants_sync and _knows_sync(str(self.binary))

    @property
    def settings(self) -> str:  # type: ignore[override]  # depends on what is installed
        return f"JetStream in files, {_ALWAYS if self.is_synced else 'synced every 2 minutes'}"

    def arguments(self, work: Path, port: int) -> list[str]:
        path = work / "nats.conf"
        path.write_text(_configuration(work / "store", port, is_synced=self.is_synced))
        return ["-c", str(path)]

    def driver(self, name: str, address: Address) -> Driver:
        from bench.load.drivers import nats_core, nats_jetstream  # needs the client library

        if name == nats_core.NAME:
            return nats_core.NatsCore(address)
        return nats_jetstream.NatsJetStream(name, address, is_synced=self.is_synced)


def _configuration(store: Path, port: int, *, is_synced: bool) -> str:
    sync = _ALWAYS if is_synced else ""
    return _CONFIGURATION.format(host=LOOPBACK, port=port, store=store, sync=sync)


@functools.cache
def _knows_sync(program: str) -> bool:
    with tempfile.TemporaryDirectory(prefix="tidelog-nats-") as directory:
        path = Path(directory, "nats.conf")
        path.write_text(_configuration(path.parent / "store", 4222, is_synced=True))
        ran = subprocess.run([program, "-t", "-c", path], capture_output=True, check=False)
    return ran.returncode == 0


PEER = NatsPeer("nats", ("nats-core", "nats-jetstream"), wants_sync=True)
