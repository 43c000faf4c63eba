"""What documents tell one to type works, and prints what they show (tests/sessions.py).

Without Node's packages what needs them is left out with a message, and fails instead when
TIDELOG_REQUIRE_SDK_TESTS=1.
"""

import os
from pathlib import Path

import pytest

from tests.sessions import Session, steps

SESSIONS = ("docs/quickstart.md",)
REQUIRED = "TIDELOG_REQUIRE_SDK_TESTS"


@pytest.mark.parametrize("document", SESSIONS)
def test_what_a_document_tells_to_type_works(document: str, tmp_path: Path) -> None:
    with Session(tmp_path) as session:
        for step in steps(document):
            session.take(step)
        session.stop()
    if session.left_out:
        assert not os.environ.get(REQUIRED), session.left_out
        pytest.skip(f"without npm ci --prefix tests/conformance/node: {session.left_out}")
