"""A real `tidelog serve` process, and ably-python clients that reach it.

The server is started as an operator would start it and ends by SIGTERM. Invariant: it ends with
exit status 0, and nothing it logged was an error.
"""

import json
import os
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

ROOT = Path(__file__).parents[2]
KEY = "conform.root:a-secret-of-forty-characters-0123456789"
READY = re.compile(r"listening on (https?)://localhost:(\d+)")
STOP_WITHIN_S = 30


@dataclass(frozen=True)
class ServerProcess:
    port: int
    tls: bool
    data: Path

    @property
    def ca_file(self) -> Path:
        return self.data / "tls-dev" / "ca.pem"


@contextmanager
def serving(data: Path, *, tls: bool) -> Iterator[ServerProcess]:
    log = data.parent / f"{data.name}.log"
    command = [sys.executable, "-m", "api.cli", "serve", "--host", "localhost", "--port", "0"]
    command += ["--data", str(data), "--key", KEY, *(["--tls-dev"] if tls else [])]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, cwd=data.parent, env=environment
        ) as process,
    ):
        try:
            yield ServerProcess(_port(process, log), tls, data)
        finally:
            process.send_signal(signal.SIGTERM)
            status = process.wait(STOP_WITHIN_S)
    assert status == 0, log.read_text()
    assert _errors(log) == []


def _port(process: "subprocess.Popen[bytes]", log: Path) -> int:
    assert process.stdout
    for line in process.stdout:
        if ready := READY.search(line.decode()):
            return int(ready[2])
    raise AssertionError(f"the server did not start: {log.read_text()}")


def _errors(log: Path) -> list[Any]:
    records = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [record for record in records if record["level"] in ("error", "critical")]


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
