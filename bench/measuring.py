"""Taking turns, and what a turn came to.

Latencies are kept whole and sorted at the end: a run has at most a few million of them, a sorted
list of floats is exact and needs no histogram library.

Bytes written are bytes handed to write calls (`wchar` of /proc/<pid>/io). `write_bytes`, the
kernel's count of what goes to the device, is useless here: ext4 dirties and counts whole large
folios, so one 4 KiB page of a commit may count as megabytes, the same page again as nothing.
"""

import math
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Protocol

from bench.scale import Scale

WARM_UP = 0.25  # of a turn, before the turns that count


@dataclass(slots=True)
class Sample:
    """One contender's turns together. `turns`: messages per second of each."""

    messages: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    written_bytes: int = 0
    commits: int = 0
    latencies: list[float] = field(default_factory=list)
    turns: list[float] = field(default_factory=list)

    def add(self, turn: "Sample") -> None:
        self.messages += turn.messages
        self.seconds += turn.seconds
        self.cpu_seconds += turn.cpu_seconds
        self.written_bytes += turn.written_bytes
        self.commits += turn.commits
        self.latencies += turn.latencies
        self.turns.append(turn.per_second)

    @property
    def per_second(self) -> float:
        return self.messages / self.seconds if self.seconds else 0.0

    @property
    def cpu_us(self) -> float:
        """Processor time per message, of this process."""
        return self.cpu_seconds / self.messages * 1e6 if self.messages else 0.0

    @property
    def bytes_per_message(self) -> float:
        return self.written_bytes / self.messages if self.messages else 0.0

    @property
    def per_commit(self) -> float | None:
        return self.messages / self.commits if self.commits else None

    def latency_ms(self, fraction: float) -> float:
        return percentile(self.latencies, fraction) * 1e3


class Contender(Protocol):
    """Something that publishes. After the time of a turn is up, and off the clock, the turn looks
    for every message that it acknowledged, and raises acknowledged.Wrong."""

    name: str

    async def turn(self, publishers: int, seconds: float) -> Sample: ...


async def in_turn(
    contenders: Sequence[Contender], publishers: int, scale: Scale
) -> dict[str, Sample]:
    """Measure contenders A B A B …, after a short turn each that does not count."""
    for contender in contenders:
        await contender.turn(publishers, scale.turn_s * WARM_UP)
    samples = {contender.name: Sample() for contender in contenders}
    for _ in range(scale.rounds):
        for contender in contenders:
            samples[contender.name].add(await contender.turn(publishers, scale.turn_s))
    return samples


def percentile(values: Sequence[float], fraction: float) -> float:
    """The smallest value that `fraction` of all values do not exceed; 0 without values."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[max(0, math.ceil(fraction * len(ordered)) - 1)]


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """The median of the turns' ratios: turns of one round are seconds apart, rounds may be minutes
    apart on a machine that has other work."""
    pairs = [a / b for a, b in zip(ours, theirs, strict=True) if b]
    return statistics.median(pairs) if pairs else None


def handed_to_write(pid: int | str = "self") -> int:
    """Bytes that a process has handed to write calls so far."""
    for line in Path(f"/proc/{pid}/io").read_text().splitlines():
        if line.startswith("wchar:"):
            return int(line.split()[1])
    raise AssertionError("no wchar in /proc/<pid>/io")


@contextmanager
def switch_interval(seconds: float) -> Iterator[None]:
    """The interpreter's thread switch interval, put back afterwards."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(seconds)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@contextmanager
def busy_thread() -> Iterator[None]:
    """A thread that never lets go of the interpreter by itself."""
    stop = False

    def spin() -> None:
        while not stop:
            pass

    thread = Thread(target=spin, name="bench-busy", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop = True
        thread.join()
