"""The examples of docs/embedding.md run, each as a program of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("snippet", _SNIPPETS)
def test_an_example_runs(tmp_path: Path, snippet: str) -> None:
    (word,) = [word for word in PROGRAMS if word in snippet]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", snippet],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=STUCK_S,
        check=False,
    )
    assert (done.stderr, done.stdout) == ("", PROGRAMS[word])


def test_every_program_is_in_the_document() -> None:
    assert [word for word in PROGRAMS if not any(word in one for one in _SNIPPETS)] == []
