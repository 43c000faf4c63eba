"""Power fails at any moment: acknowledged <= recovered <= sent, whatever the disk kept.

Fault model: that of tests/crash/disk.py. Many publishers at once and trims beside them are traced;
from the trace we build directories as a power loss may leave them, most of them around the syncs
of a commit, and open each. Acknowledgements are part of the trace, so for each crash point we know
who had heard of success. The side file is never synced: whatever is left of it, it must not call a
log behind that lost nothing.

A simulator that finds nothing proves nothing, so it must find fault with a log that is opened with
`sync=False`, and with `metasync=False`.

    TIDELOG_IMAGES=100000    look longer
    TIDELOG_SEED=7           at other images
    TIDELOG_TRACE=FILE       of a run that was recorded before

`python -m tests.crash.test_power_loss '{"path": …}'` is the program that gets traced.
"""

import json
import os
import random
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import pytest
import trio

from storage import Cut, Log, LogSettings, StorageError, Stream, open_log
from storage.engine import Engine
from storage.opening import compare
from storage.probe import structure
from storage.sidefile import read_note
from storage.snapshot import read_snapshot
from storage.verify import verify
from tests.crash.disk import KEPT, Recording
from tests.crash.journal import Journal, violations
from tests.crash.require import knob
from tests.crash.tracing import Call, lines_written, python, read_trace, run_traced
from tests.crash.workload import CHANNELS, SCENARIOS, Plan, channel_of, run, say, send
from tests.storage.ledger import POSTS, Post, ledger
from tests.storage.wall import Wall

pytestmark = pytest.mark.crash

SEED = knob("TIDELOG_SEED", 1)
IMAGES = knob("TIDELOG_IMAGES", 1_500)
FULL_OPENS = 20
CREATION_IMAGES = 10
BROKEN_IMAGES = 300
SETTINGS = LogSettings()
ROUNDS, PUBLISHERS, POSTS_EACH = 15, 30, 4
SENT = ROUNDS * PUBLISHERS * POSTS_EACH
SIZES = (20, 100, 100, 300, 6_000)


async def storm(log: Log, _: Plan) -> None:
    """Rounds of publishers at once; beside each, what is two rounds old is trimmed."""
    edges = [0, 0]
    for number in range(ROUNDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cut, log, edges[-2])
            for name in range(PUBLISHERS):
                nursery.start_soon(publisher, log, number * PUBLISHERS + name)
        edges.append(log.position)


async def publisher(log: Log, name: int) -> None:
    """The largest size takes pages of its own."""
    for number in range(name * POSTS_EACH, (name + 1) * POSTS_EACH):
        await send(log, f"storm-{number}", SIZES[number % len(SIZES)])


async def cut(log: Log, serial: int) -> None:
    """`T serial`: from here on posts up to that serial may be gone, acknowledged or not."""
    say("T", serial)
    await log.trim([Cut(stream(number), serial) for number in range(CHANNELS)])


def stream(number: int) -> Stream:
    return Stream("app", f"channel-{number}", POSTS)


@dataclass
class Heard:
    """What the world had heard from the process when the power failed."""

    journal: Journal = field(default_factory=Journal)
    cut: int = 0

    def add(self, calls: list[Call]) -> None:
        for _, line in lines_written(calls):
            self.journal.note(*line.split())
            if line.startswith("T "):
                self.cut = int(line.split()[1])

    def due(self, engine: Engine) -> dict[str, int]:
        """The acknowledged posts that must be there: all but those that a trim that was asked for
        has left in its stream's snapshot."""
        with engine.read() as reader:
            left = [read_snapshot(reader, stream(number)) for number in range(CHANNELS)]
        trimmed = {s.stream.channel: min(s.link.serial, self.cut) for s in left if s is not None}
        acked = self.journal.acked.items()
        return {id_: serial for id_, serial in acked if serial > trimmed.get(channel_of(id_), 0)}


def faults(path: Path, heard: Heard) -> list[str]:
    """What is wrong with a data directory, looking at it as an opening process does."""
    if not (path / "data.mdb").exists():
        promised = heard.journal.acked or (path / "head").exists()
        return ["the data file is gone"] if promised else []
    found = structure(path)
    if found:
        return found
    try:
        return faults_within(path, heard)
    except StorageError as error:
        return [f"{type(error).__name__}: {error}"]


def faults_within(path: Path, heard: Heard) -> list[str]:
    engine = Engine(path, SETTINGS)
    try:
        compare(engine, read_note(path), accept_loss=False)
        return violations(engine, heard.due(engine), heard.journal.sent)
    finally:
        engine.close()


