"""A disk that loses power: every state it may be found in, from the writes of a recorded run.

Fault model, after the page cache and the block device: a write reaches the disk at any time after
it was made, in any order with others, in units of 512-byte sectors, until a completed fdatasync (or
the return of an O_DSYNC write) says that it has. So a crash image holds all writes before the last
completed sync, and of each sector written since then any one of its later versions, or none. A
file that grew may be found at its old size, its new one, or between; what was not written there
reads as zeros. A name is on disk for sure only when its directory was synced.

The side file `head` is never synced, so all its versions are possible until the end.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash.tracing import SYNCS, WRITES, Call, lines_written

SECTOR = 512
PAGE = 4096
DATA, HEAD = "data.mdb", "head"


@dataclass(slots=True)
class Write:
    """Bytes for one place of one file. `durable`: the event by which it was surely on disk."""

    file: str
    offset: int
    data: bytes
    begun: int
    ended: int
    durable: float = float("inf")


@dataclass
class Recording:
    """A run, as the disk and the journal saw it. Times are line numbers of the trace."""

    writes: list[Write]
    sent: list[tuple[int, str]]
    acked: list[tuple[int, str, int]]
    named: dict[str, tuple[int, float]] = field(default_factory=dict)
    """file -> (when its name may be on disk, when it surely is)"""
    end: int = 0


@dataclass
class Image:
    """What is found after the power came back, and what must and may be in it."""

    files: dict[str, bytes]
    acked: dict[str, int]
    sent: set[str]
    story: str

    def write(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        for old in directory.iterdir():
            old.unlink()
        for name, content in self.files.items():
            (directory / name).write_bytes(content)


def record(calls: Sequence[Call], directory: Path) -> Recording:
    """Sort a trace into writes, syncs, names and journal lines."""
    home, fresh = str(directory), str(directory / "creating")
    lines = [(call.begun, line.split()) for call, line in lines_written(list(calls))]
    recording = Recording(
        [],
        [(at, words[1]) for at, words in lines if words[0] == "S"],
        [(at, words[1], int(words[2])) for at, words in lines if words[0] == "A"],
        end=calls[-1].ended + 1,
    )
    for call in calls:
        if call.path.startswith(home) and not call.failed:
            _take(recording, call, home, fresh)
    return recording


def _take(recording: Recording, call: Call, home: str, fresh: str) -> None:
    folder, _, name = call.path.rpartition("/")
    if call.name == "rename" or (folder == home and "O_CREAT" in call.flags):
        recording.named.setdefault(name, (call.begun, float("inf")))
    if call.name == "fsync" and call.path == home:
        for known, (begun, surely) in recording.named.items():
            recording.named[known] = (begun, min(surely, call.ended))
    if folder not in (home, fresh) or name not in (DATA, HEAD):
        return
    if call.name in WRITES:
        surely = call.ended if "O_DSYNC" in call.flags else float("inf")
        written = call.data[: call.result]
        recording.writes.append(Write(name, call.offset, written, call.begun, call.ended, surely))
    if call.name in SYNCS:
        _sync(recording.writes, name, call)


def _sync(writes: list[Write], name: str, sync: Call) -> None:
    for write in writes:
        if write.file == name and write.ended < sync.begun:
            write.durable = min(write.durable, sync.ended)


def images(recording: Recording, chance: random.Random) -> Iterator[Image]:
    """Endless crash images: a moment, and then one of the states the disk may be in."""
    moments = [w.begun for w in recording.writes] + [at for at, *_ in recording.acked]
    while True:
        yield crash(recording, chance.choice(moments) + chance.choice((0, 1)), chance)


def crash(recording: Recording, moment: int, chance: random.Random) -> Image:
    """One legal state of the disk if the power goes just before line `moment` of the trace."""
    keep = chance.choice((_none, _all, _pages, _sectors, _sectors, _few, _prefix))
    files = {}
    for name in (DATA, HEAD):
        begun, surely = recording.named.get(name, (recording.end, 0))
        if begun < moment and (surely < moment or chance.random() < 0.5):
            mine = [w for w in recording.writes if w.file == name and w.begun < moment]
            files[name] = _content(mine, moment, keep, chance)
    return Image(
        files,
        {id_: serial for at, id_, serial in recording.acked if at < moment},
        {id_ for at, id_ in recording.sent if at < moment},
        f"power loss at line {moment}, keeping {keep.__name__.strip('_')} of what was not synced",
    )


def _content(writes: list[Write], moment: int, keep: "Keep", chance: random.Random) -> bytes:
    """Durable writes first, then what of the others made it, in an order of the disk's choosing."""
    durable = [write for write in writes if write.durable < moment]
    pending = [write for write in writes if write.durable >= moment]
    size = max((write.offset + len(write.data) for write in durable), default=0)
    ends = [write.offset + len(write.data) for write in pending]
    size = max(size, chance.choice([size, *ends, *ends]))
    content = bytearray(size)
    for offset, data in [(w.offset, w.data) for w in durable] + list(keep(pending, chance)):
        room = max(0, size - offset)
        content[offset : offset + min(len(data), room)] = data[:room]
    return bytes(content)


def _pieces(write: Write, unit: int) -> Iterator[tuple[int, bytes]]:
    """A write cut at the disk's unit boundaries."""
    at = 0
    while at < len(write.data):
        step = unit - (write.offset + at) % unit
        yield write.offset + at, write.data[at : at + step]
        at += step


Pieces = Iterator[tuple[int, bytes]]


def _none(pending: list[Write], chance: random.Random) -> Pieces:
    yield from ()


def _all(pending: list[Write], chance: random.Random) -> Pieces:
    for write in pending:
        yield write.offset, write.data


def _subset(pending: list[Write], chance: random.Random, unit: int, odds: float) -> Pieces:
    """Some units of what was written. A unit that was written twice keeps the later version if it
    keeps that one, else the earlier one if that was kept: any version may be found."""
    for write in pending:
        for piece in _pieces(write, unit):
            if chance.random() < odds:
                yield piece


def _pages(pending: list[Write], chance: random.Random) -> Pieces:
    yield from _subset(pending, chance, PAGE, chance.choice((0.1, 0.5, 0.9)))


def _sectors(pending: list[Write], chance: random.Random) -> Pieces:
    yield from _subset(pending, chance, SECTOR, chance.choice((0.05, 0.5, 0.95)))


def _few(pending: list[Write], chance: random.Random) -> Pieces:
    """Everything but one sector: the hardest to notice."""
    pieces = [piece for write in pending for piece in _pieces(write, SECTOR)]
    lost = chance.randrange(len(pieces)) if pieces else 0
    yield from (piece for number, piece in enumerate(pieces) if number != lost)


def _prefix(pending: list[Write], chance: random.Random) -> Pieces:
    """The newest write first: a disk that reorders as badly as it may."""
    kept = chance.randint(0, len(pending))
    for write in sorted(pending[len(pending) - kept :], key=lambda write: write.begun):
        yield write.offset, write.data


Keep = type(_none)
