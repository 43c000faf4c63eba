"""Documents whose blocks of commands are run, in their order, as one session in an empty directory.

    ```sh                a script; it must succeed. What it assigns is there for the next
    ```text              behind a script: all that it prints. `…` stands for the rest of a line, and
                         on a line of its own for any lines
    ```python, ```js, …  a file, if its first line is a comment with nothing but its name
    <!-- not run: why -->   before a block

A script that ends with `tidelog serve` starts a server, which is ready when the next block runs,
and stops before the next such script. The ports of a document, 8080, which is the default, and
8443, are others when it is run, free ones. `tidelog` and `python` are ours; installing is left out,
for the tests run in what was installed. Scripts with `node` need the SDKs of
tests/conformance/node; once one is left out, what later ones print is not compared.
"""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import SystemRandom
from typing import NamedTuple, Self

from tests.api.command_line import Serving, environment
from tests.documents import ROOT

STUCK_S = 120
TOOLS = ("bash", "curl", "awk")
NODE_MODULES = ROOT / "tests" / "conformance" / "node" / "node_modules"
PORTS = re.compile(r"\b(8080|8443)\b")
OUR_PORTS = range(10_000, 32_000)
"""Below those that a system gives to whoever asks for any."""
_BLOCK = re.compile(
    r"(?:<!-- (?P<note>[^>]*) -->\n\n?)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_FILE = re.compile(r"(?:#|//) ([\w.-]+\.\w+)\n")
_SERVE = re.compile(r"^(?:\S*/)?(tidelog serve\b.*)\Z", re.MULTILINE)
_INSTALL = re.compile(
    r"^python3 -m venv \S+ && \S+/pip install -q \S+(?: && |\n|\Z)|^npm install .*(?:\n|\Z)",
    re.MULTILINE,
)
_NOT_RUN = re.compile(r"not run: \w")


class Block(NamedTuple):
    kind: str
    text: str
    note: str

    @property
    def is_run(self) -> bool:
        return _NOT_RUN.match(self.note) is None

    @property
    def file(self) -> str | None:
        found = _FILE.match(self.text)
        return found[1] if found else None


class Step(NamedTuple):
    script: Block
    printed: str | None
    """All that it is to print."""
    files: tuple[Block, ...]
    """Those that are written before it."""


def blocks(document: str) -> list[Block]:
    text = (ROOT / document).read_text()
    return [Block(one["kind"], one["text"], one["note"] or "") for one in _BLOCK.finditer(text)]


def steps(document: str) -> Iterator[Step]:
    files: list[Block] = []
    found = [one for one in blocks(document) if one.is_run]
    for block, behind in zip(found, [*found[1:], None], strict=True):
        if block.kind == "sh":
            printed = behind.text if behind is not None and behind.kind == "text" else None
            yield Step(block, printed, tuple(files))
            files = []
        elif block.file is not None:
            files.append(block)


class Session:
    """`left_out`: scripts that this machine cannot run."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "session"
        self.left_out: list[str] = []
        self._variables = directory / "variables"
        self._bin = directory / "bin"
        self._log = directory / "log"
        self._server: subprocess.Popen[str] | None = None
        self._ports: defaultdict[str, str] = defaultdict(_free_port)
        self.directory.mkdir()
        self._bin.mkdir()
        self._variables.touch()
        if NODE_MODULES.is_dir():
            (self.directory / "node_modules").symlink_to(NODE_MODULES)
        self._command("tidelog", f'exec "{sys.executable}" -W error -m api.cli "$@"')
        for name in ("python", "python3"):
            self._command(name, f'exec "{sys.executable}" "$@"')

    def take(self, step: Step) -> None:
        for file in step.files:
            assert file.file is not None
            (self.directory / file.file).write_text(self._here(file.text))
        script = _INSTALL.sub("", step.script.text).rstrip()
        if re.search(r"^node ", script, re.MULTILINE) and not NODE_MODULES.is_dir():
            self.left_out.append(script)
        elif serve := _SERVE.search(script):
            printed = self._serve(self._here(script[: serve.start()] + serve[1]))
            self._compare(step, printed)
        elif script:
            self._compare(step, self._run(self._here(script)))

    def stop(self) -> None:
        if self._server is not None:
            with self._server as server:
                self._server = None
                server.terminate()
                assert server.wait(STUCK_S) == 0, self._log.read_text()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            with self._server as server:
                server.kill()

    def _serve(self, script: str) -> str:
        self.stop()
        script = script.replace("tidelog serve", "exec tidelog serve")
        with self._log.open("a") as errors:
            self._server = self._started(script, stdout=subprocess.PIPE, stderr=errors)
        return Serving(self._server, self.directory, self._log).welcome

    def _run(self, script: str) -> str:
        done = self._started(script, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            printed, _ = done.communicate(timeout=STUCK_S)
            assert done.returncode == 0, f"{script}\n{printed}"
        except BaseException:
            with suppress(ProcessLookupError):  # what it left in the background
                os.killpg(done.pid, signal.SIGKILL)
            raise
        return printed

    def _started(self, script: str, **streams: object) -> "subprocess.Popen[str]":
        kept = shlex.quote(str(self._variables))
        before = f"set -euo pipefail; set -a; . {kept}"
        return subprocess.Popen(
            ["bash", "-c", f"{before}\n{script}\nexport -p > {kept}"],
            cwd=self.directory,
            env=environment(
                PYTEST_DISABLE_PLUGIN_AUTOLOAD="1",  # those that happen to be installed here
                PATH=f"{self._bin}:{os.environ['PATH']}",
                TIDELOG_SERVER_PORT=self._ports["8080"],
            ),
            text=True,
            start_new_session=True,
            **streams,
        )

    def _compare(self, step: Step, printed: str) -> None:
        if step.printed is not None and not self.left_out:
            expected = self._here(step.printed)
            assert pattern(expected).fullmatch(printed), f"{step.script.text}\n{printed}"

    def _here(self, text: str) -> str:
        """The text with the ports that we have."""
        return PORTS.sub(lambda found: self._ports[found[1]], text)

    def _command(self, name: str, script: str) -> None:
        file = self._bin / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)


def _free_port() -> str:
    while True:
        port = SystemRandom().choice(OUR_PORTS)  # no two sessions begin alike
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return str(port)


def pattern(text: str) -> re.Pattern[str]:
    """`text`, in which `…` is what varies."""
    lines = [
        r"(?:.*\n)*?" if line == "…" else re.escape(line).replace("…", ".*") + r"\n"
        for line in text.splitlines()
    ]
    return re.compile("".join(lines))
