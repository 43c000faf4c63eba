"""The last check of a run can fail, in however many processes the run was (tests/outcomes.py)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONFTEST = """\
import os

import pytest

from tests import met
from tests.outcomes import Outcomes


class Asking:
    name = "docs/rest.md"
    asked_in = "test_asking.py"
    may_skip = "MAY_SKIP" in os.environ
    named = {f"test_some.py::test_{name}" for name in os.environ["NAMED"].split()}

    def unmet(self, found):
        paths = {one.path for name in self.named for one in found.get(name, ())}
        return [f"{path} 200" for path in os.environ["ROUTES"].split() if path not in paths]


def pytest_configure(config):
    met.wanted.update(Asking.named)
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Outcomes(Asking()))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call":
        report.user_properties += met.taken(item.nodeid)
    return report
"""
SOME = """\
import pytest

from tests import met


@pytest.fixture
def broken():
    yield
    raise RuntimeError


def test_passes():
    assert met.is_wanted()
    met.note(met.Met("GET", "/one", 200, "said"))


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
ANSWER = "docs/rest.md::every_test_that_is_named_passed"
UNPROVEN = ("breaks_afterwards", "fails", "fails_once", "skipped")
PROCESSES = pytest.mark.parametrize("processes", [0, 2])


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_some.py").write_text(SOME)
    (tmp_path / "test_asking.py").write_text("def test_asking():\n    pass\n")
    return tmp_path


def run(
    directory: Path, named: str, processes: int, chosen: str, routes: str = "", **more: str
) -> tuple[int, str]:
    """How a run ended, and what it said."""
    options = ["-rA", "-p", "no:cacheprovider", f"--rootdir={directory}", "-k", chosen]
    spread = ["-p", "xdist", "-n", str(processes), "--dist", "loadfile"]
    environment = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
    environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *(spread if processes else [])],
        cwd=directory,
        env={**environment, "NAMED": named, "ROUTES": routes, **more},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


@PROCESSES
def test_those_that_are_named_passed(directory: Path, processes: int) -> None:
    named = "passes passes_where_it_can"
    status, said = run(directory, named, processes, "asking or passes")
    assert status == 0, said
    assert f"PASSED {ANSWER}" in said


@PROCESSES
def test_those_that_did_not_pass_are_listed(directory: Path, processes: int) -> None:
    named = "passes passes_where_it_can fails breaks_afterwards skipped fails_once"
    status, said = run(directory, named, processes, "not deselected")
    assert status == 1, said
    _, _, listed = said.partition("4 of 6 tests of docs/rest.md did not pass:\n")
    unproven = [f"test_some.py::test_{x}" for x in UNPROVEN]
    assert listed.splitlines()[: len(unproven)] == unproven, said


@PROCESSES
def test_what_none_of_them_met_is_listed(directory: Path, processes: int) -> None:
    chosen = "asking or passes"
    status, said = run(directory, "passes", processes, chosen, "/one")
    assert status == 0, said
    status, said = run(directory, "passes", processes, chosen, "/one /two")
    assert status == 1, said
    _, _, listed = said.partition("1 rows of docs/rest.md name a test that did not meet them:\n")
    assert listed.startswith("/two 200\n"), said


@PROCESSES
def test_one_that_was_skipped_fails_the_run(directory: Path, processes: int) -> None:
    status, said = run(directory, "passes skipped", processes, "asking or passes or skipped")
    assert status == 1, said
    assert f"FAILED {ANSWER}" in said


def test_one_that_may_be_skipped_skips_the_answer(directory: Path) -> None:
    chosen = "asking or passes or skipped or fails"
    status, said = run(directory, "passes skipped", 0, chosen + " and not fails", MAY_SKIP="1")
    assert status == 0, said
    assert "1 of 2 tests of docs/rest.md were skipped" in said
    status, said = run(directory, "passes skipped fails_once", 0, chosen, MAY_SKIP="1")
    assert f"FAILED {ANSWER}" in said


@PROCESSES
def test_a_part_of_a_run_says_so(directory: Path, processes: int) -> None:
    status, said = run(directory, "passes deselected fails", processes, "asking or passes")
    assert status == 0, said
    assert "2 of 3 tests of docs/rest.md are not in this run" in said


def test_a_run_that_is_not_asked_says_nothing(directory: Path) -> None:
    status, said = run(directory, "passes deselected", 0, "test_passes")
    assert status == 0, said
    assert "docs/rest.md" not in said
