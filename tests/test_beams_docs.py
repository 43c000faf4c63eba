"""`docs/beams.md` has a row for every error that Beams' documents name, and each row a test that
passed.

The names of the documents are in `tests/fixtures/beams-device-api.json`: by route, the status,
title and description of each error.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache

from api.beams import errors
from tests.conftest import Outcomes
from tests.proven import ROOT, Row, missing, named, rows_of, unproven

SEED = json.loads((ROOT / "tests" / "fixtures" / "beams-device-api.json").read_text())
ERRORS = "Errors of the Device API"
_PLATFORMS = re.compile(r"\{([a-z]+(?:,[a-z]+)+)\}")
_CODE = re.compile(r"`([^`]+)`")
Error = tuple[str, int, str, str]
"""Route, status, title, description."""


@cache
def rows() -> list[Row]:
    return rows_of(ROOT / "docs" / "beams.md")


def listed() -> Iterator[Error]:
    """The errors of the documents' routes. A row may be of several platforms: `{apns,fcm}`."""
    for row in rows():
        if row.section == ERRORS:
            _, status, title, description, _ = row.cells
            error = (int(status), *(_CODE.findall(cell)[0] for cell in (title, description)))
            for platform in _platforms(row.key):
                yield _PLATFORMS.sub(platform, row.key), *error


def _platforms(route: str) -> list[str]:
    found = _PLATFORMS.search(route)
    return found[1].split(",") if found else [""]


def test_every_error_that_the_documents_name_has_one_row() -> None:
    promised = Counter((route, *error) for route, found in SEED.items() for error in found)
    assert sum(promised.values()) == 117
    assert Counter(listed()) == promised


def test_every_error_is_in_the_table_of_the_code_as_it_is_spelt() -> None:
    table = {tuple(row) for row in vars(errors).values() if isinstance(row, errors.Refusal)}
    incorrect = "Incorrect FCM token supplied."
    unknown = {tuple(error[1:]) for error in listed()} - table
    assert unknown == {(401, "Unauthorized", incorrect)}, "all but the one that SDKs need otherwise"
    assert (401, "InvalidToken", incorrect) in table


def test_every_row_names_a_test() -> None:
    assert [row for row in rows() if not row.tests] == []


def test_every_test_that_is_named_exists() -> None:
    assert missing(named(rows())) == set()


def test_every_test_that_is_named_passed(outcomes: Outcomes) -> None:
    """Runs last (tests/conftest.py)."""
    assert unproven(named(rows()), outcomes) == set()
