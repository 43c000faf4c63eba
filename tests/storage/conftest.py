"""Fixtures of the storage tests: a clock, a directory, and a check of data files without a child.

`open_log`, `verify` and `restore` look at a data file in a child process first. A child costs a
fifth of a second, and these tests open some thousand logs: here the same checks run in this
process. Tests that ask for `child_probe` get the real thing; so do all of tests/crash.
"""

from pathlib import Path

import pytest

from storage import Damaged, LogSettings
from storage.probe import read_ends, structure
from tests.storage.wall import Wall

for _part in ("base", "append", "queue", "tail", "retention"):
    pytest.register_assert_rewrite(f"tests.storage.contract_{_part}")


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def child_probe() -> None:
    """Look at data files in a child process, as the product does."""


def probe_here(path: Path, settings: LogSettings, *, thorough: bool = False) -> None:
    findings = structure(path)
    if findings:
        raise Damaged(f"{path}: {'; '.join(findings)}")
    read_ends(path)


@pytest.fixture(autouse=True)
def _probe(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "child_probe" not in request.fixturenames:
        for module in ("opening", "verify", "copies"):
            monkeypatch.setattr(f"storage.{module}.probe", probe_here)
