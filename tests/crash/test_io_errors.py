"""A disk that refuses: the first I/O error of a commit is final, a full disk is not.

Fault model: the k-th fdatasync, or the k-th write of LMDB's meta page, or a write of data pages
fails with the error of our choice. strace injects it at the system call, so everything above, LMDB
included, is the real thing. A dry run of the same program says which k is the commit that we mean:
one with 100 waiters in it and 200 more in the queue.

What must hold: after EIO every waiter and every later caller gets LogFailed, reads go on in the
same process, and nothing acknowledged is lost. Without room every waiter gets LogFull, reads go on,
and writing resumes when there is room again.
"""

import json
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.crash.journal import Journal, reopened, violations
from tests.crash.require import tool, unavailable
from tests.crash.tracing import (
    Call,
    is_meta,
    is_page,
    kth,
    python,
    read_trace,
    run,
    run_traced,
)
from tests.crash.workload import Plan

pytestmark = pytest.mark.crash

MIB = 1 << 20


def run_with(fault: list[str], plan: Plan, trace: Path, scenario: str = "waiters") -> Journal:
    command = python("tests.crash.workload", scenario, json.dumps(asdict(plan)))
    return Journal().add(run_traced(command, trace, fault).splitlines())


@pytest.fixture
def dry_run(tmp_path: Path) -> list[Call]:
    """The calls of the run that nothing disturbs."""
    run_with([], Plan(str(tmp_path / "dry")), tmp_path / "dry.trace")
    return read_trace(tmp_path / "dry.trace")


def is_note(call: Call) -> bool:
    return call.path.endswith("head")


def injected(trace: Path) -> list[Call]:
    return [call for call in read_trace(trace) if call.injected]


def assert_reopens_whole(plan: Plan, journal: Journal) -> None:
    with reopened(Path(plan.path)) as engine:
        assert not violations(engine, journal.acked, journal.sent)


def assert_refused(journal: Journal, plan: Plan, error: str) -> None:
    """Everything before the fault was acknowledged; of the rest nobody was, and each heard why."""
    assert len(journal.acked) == plan.rounds * plan.group
    assert Counter(journal.refused.values()) == {error: plan.waiters + 3}
    assert journal.acked.items() <= journal.read.items(), "an acknowledged post cannot be read"


def fail_commit(tmp_path: Path, fault: str, wanted: Callable[[Call], bool]) -> tuple[Plan, Journal]:
    plan, trace = Plan(str(tmp_path / "log")), tmp_path / "trace"
    journal = run_with([fault], plan, trace)
    hits = injected(trace)
    assert hits, f"{fault} hit nothing"
    assert wanted(hits[0]), f"{fault} hit {hits[0]}"
    return plan, journal


def test_eio_on_the_data_sync_is_final(tmp_path: Path, dry_run: list[Call]) -> None:
    k = kth(dry_run, "fdatasync", is_page)
    plan, journal = fail_commit(tmp_path, f"fdatasync:error=EIO:when={k}", is_page)
    assert_refused(journal, plan, "LogFailed")
    assert_reopens_whole(plan, journal)


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_a_failed_meta_write_is_final(tmp_path: Path, dry_run: list[Call], error: str) -> None:
    """LMDB overwrites a page that has its room: even ENOSPC is not about room here, and leaves an
    environment that refuses every transaction."""
    k = kth(dry_run, "pwrite64", is_meta)
    plan, journal = fail_commit(tmp_path, f"pwrite64:error={error}:when={k}", is_meta)
    assert_refused(journal, plan, "LogFailed")
    assert_reopens_whole(plan, journal)


@pytest.mark.parametrize("name", ["writev", "pwrite64"])
def test_eio_on_a_page_write_is_final(tmp_path: Path, dry_run: list[Call], name: str) -> None:
    k = kth(dry_run, name, is_page)
    plan, journal = fail_commit(tmp_path, f"{name}:error=EIO:when={k}", is_page)
    assert_refused(journal, plan, "LogFailed")
    assert_reopens_whole(plan, journal)


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_a_note_that_cannot_be_written_leaves_nobody_waiting(
    tmp_path: Path, dry_run: list[Call], error: str
) -> None:
    """The commit before the note is on disk, so its callers may hear of success or of LogFailed;
    but each must hear, and reads go on."""
    k = kth(dry_run, "pwrite64", is_note, skip=1)  # the first is the held step's own
    plan, journal = fail_commit(tmp_path, f"pwrite64:error={error}:when={k}", is_note)
    assert journal.sent == journal.acked.keys() | journal.refused.keys()
    assert set(journal.refused.values()) <= {"LogFailed"}
    assert journal.acked.items() <= journal.read.items()
    assert_reopens_whole(plan, journal)


