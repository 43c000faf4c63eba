"""A data directory that is not what we left: newer, in use, copied, cut back, half made, mistimed.

Fault model: directories are moved by people and programs that do not know what is in them. Another
version wrote it; two processes open it; a reader was killed in a transaction; `cp` ran beside the
writer; the newest meta page, or the whole data file, was lost; the process that made it was killed
on the way; the wall clock jumped. In each case opening either refuses and says why, or the log is
whole: acknowledged records are never silently missing, serials are never given twice, and nothing
that lies in the directory ends the process that opens it.

Other processes are real ones. They are waited for by what they say, never by time.
"""

import json
import random
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import pytest

from storage import (
    ClockBehind,
    Damaged,
    FormatError,
    Log,
    LogBehind,
    LogLocked,
    LogSettings,
    Span,
    Stream,
    open_log,
)
from storage.engine import Engine, lock_directory
from storage.sidefile import read_note
from storage.upgrade import FORMAT
from storage.verify import verify
from tests.crash.journal import Journal, reopened, violations
from tests.crash.require import knob, tool
from tests.crash.tracing import ROOT, lines_written, python, read_trace, run, run_traced
from tests.crash.workload import Plan
from tests.storage.ledger import POSTS, Post, ledger
from tests.storage.wall import Wall

pytestmark = pytest.mark.crash

PAGE_BYTES = 4096
VERSION_AT, TXNID_AT = 20, 144
COPIES = knob("TIDELOG_COPIES", 12)
SEED = knob("TIDELOG_SEED", 1)

WRITER = """
import sys
from pathlib import Path
from storage import LogSettings
from storage.opening import open_engine
opened = open_engine(Path(sys.argv[1]), LogSettings(), accept_loss=False)
print("ready", flush=True)
sys.stdin.read()
"""
READER = """
import sys
from pathlib import Path
from storage import LogSettings
from storage.engine import Engine
with Engine(Path(sys.argv[1]), LogSettings()).read() as reader:
    print("ready", flush=True)
    sys.stdin.read()
"""
SLOTS = "import lmdb, sys; print(lmdb.open(sys.argv[1], readonly=True, max_dbs=9).readers())"


async def publish(path: Path, *texts: str, wall: Wall | None = None, **options: bool) -> list[int]:
    """Open the log, post, close; returns the serials."""
    async with open_log(path, ledger(), wall=wall or Wall(), **options) as log:
        return [(await log.submit(Post("c", t), app="app")).serials[0] for t in texts]


async def texts(path: Path) -> list[str]:
    async with open_log(path, ledger(), wall=Wall()) as log:
        page = await log.read(Stream("app", "c", POSTS), Span(), limit=1_000)
        return [record.event["text"] for record in page.records]


def findings(path: Path) -> list[str]:
    return verify(path, ledger(), LogSettings(), lambda *_: None)


def script(source: str, path: Path) -> list[str]:
    return [sys.executable, "-c", source, str(path)]


