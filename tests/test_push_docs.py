"""`docs/beams.md` and `docs/matrix.md` have a row for every endpoint and every error of the seeds,
and each row a test.

What the seeds name is in `tests/fixtures/push_seeds.json`. That those tests passed, and met the
route and the answer of their rows, is said at the end of a run that has this file
(tests/outcomes.py).
"""

import ast
import json
import re
from collections import Counter

import pytest

from tests.documents import BEAMS, MATRIX, ROOT, Document

SEEDS = json.loads((ROOT / "tests" / "fixtures" / "push_seeds.json").read_text())
_VARIES = re.compile(r"\{\w+\}")
DOCUMENTS = pytest.mark.parametrize("document", [BEAMS, MATRIX], ids=lambda one: one.name)


@DOCUMENTS
def test_every_row_names_a_test_that_exists(document: Document) -> None:
    assert document.rows
    assert [row for row in document.rows if not row.tests] == []
    files = {name.partition("::")[0] for name in document.named}
    there = {f"{path}::{name}" for path in files for name in functions(path)}
    assert document.named - there == set()


def _route(text: str) -> str:
    return _VARIES.sub("{}", text)


def test_everything_that_the_seed_of_beams_names_has_one_row() -> None:
    named = Counter(
        (_route(call["route"]), str(status), error, description)
        for call in SEEDS["beams"]
        for status, error, description in [(200, "", ""), *call["errors"]]
    )
    listed = Counter(
        (
            _route(row.cells["route"]),
            *(row.cells[name] for name in ("status", "error", "description")),
        )
        for row in BEAMS.rows
    )
    assert {key: listed[key] for key in named} == dict(named)


def test_every_endpoint_that_the_seed_of_matrix_names_has_a_row() -> None:
    succeeding = {_route(row.cells["route"]) for row in MATRIX.rows if row.cells["status"] == "200"}
    assert {_route(route) for route in SEEDS["matrix"]} - succeeding == set()


def functions(path: str) -> list[str]:
    """The tests of a file, which need not be there."""
    file = ROOT / path
    body = ast.parse(file.read_text()).body if file.exists() else []
    return [one.name for one in body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
