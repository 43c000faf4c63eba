"""The real command in a process of its own: run to its end, or served until the test is over.

Invariant: a served process that ends by SIGTERM ends with status 0, unless the test ended it.
"""

import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from api.cli import run
from tests.storage.conftest import probe_here

ROOT = Path(__file__).parents[2]
READY = re.compile(r"listening on (https?)://(\S+):(\d+)")
LAST_LINE = re.compile(r"give it a JWT|/time$")
WITHIN_S = 60


def environment(**more: str) -> dict[str, str]:
    """Ours without anybody's TIDELOG_ variables."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("TIDELOG_")}
    return {**plain, "PYTHONPATH": str(ROOT), **more}


def command(*arguments: str | Path) -> list[str]:
    """Warnings are errors in our processes too."""
    return [sys.executable, "-W", "error", "-m", "api.cli", *map(str, arguments)]


@dataclass(frozen=True)
class Ended:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def json_lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


def tidelog(
    *arguments: str | Path, stdin: str = "", cwd: Path | None = None, **variables: str
) -> Ended:
    """Run one command line to its end."""
    ended = subprocess.run(
        command(*arguments),
        input=stdin,
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment(**variables),
        timeout=WITHIN_S,
        check=False,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def inside(
    *arguments: str | Path, stdin: str = "", cwd: Path | None = None, **variables: str
) -> Ended:
    """The same without a process of its own, nor one that checks the log at open: what differs is
    not under test, and it is faster."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="\n") for _ in range(2))
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with (
        mock.patch.dict(os.environ, environment(**variables), clear=True),
        mock.patch("sys.stdin", io.StringIO(stdin)),
        mock.patch("storage.opening.probe", probe_here),
        redirect_stdout(out),
        redirect_stderr(err),
        chdir(cwd or Path.cwd()),
    ):
        status = run(list(map(str, arguments)))
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)  # not by the attribute: loggers remember what is enabled
    texts = []
    for stream in (out, err):
        stream.seek(0)
        texts.append(stream.read())
    return Ended(status, *texts)


def fine(*arguments: str | Path, how: Callable[..., Ended] = tidelog, **more: Any) -> Ended:
    """Run a command that must succeed without a word of complaint."""
    ended = how(*arguments, **more)
    assert (ended.status, ended.err) == (0, ""), ended
    return ended


class Serving:
    """A `tidelog serve` process that said it is ready."""

    def __init__(self, process: "subprocess.Popen[str]", data: Path, log: Path) -> None:
        self.process = process
        self.data = data
        self._log = log
        self.welcome = self._until_ready()
        found = READY.search(self.welcome)
        assert found, self.welcome
        self.scheme, self.host, self.port = found[1], found[2], int(found[3])

    @property
    def log(self) -> list[Any]:
        """What it has logged so far."""
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(WITHIN_S)

    def _until_ready(self) -> str:
        assert self.process.stdout is not None
        text = ""
        for line in self.process.stdout:
            text += line
            if LAST_LINE.search(line):
                return text
        raise AssertionError(f"it ended: {text}{self._log.read_text()}")


@contextmanager
def serving(data: Path, *arguments: str | Path, **variables: str) -> Iterator[Serving]:
    log = data.parent / f"{data.name}.log"
    line = command("serve", "--port", "0", "--data", data, *arguments)
    env = environment(**variables)
    with (
        log.open("w") as errors,
        subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=errors, text=True, env=env
        ) as process,
    ):
        try:
            served = Serving(process, data, log)
            yield served
            if process.poll() is None:
                assert served.stop() == 0, log.read_text()
        finally:
            process.kill()
