"""Progress of long work, on standard error, and only if that is a terminal."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Any, Self, TypeVar

import click

LABEL_CHARS = 12
LOOK_EVERY_S = 0.2
STEPS = 1_000  # a bar moves in thousandths: redrawing it costs more than most of the work

T = TypeVar("T")


def _bar(label: str, length: int = STEPS) -> Any:
    return click.progressbar(
        length=length,
        label=label.ljust(LABEL_CHARS),
        file=sys.stderr,
        hidden=not sys.stderr.isatty(),
    )


class Phases:
    """A bar per phase, for work that reports (what, done, of how many)."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._what: str | None = None
        self._bar: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def report(self, what: str, done: int, total: int) -> None:
        if what != self._what:
            self._open.close()
            self._what = what
            self._bar = self._open.enter_context(_bar(what))
        place = STEPS if total <= 0 else min(STEPS, done * STEPS // total)
        if place > self._bar.pos:
            self._bar.update(place - self._bar.pos)


def counted(items: Iterable[tuple[T, int]], label: str) -> Iterator[T]:
    """The items of (item, how many there are), with a bar."""
    with Phases() as phases:
        for number, (item, total) in enumerate(items, start=1):
            phases.report(label, number, total)
            yield item


@contextmanager
def growing(label: str, directory: Path, *, by_bytes: int) -> Iterator[None]:
    """A bar for work that does not report, but makes a directory grow by about so much."""
    before = size_bytes(directory)

    def paint(over: Event) -> None:
        with Phases() as phases:
            while not over.wait(LOOK_EVERY_S):
                phases.report(label, size_bytes(directory) - before, by_bytes)
            phases.report(label, 1, 1)

    with _meanwhile(paint):
        yield


def size_bytes(directory: Path) -> int:
    """What the files below a directory hold; files may come and go meanwhile."""
    total = 0
    for parent, _, names in os.walk(directory):
        for name in names:
            with suppress(FileNotFoundError):
                total += (Path(parent) / name).stat().st_size
    return total


@contextmanager
def elapsing(label: str) -> Iterator[None]:
    """The time that passes, for work that nothing can be seen of."""

    def paint(over: Event) -> None:
        started = time.monotonic()
        while not over.wait(LOOK_EVERY_S):
            click.echo(f"\r{label} {time.monotonic() - started:.0f} s", nl=False, err=True)
        click.echo(f"\r{label} {time.monotonic() - started:.1f} s", err=True)

    with _meanwhile(paint):
        yield


@contextmanager
def _meanwhile(paint: Callable[[Event], None]) -> Iterator[None]:
    """Have a thread paint until the work within is over; nothing without a terminal."""
    over = Event()
    painter = Thread(target=paint, args=(over,), daemon=True)
    if sys.stderr.isatty():
        painter.start()
    try:
        yield
    finally:
        over.set()
        if painter.ident is not None:
            painter.join()
