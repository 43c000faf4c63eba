"""Peers start, answer, and are gone afterwards, whatever happens; what is absent is named."""

import os
import select
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bench.load import peers
from bench.load.driver import Address
from bench.load.peers import local
from bench.load.peers.local import LocalPeer, PeerFailed
from bench.realtime.wires import LOOPBACK
from tests.bench.load.needed import needed

STUCK_S = 120


class Program(LocalPeer):
    """Any program in the place of a broker: it runs, and answers nothing."""

    name = "program"
    drivers = ()
    package = "coreutils"
    client = "socket"
    hello = answer = b"?"

    def __init__(self, program: str, *arguments: str) -> None:
        self.program = program
        self._arguments = arguments

    def driver(self, name: str, address: Address):
        raise NotImplementedError

    def arguments(self, work: Path, port: int) -> list[str]:
        (work / "port").write_text(str(port))
        return list(self._arguments)


def is_running(pid: int) -> bool:
    """A process that has ended but was not reaped counts as running."""
    return Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("name", peers.MODULES)
def test_a_peer_runs_for_as_long_as_it_is_needed(name: str, tmp_path: Path):
    peer = needed(name)
    assert peer.version()[0].isdigit()
    with peer.start(tmp_path / "peer") as address:
        assert is_running(address.pid)
        socket.create_connection(address[:2], timeout=10).close()
        for driver in peer.drivers:
            made = peer.driver(driver, address)
            assert made.name == driver
            assert made.promise
    assert not is_running(address.pid)


def test_the_guide_names_every_driver():
    guide = (Path(__file__).parents[3] / "docs" / "bench.md").read_text()
    for name in peers.MODULES:
        for driver in peers.peer(name).drivers:
            assert f"`{driver}`" in guide


def test_a_peer_is_stopped_when_its_use_fails(tmp_path: Path):
    with pytest.raises(ZeroDivisionError), needed("redis").start(tmp_path / "peer") as address:
        raise ZeroDivisionError
    assert not is_running(address.pid)


STARTED = """
import sys
from pathlib import Path
from bench.load.peers import peer

with peer("redis").start(Path(sys.argv[1])) as address:
    print(address.pid, flush=True)
    sys.stdin.read()
"""


def test_a_peer_goes_with_the_process_that_started_it(tmp_path: Path):
    needed("redis")
    with subprocess.Popen(
        [sys.executable, "-c", STARTED, tmp_path / "peer"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as starting:
        assert starting.stdout is not None
        handle = os.pidfd_open(int(starting.stdout.readline()))
        starting.kill()
    ended, _, _ = select.select([handle], [], [], STUCK_S)
    os.close(handle)
    assert ended


def test_a_port_that_another_takes_is_not_insisted_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with socket.create_server((LOOPBACK, 0)) as other:
        taken, free = other.getsockname()[1], local.free_port()
        ports = iter((taken, free))
        monkeypatch.setattr(local, "free_port", lambda: next(ports))
        with needed("redis").start(tmp_path / "peer") as address:
            assert address.port == free


def test_a_program_that_ends_at_once_says_why(tmp_path: Path):
    with (
        pytest.raises(PeerFailed, match=r"does not start: .*no-such-file"),
        Program("cat", "no-such-file").start(tmp_path / "peer"),
    ):
        pass


def test_a_program_that_never_answers_is_given_up_and_reaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(local, "START_S", 0.1)
    said = tmp_path / "peer" / "program.log"
    with (
        pytest.raises(PeerFailed, match="does not answer"),
        Program("sh", "-c", "echo $$; exec sleep 600").start(tmp_path / "peer"),
    ):
        pass
    if pid := said.read_text():  # on a busy machine it may not have come so far
        assert not is_running(int(pid))


def test_what_is_absent_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    absent = Program("no-such-program")
    assert absent.missing() == (
        "no-such-program is not installed (on Debian: apt-get install coreutils)"
    )
    with (
        pytest.raises(PeerFailed, match="no-such-program is not installed"),
        absent.start(tmp_path),
    ):
        pass
    present = Program("cat")
    assert present.missing() is None
    monkeypatch.setattr(Program, "client", "no_such_package")
    assert "pip install 'tidelog[bench]'" in (present.missing() or "")


def test_a_daemon_is_found_where_ordinary_users_do_not_look(monkeypatch: pytest.MonkeyPatch):
    path = os.environ["PATH"].split(os.pathsep)
    ordinary = [directory for directory in path if not directory.endswith("sbin")]
    needed("mosquitto")
    monkeypatch.setenv("PATH", os.pathsep.join(ordinary))
    assert peers.peer("mosquitto").missing() is None
