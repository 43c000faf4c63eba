"""A real `tidelog serve` process, and ably-python clients that reach it.

The server is started as an operator would start it and ends by SIGTERM. Invariant: it ends with
exit status 0, and nothing it logged was an error.
"""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from ably import AblyRest

from tests.api.command_line import environment

KEY = "conform.root:a-secret-of-forty-characters-0123456789"
READY = re.compile(r"listening on (https?)://localhost:(\d+)")
STOP_WITHIN_S = 30


class ServerProcess:
    """On one data directory and, from its first start on, one port."""

    def __init__(self, data: Path, *, tls: bool, options: tuple[str, ...] = ()) -> None:
        self.data = data
        self.tls = tls
        self.port = 0
        self._log = data.parent / f"{data.name}.log"
        self._options = ["--key", KEY, *(["--tls-dev"] if tls else []), *options]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def ca_file(self) -> Path:
        return self.data / "tls-dev" / "ca.pem"

    def start(self) -> None:
        command = [sys.executable, "-m", "api.cli", "serve", "--host", "localhost"]
        command += ["--port", str(self.port), "--data", str(self.data), *self._options]
        with self._log.open("ab") as errors:
            self._process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=self.data.parent,
                env=environment(),
            )
        self.port = self._announced_port()

    def kill(self) -> None:
        """As `kill -9` does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        status = self._end(signal.SIGTERM)
        assert status == 0, self._log.read_text()

    def operator(self, *arguments: str) -> str:
        """What that command of `tidelog` prints, asked of this server while it runs."""
        command = [sys.executable, "-m", "api.cli", *arguments, "--data", str(self.data)]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def check(self) -> None:
        assert self._errors() == []

    def _end(self, by: signal.Signals) -> int:
        assert self._process
        with self._process as process:
            self._process = None
            process.send_signal(by)
            return process.wait(STOP_WITHIN_S)

    def _announced_port(self) -> int:
        assert self._process
        assert self._process.stdout
        for line in self._process.stdout:
            if ready := READY.search(line.decode()):
                return int(ready[2])
        self._process.communicate()
        raise AssertionError(f"the server did not start: {self._log.read_text()}")

    def _errors(self) -> list[Any]:
        lines = self._log.read_text().splitlines()
        records = [json.loads(line) for line in lines if line.startswith("{")]
        return [record for record in records if record["level"] in ("error", "critical")]


@contextmanager
def serving(data: Path, *, tls: bool, options: tuple[str, ...] = ()) -> Iterator[ServerProcess]:
    server = ServerProcess(data, tls=tls, options=options)
    server.start()
    try:
        yield server
    finally:
        server.stop()
    server.check()


def token(
    *, key: str = KEY, lifetime_s: int = 3600, claims: Mapping[str, Any] | None = None
) -> str:
    """A JWT as an application's own server would issue it."""
    name, _, secret = key.partition(":")
    now_s = int(time.time())
    payload = {"iat": now_s, "exp": now_s + lifetime_s, **(claims or {})}
    return jwt.encode(payload, secret, "HS256", headers={"kid": name})


@dataclass(frozen=True)
class Sdk:
    """ably-python, set up for one server, one kind of credentials and one format."""

    server: ServerProcess
    binary: bool

    def client(self, **options: Any) -> AblyRest:
        """With the root key over TLS, with a JWT of it over plain HTTP; or as `options` say."""
        given: dict[str, Any] = {"use_binary_protocol": self.binary, "endpoint": "localhost"}
        if self.server.tls:
            given |= {"tls_port": self.server.port, "key": KEY}
        else:
            given |= {"port": self.server.port, "tls": False, "token": token()}
        return AblyRest(**{**given, **options})

    def client_of(self, key: str, **claims: Any) -> AblyRest:
        """With another key, or with a JWT of it; claims need a JWT."""
        if self.server.tls and not claims:
            return self.client(key=key)
        return self.client(key=None, token=token(key=key, claims=claims))
