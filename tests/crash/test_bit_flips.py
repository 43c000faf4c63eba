"""One flipped bit, anywhere: refused, reported, or provably without effect. Never served.

Fault model: a bit of a file at rest is not what was written (a disk's silent corruption, a stray
write). LMDB checks nothing of what it reads, so a flip may move a key, unhook a branch, bend a
pointer out of the map or bring an older meta page back. For a small log, opening checks the whole
structure in a child process; records and rows carry checksums; chains count; the side file knows
the last commit.

Flips are drawn from every kind of byte in the file (tests/crash/pages.py), seeded: as many kinds of
place as there are, and more of each with TIDELOG_FLIPS=20.
"""

import json
import random
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.crash.pages import Region, by_kind
from tests.crash.require import knob
from tests.crash.tracing import ROOT, python, run
from tests.crash.workload import Plan

pytestmark = [pytest.mark.crash, pytest.mark.timeout(3_600)]

FLIPS = knob("TIDELOG_FLIPS", 4)
SEED = knob("TIDELOG_SEED", random.SystemRandom().randrange(1 << 32))
WORKERS = 2
SMALL = 16 << 20


class Flip(NamedTuple):
    kind: str
    file: str
    offset: int
    bit: int


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log with overflow pages, branch pages, a freelist, snapshots and a second row table."""
    path = tmp_path_factory.mktemp("pristine") / "log"
    plan = Plan(str(path), rounds=150, group=7, size=150, waiters=60)
    run(python("tests.crash.workload", "aged", json.dumps(asdict(plan))))
    assert (path / "data.mdb").stat().st_size < SMALL
    return path


def pick(
    kind: str, regions: list[Region], file: str, count: int, chance: random.Random
) -> list[Flip]:
    flips = []
    for _ in range(count):
        region = chance.choice(regions)
        offset = region.offset + chance.randrange(region.size)
        flips.append(Flip(kind, file, offset, chance.randrange(8)))
    return flips


def judge(pristine: Path, scratch: Path, flips: list[Flip]) -> dict[Flip, str]:
    """The verdicts of tests/crash/flipping.py, from a few of it side by side."""
    parts = [flips[n::WORKERS] for n in range(WORKERS)]
    with ThreadPoolExecutor(WORKERS) as pool:
        jobs = [
            pool.submit(_judge, pristine, scratch / str(n), part) for n, part in enumerate(parts)
        ]
    return {flip: said for job in jobs for flip, said in job.result().items()}


def _judge(pristine: Path, scratch: Path, flips: list[Flip]) -> dict[Flip, str]:
    job = {
        "pristine": str(pristine),
        "scratch": str(scratch),
        "flips": [flip[1:] for flip in flips],
    }
    child = subprocess.run(
        python("tests.crash.flipping"),
        input=json.dumps(job),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr[-3000:]
    verdicts = [json.loads(line) for line in child.stdout.splitlines()]
    return {flips[number]: said for number, said in verdicts}


def assert_never_served(verdicts: dict[Flip, str]) -> None:
    print(f"TIDELOG_SEED={SEED} TIDELOG_FLIPS={FLIPS} python -m pytest {__file__}")
    bad = [(f, said) for f, said in verdicts.items() if said.split()[0] in ("wrong", "crashed")]
    assert not bad, "\n".join(f"{flip}: {said}" for flip, said in bad)


def test_flips_in_every_kind_of_byte(pristine: Path, tmp_path: Path) -> None:
    chance = random.Random(SEED)
    kinds = by_kind((pristine / "data.mdb").read_bytes())
    assert len(kinds) > 80, sorted(kinds)
    flips = [f for kind in kinds for f in pick(kind, kinds[kind], "data.mdb", FLIPS, chance)]
    verdicts = judge(pristine, tmp_path, flips)
    assert_never_served(verdicts)
    seen = Counter(said.split()[0].strip(",") for said in verdicts.values())
    assert seen["refused"], seen
    assert seen["identical"], seen


def test_flips_in_the_side_file(pristine: Path, tmp_path: Path) -> None:
    chance = random.Random(SEED)
    everything = Region("side file", 0, (pristine / "head").stat().st_size)
    verdicts = judge(pristine, tmp_path, pick("side file", [everything], "head", 30, chance))
    assert_never_served(verdicts)
