"""docs/guarantees.md says of each guarantee how far it goes, and names tests that exist.

That those tests passed is said at the end of a run that has this file (tests/outcomes.py).
"""

from tests.documents import GUARANTEES


def test_every_guarantee_names_a_test() -> None:
    assert len(GUARANTEES.rows) > 30
    assert [row.key for row in GUARANTEES.rows if not row.tests] == []


def test_every_test_that_is_named_exists() -> None:
    assert GUARANTEES.missing == set()


def test_no_guarantee_is_given_twice() -> None:
    keys = [row.key for row in GUARANTEES.rows]
    assert sorted(set(keys)) == sorted(keys)
