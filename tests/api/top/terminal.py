"""A terminal without a window: a command on a pseudo-terminal, and what its screen shows."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyte

from tests.api.command_line import WITHIN_S, command, environment

# The shell begins a session, and the first terminal that such a process opens is the session's.
ON_TERMINAL = 'exec "$@" < "$TERMINAL" > "$TERMINAL" 2>&1'
READ_BYTES = 65_536


class Terminal:
    """`raw`: all that was written to it."""

    def __init__(self, columns: int, lines: int) -> None:
        self.raw = b""
        self._master, self._slave = pty.openpty()
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self.resize(columns, lines)
        self._before = termios.tcgetattr(self._slave)
        self.process: subprocess.Popen[bytes]

    def start(self, *arguments: str | Path, **variables: str) -> None:
        self.process = subprocess.Popen(
            ["sh", "-c", ON_TERMINAL, "sh", *command(*arguments)],
            env=environment(
                TERM="xterm-256color",
                TERMINAL=os.ttyname(self._slave),
                **{"NO_COLOR": "", "COLUMNS": "", "LINES": "", **variables},
            ),
            start_new_session=True,
        )

    def resize(self, columns: int, lines: int) -> None:
        """The kernel tells the process."""
        size = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)
        self._screen.resize(lines, columns)

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self._screen.display]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def row(self, first: str) -> list[str]:
        """The words of the first line that begins with one; none if there is no such line."""
        found = (line.split() for line in self.lines if line.startswith(first))
        return next(found, [])

    def until(self, holds: Callable[[], Any], meanwhile: Callable[[], Any] = lambda: None) -> None:
        """Read until something holds of what is shown."""
        deadline = time.monotonic() + WITHIN_S
        while not holds():
            assert time.monotonic() < deadline, self.text
            assert self.process.poll() is None, self.text
            meanwhile()
            self._read(0.1)

    def ended(self) -> int:
        """The status that it ends with."""
        deadline = time.monotonic() + WITHIN_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.text
            self._read(0.1)
        self._read(0)
        return self.process.returncode

    def is_as_before(self) -> bool:
        """The terminal echoes again, has its old screen and a cursor."""
        modes_after = self.raw[self.raw.rindex(b"\x1b[?1049") :]
        return (
            termios.tcgetattr(self._slave) == self._before
            and modes_after.startswith(b"\x1b[?1049l")
            and self.raw.rindex(b"\x1b[?25h") > self.raw.rindex(b"\x1b[?25l")
        )

    def _read(self, within_s: float) -> None:
        while select.select([self._master], [], [], within_s)[0]:
            received = os.read(self._master, READ_BYTES)
            self.raw += received
            self._stream.feed(received)
            within_s = 0

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)
        os.close(self._slave)


@contextmanager
def on_terminal(
    *arguments: str | Path, columns: int = 80, lines: int = 24, **variables: str
) -> Iterator[Terminal]:
    """A command line on a terminal of its own."""
    terminal = Terminal(columns, lines)
    terminal.start(*arguments, **variables)
    try:
        yield terminal
    finally:
        terminal.close()
