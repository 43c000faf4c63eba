"""The examples of docs/embedding.md run, each as a program of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import broker.blocking
from tests.api.command_line import tidelog
from tests.documents import ROOT

STUCK_S = 60
PROGRAMS = {
    "broker.blocking": '{"id":7}\ncreated\n',
    "broker.aio": 'paid {"id":8}\n',
    "serve_in": "served\n",
}
"""By a word of theirs: what they print."""
_PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)
_SNIPPETS = _PYTHON.findall((ROOT / "docs" / "embedding.md").read_text())


_TESTS = [snippet for snippet in _SNIPPETS if "async def test_" in snippet]


@pytest.mark.parametrize("snippet", [one for one in _SNIPPETS if one not in _TESTS])
def test_an_example_runs(tmp_path: Path, snippet: str) -> None:
    (word,) = [word for word in PROGRAMS if word in snippet]
    done = _run(tmp_path, "-W", "error", "-c", snippet)
    assert (done.stderr, done.stdout) == ("", PROGRAMS[word])


def _run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=STUCK_S,
        check=False,
    )


def test_the_tests_pass(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["api.pytest_plugin"]\n')
    (tmp_path / "test_them.py").write_text("\n".join(_TESTS))
    options = ("-q", "-p", "no:schemathesis", "-o", "trio_mode=true")
    done = _run(tmp_path, "-m", "pytest", *options, "test_them.py")
    assert done.stdout.splitlines()[-1].startswith(f"{len(_TESTS)} passed"), done.stdout
    assert _TESTS


def test_the_command_line_beside_a_program(tmp_path: Path) -> None:
    with broker.blocking.open(tmp_path / "data"):
        backup = tidelog("backup", tmp_path / "backup", "--data", tmp_path / "data")
        listed = tidelog("apps", "list", "--data", tmp_path / "data")
    assert (backup.status, listed.status) == (0, 1)
    assert listed.err.rstrip().endswith("is open in another process")


def test_every_program_is_in_the_document() -> None:
    assert [word for word in PROGRAMS if not any(word in one for one in _SNIPPETS)] == []
