"""A disk that loses its power: from the system calls of a run to every state it may be left in.

Fault model. Writes go to the page cache, sector (512 bytes) by sector, and the disk may hold of
each sector any version that the cache ever held since the last completed sync that covered it:
dropped, whole, torn inside a write, later ones without earlier ones. A sync covers the writes that
had returned when it began, and counts once it returned; a write through O_DSYNC covers its own
sectors. A file may have grown to its new size without its contents; what was never written then
reads as zeros or as anything. A name (create, rename) may be lost until its directory was synced.
A call in progress counts as done and as not done. LMDB's reader slots are a shared map that nobody
syncs: anything may be left in their file, or no file. What this disk does not do is lose or change
what was synced: that is tests/crash/test_bit_flips.py.

`Recording` orders the events of a trace; `Recording.play` walks them once, through the crash points
that it is given, and hands out the disk at each. `Disk.image` writes one possible state.
"""

import random
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests.crash.tracing import SYNCS, WRITES, Call, lines_written

SECTOR_BYTES = 512
PAGE_BYTES = 4096
BEGUN, ENDED = 0, 1
KEPT = ("data.mdb", "head", "creating/data.mdb")
LOCK_SIZES = (0, 100, 8_192, 40_000)

Choice = Callable[[Call, int], bool]
"""(write, sector) -> did it reach the disk?"""


class Version(NamedTuple):
    """What the cache held in a sector once `write` had changed it."""

    write: Call
    data: bytes


