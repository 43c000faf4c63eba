"""`docs/beams.md` and `docs/matrix.md` have a row for every endpoint and every error of the seeds,
and each row a test.

The errors of Beams' documents are in `tests/fixtures/beams-device-api.json`: by route, the status,
title and description of each. That the tests passed, and met the route and the answer of their
rows, is said at the end of a run that has this file (tests/outcomes.py).
"""

import json
from collections import Counter
from collections.abc import Iterator

import pytest

from api.beams import errors
from tests.documents import BEAMS, MATRIX, ROOT, Document

BEAMS_SEED = json.loads((ROOT / "tests" / "fixtures" / "beams-device-api.json").read_text())
MATRIX_SEED = {
    "GET /pushers",
    "POST /pushers/set",
    "GET /channels",
    "GET /channels/{pushkey}",
    "POST /channels/{pushkey}",
}
Error = tuple[str, int, str, str]
"""Route, status, title, description."""


@pytest.mark.parametrize("document", [BEAMS, MATRIX], ids=lambda one: one.name)
def test_every_row_names_tests_that_exist(document: Document) -> None:
    assert [row for row in document.rows if not row.tests] == []
    assert document.missing == set()


def listed() -> Iterator[Error]:
    """The errors of the Device API that Beams' documents have, as they have them."""
    for row in BEAMS.rows:
        if row.section == "Errors of the Device API":
            title, description = row.codes("error")[0], row.codes("description")[0]
            for route in row.routes:
                yield route, int(row.cells["status"]), title, description


def test_every_error_that_beams_names_has_one_row() -> None:
    promised = Counter((route, *error) for route, found in BEAMS_SEED.items() for error in found)
    assert sum(promised.values()) == 117
    assert Counter(listed()) == promised


def test_every_error_of_beams_is_in_the_table_of_the_code_as_it_is_spelt() -> None:
    table = {tuple(row) for row in vars(errors).values() if isinstance(row, errors.Refusal)}
    incorrect = "Incorrect FCM token supplied."
    unknown = {tuple(error[1:]) for error in listed()} - table
    assert unknown == {(401, "Unauthorized", incorrect)}, "all but the one that SDKs need otherwise"
    assert (401, "InvalidToken", incorrect) in table


def test_every_endpoint_that_matrix_names_has_a_row() -> None:
    answered = {
        route for row in MATRIX.rows if row.cells.get("status") == "200" for route in row.routes
    }
    assert answered >= MATRIX_SEED
