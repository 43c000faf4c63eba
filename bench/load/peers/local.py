"""A broker that runs here for as long as it is measured: what all of them have in common.

A peer listens on the loopback only, on a port that was free a moment ago; should another process
have taken it meanwhile, the next one is tried. It is there once it has answered in its own
protocol, and gone when the block ends, however it ends: asked first, killed after STOP_S, reaped
either way; and gone with the process that started it, should that be killed. What it writes is in
the given directory, with what it said in `NAME.log`, the end of which is in the error if it does
not start.
"""

import importlib.util
import re
import shutil
import socket
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

from bench.load.driver import Address, Driver
from bench.realtime.process import raise_open_files
from bench.realtime.wires import LOOPBACK

EXTRA = "pip install 'tidelog[bench]'"
START_S = 60.0
STOP_S = 30.0
_VERSION = re.compile(r"\d+(\.\d+)+")
_DAEMONS = "/usr/local/sbin:/usr/sbin"
_PORTS_TRIED = 3
_PROBE_S = 1.0
_PAUSE_S = 0.02
_LOG_BYTES = 2_000

Process = subprocess.Popen[bytes]


class PeerFailed(Exception):
    """A broker that is installed did not start; with the last that it said."""


class LocalPeer(ABC):
    """program: its binary, which the Debian package of the name `package` has; client: the module
    of the Python package that speaks to it; hello, answer: what is sent to it, and what is then in
    what it sends, once it is ready."""

    name: str
    drivers: tuple[str, ...]
    settings: str
    program: str
    package: str
    client: str
    version_option: str = "--version"
    hello: bytes
    answer: bytes

    @abstractmethod
    def driver(self, name: str, address: Address) -> Driver: ...

    @abstractmethod
    def arguments(self, work: Path, port: int) -> list[str]:
        """That start it in the foreground; a configuration file may be written to `work`."""

    @property
    def binary(self) -> str | None:
        """Where it is. Debian has daemons where the PATH of ordinary users does not look."""
        return shutil.which(self.program) or shutil.which(self.program, path=_DAEMONS)

    def missing(self) -> str | None:
        if self.binary is None:
            return f"{self.program} is not installed (on Debian: apt-get install {self.package})"
        if importlib.util.find_spec(self.client) is None:
            return f"the Python package of {self.client!r} is not installed ({EXTRA})"
        return None

    def version(self) -> str:
        command = [str(self.binary), self.version_option]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        found = _VERSION.search(ran.stdout or ran.stderr)
        return found[0] if found else "of unknown version"

    @contextmanager
    def start(self, work: Path) -> Iterator[Address]:
        if self.binary is None:
            raise PeerFailed(str(self.missing()))
        raise_open_files()
        work.mkdir(parents=True)
        process, port = self._started(work)
        try:
            yield Address(LOOPBACK, port, process.pid)
        finally:
            _stop(process)

    def _started(self, work: Path) -> tuple[Process, int]:
        log = work / f"{self.name}.log"
        for _ in range(_PORTS_TRIED):
            port = free_port()
            with log.open("ab") as said:
                process = subprocess.Popen(
                    [*_tied(), str(self.binary), *self.arguments(work, port)],
                    cwd=work,
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                )
            try:
                if self._answers(process, port):
                    return process, port
            except BaseException:
                _stop(process)
                raise
        said_last = log.read_bytes()[-_LOG_BYTES:].decode(errors="replace")
        raise PeerFailed(f"{self.program} does not start: {said_last}")

    def _answers(self, process: Process, port: int) -> bool:
        """False when it has ended instead."""
        deadline = monotonic() + START_S
        while process.poll() is None:
            if self._answered(port):
                return True
            if monotonic() > deadline:
                raise PeerFailed(f"{self.program} does not answer within {START_S:.0f} s")
            sleep(_PAUSE_S)
        return False

    def _answered(self, port: int) -> bool:
        try:
            with socket.create_connection((LOOPBACK, port), timeout=_PROBE_S) as asking:
                asking.sendall(self.hello)
                received = b""
                while chunk := asking.recv(4096):
                    received += chunk
                    if self.answer in received:
                        return True
        except OSError:
            pass
        return False


def _tied() -> list[str]:
    """To our life: a load generator that is killed ends no blocks. As util-linux does it, which
    Debian always has; without it, that is all that is missing."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []


def free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as listening:
        return int(listening.getsockname()[1])


def _stop(process: Process) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except BaseException as error:
        process.kill()
        process.wait()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