class Image(NamedTuple):
    number: int
    path: Path
    heard: Heard

    def digest(self) -> bytes:
        files = [self.path / name for name in KEPT if (self.path / name).exists()]
        return blake2b(b"".join(file.read_bytes() for file in files)).digest()


def images(recording: Recording, points: list[int], target: Path) -> Iterator[Image]:
    """Directories after a power loss, one after another in the same place."""
    heard = Heard()
    for number, (disk, calls) in enumerate(recording.play(points)):
        heard.add(calls)
        disk.image(random.Random(f"{SEED}-{number}"), target)
        yield Image(number, target, heard)


def record(trace: Path, **options: bool) -> Recording:
    """Run the storm beside its trace."""
    plan = json.dumps(asdict(Plan(str(trace.with_name("log")), **options)))
    run_traced(python("tests.crash.test_power_loss", plan), trace)
    return Recording(read_trace(trace))


@pytest.fixture
def recorded(recording: tuple[Recording, Path]) -> Recording:
    """The run, and on failure how to look at the same images of it again."""
    seed = f"TIDELOG_SEED={SEED} TIDELOG_IMAGES={IMAGES}"
    print(f"TIDELOG_TRACE={recording[1]} {seed} python -m pytest {__file__}")
    return recording[0]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recording, Path]:
    """The one run that all images of a healthy log are made from."""
    if "TIDELOG_TRACE" in os.environ:
        trace = Path(os.environ["TIDELOG_TRACE"])
        return Recording(read_trace(trace)), trace
    trace = tmp_path_factory.mktemp("recorded") / "trace"
    return record(trace), trace


async def assert_goes_on(image: Image, copy: Path) -> None:
    """The real thing: open with every check, write, close; then `verify` finds nothing."""
    shutil.copytree(image.path, copy)
    async with open_log(copy, ledger(), wall=Wall()) as log:
        assert await log.submit(Post("channel-0", "goes on", id="new-0"), app="app")
    assert verify(copy, ledger(), SETTINGS, lambda *_: None) == []


async def test_power_loss_loses_nothing_that_was_acknowledged(
    tmp_path: Path, recorded: Recording
) -> None:
    points = recorded.crash_points(random.Random(SEED), IMAGES)
    different = set()
    for image in images(recorded, points, tmp_path / "image"):
        found = faults(image.path, image.heard)
        assert not found, f"image {image.number}: {found[:3]}"
        different.add(image.digest())
        if image.number % max(1, IMAGES // FULL_OPENS) == 0:
            await assert_goes_on(image, tmp_path / f"opened-{image.number}")
    print(f"{len(different)} different images of {IMAGES}")
    assert len(image.heard.journal.acked) > 0.9 * SENT, "most crash points came too early"
    assert len(different) > IMAGES // 3, "most images are the same"


async def test_power_loss_during_creation_leaves_a_directory_that_opens(
    tmp_path: Path, recorded: Recording
) -> None:
    first = next(n for n, event in enumerate(recorded.events) if event.says("A "))
    disk = [n for n, event in enumerate(recorded.events[:first]) if event.writes_disk]
    rng = random.Random(SEED)
    points = sorted(rng.choice(disk) + rng.choice((0, 1)) for _ in range(CREATION_IMAGES))
    for image in images(recorded, points, tmp_path / "image"):
        found = faults(image.path, image.heard)
        assert not found, f"image {image.number}: {found[:3]}"
        await assert_goes_on(image, tmp_path / f"opened-{image.number}")


def test_the_recording_makes_the_files_that_the_run_left(
    recording: tuple[Recording, Path],
) -> None:
    """Or the simulator would take the log through states that it never had."""
    whole, trace = recording
    ((disk, _),) = whole.play([len(whole.events)])
    for name in ("data.mdb", "head"):
        left = trace.with_name("log").joinpath(name).read_bytes()
        assert disk.cached(name).rstrip(b"\0") == left.rstrip(b"\0")  # fallocate is not traced


@pytest.mark.parametrize("without", ["sync", "metasync"])
def test_the_simulator_finds_what_is_not_synced(tmp_path: Path, without: str) -> None:
    """Not only that such a log is refused, which its side file sees to: that posts are lost, too,
    without a word."""
    recording = record(tmp_path / "trace", **{without: False})
    points = recording.crash_points(random.Random(SEED), BROKEN_IMAGES)
    found = [faults(i.path, i.heard) for i in images(recording, points, tmp_path / "image")]
    silent = [lines for lines in found if any("was acknowledged as" in line for line in lines)]
    assert silent, f"with {without}=False nothing acknowledged was lost of seed {SEED}"


if __name__ == "__main__":
    SCENARIOS["storm"] = storm
    trio.run(run, "storm", Plan(**json.loads(sys.argv[1])))
