"""`tidelog serve` as its user starts it: a process of its own, on a free port of the loopback."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KEY = "bench1.key1:not-a-secret"
_ROOT = Path(__file__).parent.parent
_LISTENING = re.compile(r"listening on http://127\.0\.0\.1:(\d+)")


class ServerFailed(Exception):
    """The server ended before it listened; with what it logged."""


@contextmanager
def tidelog_server(directory: Path) -> Iterator[int]:
    """Yields the port."""
    directory.mkdir(parents=True)
    command = [sys.executable, "-m", "api.cli", "serve", "--port", "0", "--key", KEY]
    with (directory / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--data", str(directory / "data")],
            cwd=_ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        port = _port(process)
        if port is None:
            raise ServerFailed((directory / "server.log").read_text())
        yield port
    finally:
        process.terminate()
        process.communicate()


def _port(process: "subprocess.Popen[str]") -> int | None:
    """None when the server ends instead of listening."""
    assert process.stdout is not None
    for line in process.stdout:
        if match := _LISTENING.search(line):
            return int(match[1])
    return None
