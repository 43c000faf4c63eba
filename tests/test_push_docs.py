"""`docs/beams.md` and `docs/matrix.md` have a row for every endpoint and every error of the seeds,
and each row a test.

The errors of Beams' documents are in `tests/fixtures/beams-*.json`: by route, the status, title and
description of each. That the tests passed, and met the route and the answer of their rows, is said
at the end of a run that has this file (tests/outcomes.py).
"""

import json
from collections import Counter
from collections.abc import Iterator

import pytest

from api.beams import errors
from tests.documents import BEAMS, MATRIX, ROOT, Document

FIXTURES = ROOT / "tests" / "fixtures"
MATRIX_SEED = {
    "GET /pushers",
    "POST /pushers/set",
    "GET /channels",
    "GET /channels/{pushkey}",
    "POST /channels/{pushkey}",
}
REPORTED = ("event", "publishId", "deviceId", "timestampSecs")
Error = tuple[str, int, str, str]
"""Route, status, title, description."""


@pytest.mark.parametrize("document", [BEAMS, MATRIX], ids=lambda one: one.name)
def test_every_row_names_tests_that_exist(document: Document) -> None:
    assert [row for row in document.rows if not row.tests] == []
    assert document.missing == set()


def promised(api: str) -> Counter[Error]:
    by_route = json.loads((FIXTURES / f"{api}.json").read_text())
    return Counter((route, *error) for route, found in by_route.items() for error in found)


def listed(section: str) -> Iterator[Error]:
    """The errors of a section, as Beams' documents have them."""
    for row in BEAMS.rows:
        if row.section == section and row.codes("description"):
            title, description = row.codes("error")[0], row.codes("description")[0]
            for route in row.routes:
                yield route, int(row.cells["status"]), title, description


def test_every_error_of_the_device_api_has_one_row() -> None:
    assert promised("beams-device-api").total() == 117
    assert Counter(listed("Errors of the Device API")) == promised("beams-device-api")


def test_every_error_of_the_other_apis_has_one_row() -> None:
    """Beams' documents, and a few beyond them."""
    found = Counter(listed("Errors of publishing, deleting users and reporting"))
    assert promised("beams-server-apis").total() == 35
    assert promised("beams-server-apis") - found == Counter()
    assert max(found.values()) == 1


def test_every_error_of_beams_is_in_the_table_of_the_code_as_it_is_spelt() -> None:
    table = {tuple(row) for row in vars(errors).values() if isinstance(row, errors.Refusal)}
    table |= {tuple(errors.missing_from_body(field)) for field in REPORTED}
    incorrect = "Incorrect FCM token supplied."
    every = promised("beams-device-api") + promised("beams-server-apis")
    unknown = {error[1:] for error in every} - table
    assert unknown == {(401, "Unauthorized", incorrect)}, "all but the one that SDKs need otherwise"
    assert (401, "InvalidToken", incorrect) in table


def test_every_endpoint_that_matrix_names_has_a_row() -> None:
    answered = {
        route for row in MATRIX.rows if row.cells.get("status") == "200" for route in row.routes
    }
    assert answered >= MATRIX_SEED
