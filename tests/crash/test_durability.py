"""An acknowledgement leaves only after its commit is on disk: seen at the system calls.

SIGKILL proves nothing about fsync, for the page cache survives it. So a run is traced, and for each
acknowledged record we look for the write of data pages that carries its serial, the fdatasync that
began after that write and returned, then the write of the meta page through the O_DSYNC descriptor,
and only then may the line that acknowledges it leave. The same check must find fault with a log
opened with `sync=False` or `metasync=False`, or it would prove nothing either.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.crash.tracing import SYNCS, WRITES, Call, lines_written, python, read_trace, run_traced
from tests.crash.workload import Plan

pytestmark = pytest.mark.crash

SEQUENTIAL = ("steady", {"rounds": 60, "group": 1})
CROWDED = ("crowd", {"rounds": 6, "group": 60})


class Disk(NamedTuple):
    """The calls that count: pages written, syncs that returned, metas written."""

    pages: list[Call]
    syncs: list[Call]
    metas: list[Call]


def traced(tmp_path: Path, scenario: str, **plan: object) -> list[Call]:
    options = asdict(Plan(str(tmp_path / "log"), **plan))
    run_traced(python("tests.crash.workload", scenario, json.dumps(options)), tmp_path / "trace")
    return read_trace(tmp_path / "trace")


def disk_of(calls: list[Call]) -> Disk:
    """A meta write is told by where it lies: within the first two pages, not at a page's start."""
    ours = [c for c in calls if "/log/data.mdb" in c.path and not c.failed]
    writes = [c for c in ours if c.name in WRITES]
    return Disk(
        [c for c in writes if c.offset >= 2 * 4096],
        [c for c in ours if c.name in SYNCS],
        [c for c in writes if c.offset < 2 * 4096 and c.offset % 4096],
    )


def undurable(calls: list[Call]) -> Iterator[str]:
    """Acknowledgements that left before their commit was on disk."""
    disk = disk_of(calls)
    acked = [(c, *line.split()[1:]) for c, line in lines_written(calls) if line.startswith("A ")]
    assert acked, "nothing was acknowledged"
    for ack, id_, serial in acked:
        problem = _missing(disk, ack, int(serial).to_bytes(8, "big"))
        if problem:
            yield f"{id_} was acknowledged {problem}"


def _missing(disk: Disk, ack: Call, serial: bytes) -> str:
    """What had not happened to a record's commit when its acknowledgement began to leave."""
    page = next((c for c in disk.pages if serial in c.data), None)
    if page is None or page.ended > ack.begun:
        return "before it was written at all"
    sync = next((c for c in disk.syncs if c.begun > page.ended), None)
    if sync is None or sync.ended > ack.begun:
        return "before the sync of its pages returned"
    meta = next((c for c in disk.metas if c.begun > page.ended), None)
    if meta is None or meta.begun < sync.ended or meta.ended > ack.begun:
        return "before its meta page was written, or its meta page came before the sync"
    if any(sync.begun < c.begun < meta.begun for c in disk.pages):
        return "though pages were written between the sync and the meta page"
    if "O_DSYNC" not in meta.flags and not _synced(disk, meta, ack):
        return "before its meta page was synced"
    return ""


def _synced(disk: Disk, meta: Call, ack: Call) -> bool:
    return any(c.begun > meta.ended and c.ended < ack.begun for c in disk.syncs)


@pytest.mark.parametrize("load", [SEQUENTIAL, CROWDED], ids=["one by one", "60 publishers"])
def test_no_acknowledgement_leaves_before_its_commit_is_on_disk(
    tmp_path: Path, load: tuple[str, dict[str, int]]
) -> None:
    scenario, plan = load
    assert list(undurable(traced(tmp_path, scenario, **plan))) == []


@pytest.mark.parametrize("load", [SEQUENTIAL, CROWDED], ids=["one by one", "60 publishers"])
@pytest.mark.parametrize(
    ("without", "finding"),
    [("sync", "before the sync of its pages"), ("metasync", "before its meta page was synced")],
)
def test_the_check_finds_what_is_not_synced(
    tmp_path: Path, load: tuple[str, dict[str, int]], without: str, finding: str
) -> None:
    scenario, plan = load
    found = list(undurable(traced(tmp_path, scenario, **plan, **{without: False})))
    assert any(finding in line for line in found), f"without {without} the check finds: {found}"


def test_the_data_directory_itself_is_on_disk_before_the_first_acknowledgement(
    tmp_path: Path,
) -> None:
    """A file whose name is not synced may be gone after a power loss, with all that is in it. Some
    file systems are kinder than that; POSIX is not. The same goes for the directory's own name."""
    calls = traced(tmp_path, "steady", rounds=1)
    first = next(call.begun for call, line in lines_written(calls) if line.startswith("A "))
    data = str(tmp_path / "log" / "data.mdb")
    named = [c for c in calls if c.path == data and (c.name == "rename" or "O_CREAT" in c.flags)]
    syncs = [c for c in calls if c.name == "fsync" and c.begun > named[0].ended < first]
    synced = {c.path for c in syncs if c.ended < first}
    assert synced >= {str(tmp_path / "log"), str(tmp_path)}