@pytest.mark.parametrize("name", ["writev", "pwrite64"])
def test_no_room_refuses_and_writing_resumes(
    tmp_path: Path, dry_run: list[Call], name: str
) -> None:
    """The disk has no room for pages for a while: three writes in a row fail."""
    k = kth(dry_run, name, is_page)
    plan, trace = Plan(str(tmp_path / "log")), tmp_path / "trace"
    journal = run_with([f"{name}:error=ENOSPC:when={k}"], plan, trace, "persistent")
    hits = injected(trace)
    assert hits
    assert all(is_page(hit) for hit in hits)
    first_batch = {f"waiter-{n}" for n in range(plan.batch)}
    assert {journal.refused[id_] for id_ in first_batch} == {"LogFull"}
    assert journal.sent == journal.acked.keys(), "writing did not resume"
    assert journal.acked == journal.read
    assert_reopens_whole(plan, journal)


def test_at_max_bytes_writes_are_refused_and_reads_go_on(tmp_path: Path) -> None:
    plan = Plan(str(tmp_path / "log"), rounds=400, group=20, size=500, max_bytes=MIB)
    journal = run_untraced("waiters", plan)
    assert set(journal.refused.values()) == {"LogFull"}
    assert journal.refused.keys() >= {"late-0", "late-1", "late-2"}
    assert journal.acked
    assert (tmp_path / "log/data.mdb").stat().st_size < 2 * MIB
    assert_reopens_whole(plan, journal)


def run_untraced(scenario: str, plan: Plan) -> Journal:
    command = python("tests.crash.workload", scenario, json.dumps(asdict(plan)))
    return Journal().add(run(command).splitlines())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MiB, of which a ballast takes 2."""
    mount, umount = tool("mount"), tool("umount")
    disk = tmp_path / "disk"
    disk.mkdir()
    options = ["-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)]
    made = subprocess.run([mount, *options], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        unavailable(f"a small tmpfs cannot be mounted here: {made.stderr.strip()}")
    (disk / "ballast").write_bytes(bytes(2 * MIB))
    yield disk
    subprocess.run([umount, str(disk)], check=True)


@pytest.mark.parametrize("reserve", [0, MIB], ids=["to the last block", "to the reserve"])
def test_a_full_disk_refuses_until_there_is_room(small_disk: Path, reserve: int) -> None:
    """A real one. Without a reserve it is LMDB that runs out of room, in the middle of a commit."""
    path = str(small_disk / "log")
    plan = Plan(path, rounds=2_000, group=20, size=4_000, disk_reserve_bytes=reserve)
    journal = run_untraced("ballast", plan)
    assert set(journal.refused.values()) == {"LogFull"}
    assert journal.acked.keys() >= {"again-0", "again-19"}
    assert journal.acked == journal.read
    assert_reopens_whole(plan, journal)


def assert_trimming_made_room(journal: Journal, plan: Plan) -> None:
    assert set(journal.refused.values()) == {"LogFull"}
    assert journal.acked.items() <= journal.read.items()
    newest = {f"again-{n}": journal.acked.get(f"again-{n}") for n in range(plan.group)}
    assert None not in newest.values(), "writing did not resume"
    with reopened(Path(plan.path)) as engine:
        assert not violations(engine, newest, journal.sent)


def test_trimming_a_full_disk_makes_room(small_disk: Path) -> None:
    """LMDB keeps freed pages in its file, so the file system looks as full as before."""
    path = str(small_disk / "log")
    plan = Plan(path, rounds=2_000, group=20, size=4_000, disk_reserve_bytes=4 * MIB, step=100)
    assert_trimming_made_room(run_untraced("trimming", plan), plan)


def test_trimming_a_log_at_max_bytes_makes_room(tmp_path: Path) -> None:
    plan = Plan(str(tmp_path / "log"), rounds=2_000, group=20, size=500, max_bytes=2 * MIB)
    assert_trimming_made_room(run_untraced("trimming", plan), plan)
