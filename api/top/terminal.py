"""The terminal that we are on: its keys one by one, and its screen while the dashboard is shown.

Whatever happens, the terminal is left as it was found. A key that is pressed is not echoed; one
that sends a sequence (an arrow) is passed over. Ctrl-C still interrupts; Ctrl-Z does nothing, for
the shell would get a terminal in the middle of a picture.
"""

import codecs
import os
import re
import sys
import termios
import tty
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import trio
from rich.console import Console, RenderableType
from rich.live import Live

from api.top.picture import Size

READ_BYTES = 1024
_SEQUENCE = re.compile(r"\x1b[\[O][0-?]*[ -/]*[@-~]?")
_DISABLED = b"\0"


class Screen:
    """Made by `screen`."""

    def __init__(self, console: Console, live: Live) -> None:
        self._console = console
        self._live = live

    @property
    def size(self) -> Size:
        columns, lines = self._console.size
        return Size(columns, lines)

    def show(self, shown: RenderableType) -> None:
        self._live.update(shown, refresh=True)


@contextmanager
def screen() -> Iterator[Screen]:
    """The whole screen, until the context ends; what was there comes back."""
    console = Console(highlight=False)
    live = Live(
        console=console,
        screen=True,
        auto_refresh=False,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with _unechoed(sys.stdin.fileno()), live:
        yield Screen(console, live)


@contextmanager
def _unechoed(descriptor: int) -> Iterator[None]:
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor, termios.TCSADRAIN)
        changed = termios.tcgetattr(descriptor)
        changed[tty.CC][termios.VSUSP] = _DISABLED
        termios.tcsetattr(descriptor, termios.TCSADRAIN, changed)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSAFLUSH, before)


async def keys() -> AsyncIterator[str]:
    """What is pressed, until the terminal is gone."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="ignore")
    descriptor = sys.stdin.fileno()
    while True:
        await trio.lowlevel.wait_readable(descriptor)
        try:
            received = os.read(descriptor, READ_BYTES)
        except OSError:
            return
        if not received:
            return
        for key in _SEQUENCE.sub("", decoder.decode(received)):
            yield key
