"""docs/errors.md has a row for every error of the sources, with its statuses, and no other."""

from collections import Counter
from collections.abc import Iterator

from api.beams import errors as beams
from api.matrix.errors import Why
from tests import raised_errors
from tests.documents import Document

ERRORS = Document("docs/errors.md", "tests/test_error_docs.py", last="what to do")


def rows(section: str) -> dict[str, set[int]]:
    """Statuses by code."""
    found = [row for row in ERRORS.rows if row.section == section]
    assert Counter(row.key for row in found).most_common(1)[0][1] == 1
    return {row.key: {int(one) for one in row.cells["status"].split(",")} for row in found}


def test_every_code_of_rest_and_realtime_has_one_row_with_its_statuses() -> None:
    raised = {str(code): found for code, found in raised_errors.statuses().items()}
    assert len(raised) > 40
    assert rows("REST and realtime") == raised


def refusals() -> Iterator[beams.Refusal]:
    yield from (one for one in vars(beams).values() if isinstance(one, beams.Refusal))
    yield beams.missing_from_body("{field}")
    yield beams.invalid_in_body("{field}")
    yield beams.unfit("{reason}")


def test_every_error_of_beams_has_one_row() -> None:
    listed = Counter(
        (int(row.cells["status"]), row.codes("error")[0], row.codes("description")[0])
        for row in ERRORS.rows
        if row.section == "Beams"
    )
    assert listed == Counter(tuple(refusal) for refusal in refusals())


def test_every_error_of_matrix_has_one_row_with_its_statuses() -> None:
    raised: dict[str, set[int]] = {}
    for why in Why:
        raised.setdefault(why.value.errcode, set()).add(why.value.status)
    assert rows("Matrix") == raised


def test_every_row_says_what_it_means_and_what_to_do() -> None:
    assert [row for row in ERRORS.rows if not all(row.cells.values())] == []
