"""`docs/beams.md` has a row for every error that Beams' documents name of publishing, deleting
users and reporting; that its rows are proven is looked at in test_beams_docs.

The names of the documents are in `tests/fixtures/beams-server-apis.json`, as those of devices.
"""

import json
import re
from collections import Counter

from tests.proven import ROOT, rows_of

from api.beams import errors

SEED = json.loads((ROOT / "tests" / "fixtures" / "beams-server-apis.json").read_text())
ERRORS = "Errors of publishing, deleting users and reporting"
_CODE = re.compile(r"`([^`]+)`")
PROMISED = Counter((route, *error) for route, found in SEED.items() for error in found)


def test_every_error_that_the_documents_name_has_one_row() -> None:
    assert sum(PROMISED.values()) == 35
    rows = [row for row in rows_of(ROOT / "docs" / "beams.md") if row.section == ERRORS]
    listed = Counter(
        (row.key, int(row.cells[1]), *(found[0] for found in map(_CODE.findall, row.cells[2:4])))
        for row in rows
        if row.key in SEED and _CODE.match(row.cells[3])
    )
    assert PROMISED - listed == Counter()
    assert max(listed.values()) == 1


def test_every_error_is_in_the_table_of_the_code_as_it_is_spelt() -> None:
    table = {tuple(row) for row in vars(errors).values() if isinstance(row, errors.Refusal)}
    of_fields = {
        tuple(errors.missing_from_body(field))
        for field in ("event", "publishId", "deviceId", "timestampSecs")
    }
    assert {error[1:] for error in PROMISED} <= table | of_fields