@dataclass(slots=True)
class File:
    """`durable`: what is on the disk for certain; `cached`: what a reader sees; `pending`: per
    sector the versions in between, oldest first."""

    durable: bytearray = field(default_factory=bytearray)
    cached: bytearray = field(default_factory=bytearray)
    pending: dict[int, list[Version]] = field(default_factory=dict)

    def write(self, call: Call) -> None:
        end = call.offset + len(call.data)
        self.cached.extend(bytes(max(0, end - len(self.cached))))
        self.cached[call.offset : end] = call.data
        for sector in range(call.offset // SECTOR_BYTES, -(-end // SECTOR_BYTES)):
            at = sector * SECTOR_BYTES
            data = bytes(self.cached[at : at + SECTOR_BYTES])
            self.pending.setdefault(sector, []).append(Version(call, data))

    def settle(self, covers: Callable[[Call], bool]) -> None:
        """A sync returned: of each sector the last version that it covers is there to stay."""
        for sector, versions in list(self.pending.items()):
            covered = [n for n, version in enumerate(versions) if covers(version.write)]
            if covered:
                put(self.durable, sector, versions[covered[-1]].data)
                del versions[: covered[-1] + 1]
            if not versions:
                del self.pending[sector]

    def contents(self, rng: random.Random) -> bytearray:
        """One of the states in which a power loss may leave this file."""
        found = bytearray(self.durable)
        grown = max(0, len(self.cached) - len(found))
        if grown and rng.random() < 0.5:
            found.extend(bytes(grown) if rng.random() < 0.7 else rng.randbytes(grown))
        reached = choose(rng, self.writes())
        for sector, versions in self.pending.items():
            kept = [version for version in versions if reached(version.write, sector)]
            if kept:
                put(found, sector, kept[-1].data)
        return found

    def writes(self) -> list[Call]:
        """The pending ones, in order."""
        calls = {v.write.begun: v.write for versions in self.pending.values() for v in versions}
        return [calls[begun] for begun in sorted(calls)]


def put(content: bytearray, sector: int, data: bytes) -> None:
    at = sector * SECTOR_BYTES
    content.extend(bytes(max(0, at - len(content))))
    content[at : at + len(data)] = data


def choose(rng: random.Random, writes: list[Call]) -> Choice:
    """A way for a disk to be half way through: each is likely to hit something else."""
    style = rng.choice(("nothing", "everything", "writes", "pages", "sectors", "prefix"))
    if style in ("nothing", "everything"):
        return lambda _call, _sector: style == "everything"
    if style == "prefix":
        return up_to(rng, writes)
    odds = rng.choice((0.1, 0.5, 0.9, 0.98))
    sectors = {"writes": 1 << 40, "pages": PAGE_BYTES // SECTOR_BYTES, "sectors": 1}[style]
    made: dict[tuple[int, int], bool] = {}

    def reached(call: Call, sector: int) -> bool:
        key = (call.begun, sector // sectors)
        if key not in made:
            made[key] = rng.random() < odds
        return made[key]

    return reached


def up_to(rng: random.Random, writes: list[Call]) -> Choice:
    """In order, as far as it came, the last one torn."""
    if not writes:
        return lambda _call, _sector: False
    last = rng.choice(writes)
    first = last.offset // SECTOR_BYTES
    edge = rng.randint(first, first + len(last.data) // SECTOR_BYTES + 1)
    return lambda call, sector: call.begun < last.begun or (call is last and sector < edge)


class Naming(NamedTuple):
    """A name that a directory was given, and the one that it lost by that."""

    call: Call
    name: str
    file: File
    old: str = ""


class Disk:
    """The files under `root`, which may be renamed and must not be removed."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._files: dict[str, File] = {}
        self._durable: dict[str, File] = {}
        self._pending: list[Naming] = []

    def apply(self, when: int, call: Call) -> None:
        """One end of one system call."""
        if when == BEGUN:
            self._begin(call)
        elif call.name in SYNCS:
            self._sync(call)
        elif call.name in WRITES and "O_DSYNC" in call.flags and call.path in self._files:
            self._files[call.path].settle(lambda write: write is call)

    def _begin(self, call: Call) -> None:
        if call.name in WRITES and call.path in self._files:
            self._files[call.path].write(call)
        elif call.name == "openat" and "O_CREAT" in call.flags and call.path not in self._files:
            if call.path.startswith(self._root):
                self._name(Naming(call, call.path, File()))
        elif call.name == "rename" and call.path.startswith(self._root):
            self._name(Naming(call, call.path, *self._moved(call)))

    def _moved(self, call: Call) -> tuple[File, str]:
        old = f"{self._root}/creating/{Path(call.path).name}"
        return self._files.pop(old), old

    def _name(self, naming: Naming) -> None:
        self._files[naming.name] = naming.file
        self._pending.append(naming)

    def _sync(self, call: Call) -> None:
        if call.path in self._files:
            self._files[call.path].settle(lambda write: write.ended < call.begun)
        for naming in list(self._pending):
            if str(Path(naming.name).parent) == call.path and naming.call.ended < call.begun:
                self._pending.remove(naming)
                rename(self._durable, naming)

    def cached(self, name: str) -> bytes:
        """What a process would read now."""
        return bytes(self._files[f"{self._root}/{name}"].cached)

    def image(self, rng: random.Random, target: Path) -> None:
        """Write a data directory as it may be found when the power is back."""
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        names = dict(self._durable)
        for naming in self._pending:
            if rng.random() < 0.7:
                rename(names, naming)
        for name in KEPT:
            file = names.get(f"{self._root}/{name}")
            if file is not None:
                (target / name).parent.mkdir(exist_ok=True)
                (target / name).write_bytes(file.contents(rng))
        if rng.random() < 0.5:
            (target / "lock.mdb").write_bytes(rng.randbytes(rng.choice(LOCK_SIZES)))


def rename(names: dict[str, File], naming: Naming) -> None:
    names.pop(naming.old, None)
    names[naming.name] = naming.file


class Event(NamedTuple):
    place: tuple[int, int]
    call: Call

    @property
    def writes_disk(self) -> bool:
        return self.call.name in SYNCS | {"rename"} or self.call.path.endswith(KEPT)

    def says(self, word: str) -> bool:
        """Is this where a line of the journal leaves the process?"""
        lines = lines_written([self.call]) if self.place[1] == BEGUN else ()
        return any(line.startswith(word) for _, line in lines)


class Recording:
    """The beginnings and ends of a run's system calls, in order."""

    def __init__(self, calls: list[Call]) -> None:
        lock = next(call.path for call in calls if call.path.endswith("/writer.lock"))
        self.root = str(Path(lock).parent)
        done = [call for call in calls if not call.failed]
        both = [Event(place, c) for c in done for place in ((c.begun, BEGUN), (c.ended, ENDED))]
        self.events = sorted(both, key=lambda event: event.place)

    def crash_points(self, rng: random.Random, count: int) -> list[int]:
        """How many events to go through before the power fails, ascending. Most points are beside
        an event of the disk: in and around the writes and syncs of a commit."""
        disk = [n for n, event in enumerate(self.events) if event.writes_disk]
        near = [rng.choice(disk) + rng.choice((0, 1)) for _ in range(count)]
        anywhere = [rng.randrange(len(self.events) + 1) for _ in range(count)]
        chosen = [a if rng.random() < 0.2 else n for a, n in zip(anywhere, near, strict=True)]
        return sorted(chosen)

    def play(self, points: Iterable[int]) -> Iterator[tuple[Disk, list[Call]]]:
        """For each point the disk, and the calls that have begun since the point before."""
        disk, at = Disk(self.root), 0
        for point in points:
            passed = self.events[at:point]
            for event in passed:
                disk.apply(event.place[1], event.call)
            at = point
            yield disk, [event.call for event in passed if event.place[1] == BEGUN]
