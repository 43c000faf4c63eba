"""`tidelog serve` for benchmarks of connections: with its limits out of the way, with TLS, and one
that can be killed and started again on the same data and port."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.server_process import KEY, ServerFailed

_ROOT = Path(__file__).parent.parent
_COMMAND = [sys.executable, "-m", "api.cli", "serve"]
_LISTENING = re.compile(r"listening on https?://[^:\s]+:(\d+)")
_UNLIMITED = 50_000
_LIMITS = (
    "server.connections_max",
    "server.connections_per_address_max",
    "server.unauthenticated_connections_max",
)


class Server:
    """`port` is chosen by the system at the first start, and kept. settings: as --set has them."""

    def __init__(self, directory: Path, *, tls: bool = False, settings: Sequence[str] = ()) -> None:
        directory.mkdir(parents=True)
        self.tls = tls
        self._settings = [*settings, *(f"{limit}={_UNLIMITED}" for limit in _LIMITS)]
        self.port = 0
        self._directory = directory
        self._process: subprocess.Popen[str] | None = None

    @property
    def data(self) -> Path:
        return self._directory / "data"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Returns once it listens. Raises ServerFailed."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*_COMMAND, *self._options()],
                cwd=_ROOT,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if match := _LISTENING.search(line):
                self.port = int(match[1])
                return
        raise ServerFailed(self._log.read_text())

    def set_namespace(self, name: str, *rules: str) -> None:
        """As an operator does, while it runs."""
        command = [sys.executable, "-m", "api.cli", "namespaces", "set", name, *rules]
        data = ["--app", KEY.partition(".")[0], "--data", str(self.data)]
        subprocess.run([*command, *data], cwd=_ROOT, check=True, capture_output=True)

    def kill(self) -> None:
        """SIGKILL: nothing is finished, nothing is said."""
        assert self._process is not None
        self._process.kill()
        self._process.communicate()

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                self.kill()

    @property
    def _log(self) -> Path:
        return self._directory / "server.log"

    def _options(self) -> list[str]:
        options = ["--port", str(self.port), "--key", KEY]
        options += ["--data", str(self.data)]
        for one in self._settings:
            options += ["--set", one]
        return [*options, "--tls-dev"] if self.tls else options


@contextmanager
def serving(
    directory: Path, *, tls: bool = False, settings: Sequence[str] = ()
) -> Iterator[Server]:
    server = Server(directory, tls=tls, settings=settings)
    try:
        server.start()
        yield server
    finally:
        server.stop()
