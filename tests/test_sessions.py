"""What documents tell one to type works, and prints what they show (tests/sessions.py).

Without curl, or Node's packages, what needs them is left out with a message, and fails instead when
TIDELOG_REQUIRE_SDK_TESTS=1.
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

from tests.documents import MARKDOWN
from tests.sessions import TOOLS, Block, Session, Step, blocks, pattern, steps

SESSIONS = (
    "docs/quickstart.md",
    "docs/server.md",
    "docs/testing.md",
    "docs/moving-from-ably.md",
    "docs/moving-from-beams.md",
)
ELSEWHERE = {"docs/cli.md": "tests/api/test_cli_reference.py looks at its examples"}
REQUIRED = "TIDELOG_REQUIRE_SDK_TESTS"


@pytest.mark.parametrize("document", SESSIONS)
def test_what_a_document_tells_to_type_works(document: str, tmp_path: Path) -> None:
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        _leave_out(f"not installed: {missing}")
    with Session(tmp_path) as session:
        for step in steps(document):
            session.take(step)
        session.stop()
    if session.left_out:
        _leave_out(f"without npm ci --prefix tests/conformance/node: {session.left_out}")


def _leave_out(why: str) -> NoReturn:
    assert not os.environ.get(REQUIRED), why
    pytest.skip(why)


def scripts(document: str) -> list[Block]:
    return [block for block in blocks(document) if block.kind == "sh"]


@pytest.mark.parametrize("document", [one for one in MARKDOWN if scripts(one)])
def test_every_script_of_a_document_is_run_or_says_why_not(document: str) -> None:
    if document not in ELSEWHERE:
        unsaid = [block.text for block in scripts(document) if block.is_run]
        assert not unsaid or document in SESSIONS
    together = "\n".join(block.text for block in scripts(document))
    parsed = subprocess.run(["bash", "-n"], input=together, text=True, capture_output=True)
    assert (parsed.returncode, parsed.stderr) == (0, "")


@pytest.mark.parametrize(
    ("shown", "printed", "is_same"),
    [
        ("a … c\n", "a b c\n", True),
        ("a … c\n", "a b\n", False),
        ("…\nb\n", "a\na\nb\n", True),
        ("…\nb\n", "b\n", True),
        ("a\n", "a\nb\n", False),
        ("a.c\n", "abc\n", False),
    ],
)
def test_what_is_printed_is_compared(shown: str, printed: str, is_same: bool) -> None:
    assert (pattern(shown).fullmatch(printed) is not None) == is_same


def test_a_script_that_fails_is_noticed(tmp_path: Path) -> None:
    with Session(tmp_path) as session:
        session.take(Step(Block("sh", "WORD=kept\n", ""), None, ()))
        session.take(Step(Block("sh", "echo $WORD\n", ""), "kept\n", ()))
        with pytest.raises(AssertionError, match="lost"):
            session.take(Step(Block("sh", "echo lost; false; true\n", ""), None, ()))
        with pytest.raises(AssertionError, match="other"):
            session.take(Step(Block("sh", "echo other\n", ""), "this\n", ()))
