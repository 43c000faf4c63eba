"""A soak of seconds, on a real server that is really killed: what it finds, and that it would."""

import shutil
from pathlib import Path

import pytest

from bench.load import soaking
from bench.load.session import Session
from bench.load.soaking import Killing, Soaked

SIZES = {
    "rate": 40.0,
    "publishers": 3,
    "subscribers": 6,
    "channels": 3,
    "seed": 5,
    "patience_s": 120.0,
}


def soak(work: Path, **more: float) -> Soaked:
    session = Session("a test", work)
    soaked = soaking.soak(
        session, minutes=0.1, tolerance=10, budget_ms=100, sizes={**SIZES, **more}, say=print
    )
    print(soaked.table.text())
    return soaked


def test_nothing_is_lost_over_a_kill(tmp_path: Path) -> None:
    soaked = soak(tmp_path)
    checked = soaked.result.checked
    assert checked.is_right, checked
    assert checked.acknowledged > 100
    assert checked.in_history > 100
    assert soaked.result.latencies["acknowledged"].max_us > 100_000, "it was not killed"
    assert [one.process for one in soaked.quarters] == [1, 1, 2, 2]
    assert len(soaked.table.rows) == 4


def test_a_server_that_forgets_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start_anew(self: Killing) -> None:
        self.server.kill()
        shutil.rmtree(self.server.data)
        self.server.start()

    monkeypatch.setattr(Killing, "_kill_and_start", start_anew)
    soaked = soak(tmp_path, patience_s=2.0)
    found = soaked.result.checked.violations
    assert found.get("history: lost", 0) + found.get("history: gap", 0) > 50, found
    assert not soaked.is_right