@contextmanager
def process(source: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """A real process that has the log open, from when it said so until it is told to go."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        script(source, path), cwd=ROOT, stdin=pipe, stdout=pipe, text=True
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            yield child
        finally:
            child.kill()


def patch(path: Path, at: int, data: bytes) -> None:
    with (path / "data.mdb").open("r+b") as file:
        file.seek(at)
        file.write(data)


def newer_meta(path: Path) -> int:
    """Where the meta page of the last commit begins."""
    raw = (path / "data.mdb").read_bytes()[: 2 * PAGE_BYTES]
    txns = [struct.unpack_from("=Q", raw, at + TXNID_AT)[0] for at in (0, PAGE_BYTES)]
    return txns.index(max(txns)) * PAGE_BYTES


# Formats


async def test_a_newer_format_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "log"
    await publish(path, "one")
    set_format(path, FORMAT + 1)
    before = (path / "data.mdb").read_bytes()
    with pytest.raises(FormatError, match=f"format {FORMAT + 1}.*newer"):
        await publish(path, "two")
    with pytest.raises(FormatError):
        Engine(path, LogSettings())
    assert (path / "data.mdb").read_bytes() == before
    set_format(path, FORMAT)
    assert await texts(path) == ["one"]


def set_format(path: Path, number: int) -> None:
    """As a version to come will: a sealed row of the meta table."""
    with reopened_whatever(path) as engine, engine.write() as writer:
        writer.set_number(b"format", number)


@contextmanager
def reopened_whatever(path: Path) -> Iterator[Engine]:
    """The writing engine of a directory whose format this version refuses."""
    check, Engine._check_format = Engine._check_format, lambda _: None
    try:
        engine = Engine(path, LogSettings(), lock=lock_directory(path))
    finally:
        Engine._check_format = check
    try:
        yield engine
    finally:
        engine.close()


async def test_a_row_of_the_meta_table_that_was_edited_by_hand_is_damage(tmp_path: Path) -> None:
    """Its checksum does not match, so a flipped bit is never taken for a format."""
    path = tmp_path / "log"
    await publish(path, "one")
    with reopened_whatever(path) as engine, engine.write() as writer:
        writer.put("meta", b"format", b"%d" % (FORMAT + 1))
    with pytest.raises(Damaged):
        await publish(path, "two")


async def test_another_lmdb_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log"
    await publish(path, "one")
    for page in (0, PAGE_BYTES):
        patch(path, page + VERSION_AT, struct.pack("=I", 999))
    with pytest.raises((FormatError, Damaged)):
        await publish(path, "two")


# Other processes


async def test_a_second_writing_process_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log"
    await publish(path, "one")
    with process(WRITER, path) as child:
        with pytest.raises(LogLocked):
            await publish(path, "two")
        assert child.poll() is None
    assert await publish(path, "three")


async def test_a_second_writer_is_refused_while_this_process_writes(tmp_path: Path) -> None:
    path = tmp_path / "log"
    async with open_log(path, ledger(), wall=Wall()) as log:
        second = subprocess.run(script(WRITER, path), cwd=ROOT, stderr=subprocess.PIPE, check=False)
        assert b"LogLocked" in second.stderr
        assert await log.submit(Post("c", "fine"), app="app")
    assert await texts(path) == ["fine"]


async def test_a_killed_readers_slot_is_cleared_at_open(tmp_path: Path) -> None:
    """Its slot would keep every page alive that is freed from now on. A second reader lives on, for
    LMDB starts the slots afresh when nobody has the file open."""
    path = tmp_path / "log"
    await publish(path, "one")
    with process(READER, path) as living, process(READER, path) as killed:
        killed.kill()
        killed.wait()
        assert str(killed.pid) in run(script(SLOTS, path))
        await publish(path, "two")
        assert str(killed.pid) not in run(script(SLOTS, path))
        assert str(living.pid) in run(script(SLOTS, path))


# What was lost


@pytest.mark.parametrize("loss", ["older bytes", "no transaction"])
async def test_a_lost_last_commit_is_noticed(tmp_path: Path, loss: str) -> None:
    """LMDB silently goes on from the older of its two meta pages."""
    path = tmp_path / "log"
    serials = await publish(path, "one", "two", "three")
    before = (path / "data.mdb").read_bytes()
    serials += await publish(path, "lost")
    at = newer_meta(path)
    old = before[at : at + PAGE_BYTES] if loss == "older bytes" else bytes(8)
    patch(path, at if loss == "older bytes" else at + TXNID_AT, old)
    with pytest.raises(LogBehind, match=str(serials[-1])):
        await publish(path, "refused")
    assert any("acknowledged" in finding for finding in findings(path))
    await assert_goes_on_after_accepting(path, ["one", "two", "three"], serials[-1])


async def assert_goes_on_after_accepting(path: Path, kept: list[str], last: int) -> None:
    """Once accepted, the loss is over: the log opens as any other, and no serial comes again."""
    assert await publish(path, accept_loss=True) == []  # accepted, and nothing written
    (new,) = await publish(path, "accepted")
    assert new > last
    assert await publish(path, "normal") > [new]
    assert await texts(path) == [*kept, "accepted", "normal"]
    assert findings(path) == []


async def test_a_data_file_that_is_gone_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "log"
    (last,) = await publish(path, "lost")
    (path / "data.mdb").unlink()
    with pytest.raises(LogBehind):
        await publish(path, "refused")
    assert not (path / "data.mdb").exists(), "a refused directory was written to"
    await assert_goes_on_after_accepting(path, [], last)


async def test_an_older_data_file_beside_a_newer_note_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "log"
    await publish(path, "one")
    before = (path / "data.mdb").read_bytes()
    (*_, last) = await publish(path, *map(str, range(50)))
    (path / "data.mdb").write_bytes(before)
    with pytest.raises(LogBehind):
        await publish(path, "refused")
    await assert_goes_on_after_accepting(path, ["one"], last)


# Copies made beside the writer


def copy_beside(
    source: Path, target: Path, child: subprocess.Popen[str], rng: random.Random
) -> list[str]:
    """What `cp` does, page by page, while the writer goes on between any two pieces; returns the
    journal up to the end of the copy. Writer and copy keep in step by the journal."""
    assert child.stdout is not None
    target.mkdir()
    lines = [child.stdout.readline() for _ in range(rng.randrange(500, 3_000))]
    files = rng.choice([["data.mdb", "head"], ["head", "data.mdb"], ["data.mdb"]])
    for name in files:
        with (source / name).open("rb", buffering=0) as old, (target / name).open("wb") as new:
            while piece := old.read(PAGE_BYTES * rng.choice([1, 2, 8, 64])):
                new.write(piece)
                lines += [child.stdout.readline() for _ in range(rng.choice([0, 0, 1, 30]))]
    return lines


def judge(copy: Path, journal: Journal) -> tuple[str, list[str]]:
    """How opening the copy ends, and what is wrong with it if it opens."""
    note = read_note(copy)
    promised = {i: s for i, s in journal.acked.items() if note and s <= note.serial}
    try:
        with reopened(copy) as engine:
            return "whole", violations(engine, promised, journal.sent)
    except (Damaged, LogBehind, FormatError) as error:
        return type(error).__name__, []


@pytest.mark.parametrize("seed", [f"{SEED}-{n}" for n in range(COPIES)])
def test_an_unclean_copy_is_refused_or_whole(tmp_path: Path, seed: str) -> None:
    rng, plan = random.Random(seed), Plan(str(tmp_path / "log"), rounds=100, group=40)
    command = python("tests.crash.workload", "crowd", json.dumps(asdict(plan)))
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        lines = copy_beside(tmp_path / "log", tmp_path / "copy", child, rng)
        assert child.stdout is not None
        journal = Journal().add(line for line in (*lines, *child.stdout) if line.strip())
    outcome, found = judge(tmp_path / "copy", journal)
    print(outcome)
    assert not found, f"{found}; TIDELOG_SEED={SEED} pytest '{__file__}' -k '{seed}'"


# Half made


def steps_of_creation(plan: Plan, trace: Path) -> list[tuple[str, int]]:
    """(system call, how many of its kind its thread had made) up to the first acknowledgement."""
    run_traced(workload(plan), trace)
    calls = read_trace(trace)
    end = next(call.begun for call, line in lines_written(calls) if line.startswith("A "))
    early = [c for c in calls if c.begun < end and c.path.startswith(plan.path)]
    ours = [c for c in early if c.name not in ("close", "lseek")]
    same = [[c for c in calls if (c.thread, c.name) == (o.thread, o.name)] for o in ours]
    return sorted({(o.name, s.index(o) + 1) for o, s in zip(ours, same, strict=True)})


def workload(plan: Plan) -> list[str]:
    return python("tests.crash.workload", "steady", json.dumps(asdict(plan)))


def killed_at(plan: Plan, name: str, number: int) -> list[str]:
    """Kill the process as it enters the call; returns what it had said until then."""
    inject = f"inject={name}:signal=SIGKILL:when={number}"
    strace = [tool("strace"), "-f", "-o", "/dev/null", "-e", f"trace={name}", "-e", inject]
    done = subprocess.run(
        [*strace, "--", *workload(plan)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0, f"nobody was killed at {name} number {number}"
    return done.stdout.splitlines()


async def test_a_kill_during_creation_leaves_a_directory_that_opens(tmp_path: Path) -> None:
    steps = steps_of_creation(Plan(str(tmp_path / "whole"), rounds=1), tmp_path / "trace")
    assert {"openat", "pwrite64", "fdatasync", "rename", "fsync"} <= {name for name, _ in steps}
    for name, number in steps:
        path = tmp_path / f"{name}-{number}"
        journal = Journal().add(killed_at(Plan(str(path), rounds=1), name, number))
        async with open_log(path, ledger(), wall=Wall()) as log:
            found = violations(log.engine, journal.acked, journal.sent)
            assert not found, f"killed at {name} number {number}: {found}"
            assert (await log.submit(Post("c", "goes on"), app="app")).serials


# Clocks


async def test_serials_grow_whatever_the_clock_does(tmp_path: Path) -> None:
    """Forward, back and standing still, within one run and across restarts."""
    rng, wall, given, latest = random.Random(SEED), Wall(), [0], 0
    for _ in range(12):
        wall.step(rng.choice([-3_600_000, -1_000, -1, 0, 1, 1_000, 3_600_000]))
        async with open_log(tmp_path / "log", ledger(), wall=wall) as log:
            for _ in range(20):
                latest = max(latest, wall.ms)
                given += (await log.submit(Post("c", "x", count=3), app="app")).serials
                wall.step(rng.choice([-60_000, -1, 0, 1, 60_000]))
    assert all(a < b for a, b in pairwise(given)), f"TIDELOG_SEED={SEED}"
    assert max(given) >> 20 <= latest + 1, "serials ran ahead of every clock that was ever shown"
    assert findings(tmp_path / "log") == []


@pytest.mark.parametrize("restart", [False, True], ids=["running", "across a restart"])
async def test_a_clock_too_far_behind_refuses_writes_until_it_is_right(
    tmp_path: Path, restart: bool
) -> None:
    """It jumped a year ahead and was set right: the bound says how far serials may lead."""
    wall, lead = Wall(), 60_000
    ahead = await publish(tmp_path / "log", "before", wall=wall)
    wall.step(365 * 86_400_000)
    async with timed(tmp_path / "log", wall, lead) as log:
        ahead += (await log.submit(Post("c", "ahead"), app="app")).serials
        wall.step(-lead - 10)
        if not restart:
            await assert_refused_until_right(log, wall, lead, ahead)
    if restart:
        async with timed(tmp_path / "log", wall, lead) as log:
            await assert_refused_until_right(log, wall, lead, ahead)
    assert await texts(tmp_path / "log") == ["before", "ahead", "after"]


def timed(path: Path, wall: Wall, lead: int) -> AbstractAsyncContextManager[Log]:
    return open_log(path, ledger(), wall=wall, settings=LogSettings(serial_lead_ms_max=lead))


async def assert_refused_until_right(log: Log, wall: Wall, lead: int, given: list[int]) -> None:
    with pytest.raises(ClockBehind, match=str(lead)):
        await log.submit(Post("c", "refused"), app="app")
    page = await log.read(Stream("app", "c", POSTS), Span(), limit=9)
    assert len(page.records) == len(given), "reads do not depend on the clock"
    wall.step(20)
    (serial,) = (await log.submit(Post("c", "after"), app="app")).serials
    assert serial > max(given)
