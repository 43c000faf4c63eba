"""The check of `tests/test_rest_docs.py` can fail: what `tests/conftest.py` remembers of a run."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

TESTS = """\
import json
from pathlib import Path

import pytest


def test_told(outcomes):
    told = {name.partition("::test_")[2]: outcomes.passed(name) for name in outcomes.collected}
    Path("told.json").write_text(json.dumps(told))


@pytest.fixture
def broken():
    yield
    raise RuntimeError


def test_passes():
    pass


def test_fails():
    raise AssertionError


def test_breaks_afterwards(broken):
    pass


@pytest.mark.skip
def test_skipped():
    pass


@pytest.mark.parametrize("case", ["fine", pytest.param("skipped", marks=pytest.mark.skip)])
def test_passes_where_it_can(case):
    pass


@pytest.mark.parametrize("case", [0, 1])
def test_fails_once(case):
    assert case


def test_deselected():
    pass
"""


def test_what_is_remembered_of_a_run(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "test_some.py").write_text(TESTS)
    arguments = ["-q", "-p", "no:cacheprovider", "-k", "not deselected", f"--rootdir={tmp_path}"]
    command = [sys.executable, "-m", "pytest", *arguments, "test_some.py"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert json.loads((tmp_path / "told.json").read_text()) == {
        "passes": True,
        "fails": False,
        "breaks_afterwards": False,
        "skipped": False,
        "passes_where_it_can": True,
        "fails_once": False,
        "told": False,  # not yet
    }
