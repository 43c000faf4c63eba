"""`docs/rest.md` has a row for everything that the seeds name, and each row a test that passed.

The names of the seeds are in `tests/fixtures/seeds.json`.
"""

import json
import re
from collections import Counter
from functools import cache

import pytest

from tests.api.declared import endpoints
from tests.conftest import Outcomes
from tests.proven import ROOT, Row, missing, named, rows_of, unproven

SEEDS = json.loads((ROOT / "tests" / "fixtures" / "seeds.json").read_text())
_VARIES = re.compile(r"\{\w+\}")


@cache
def rows() -> list[Row]:
    return rows_of(ROOT / "docs" / "rest.md")


def keys(section: str) -> list[str]:
    return [row.key for row in rows() if row.section == section]


def parameters() -> set[str]:
    """What varies in paths, once; what is in a query, or in a body that has no name, by route.
    `format` is a control."""
    found = set()
    for call in SEEDS["calls"]:
        fields = call["in_body"] if isinstance(call["in_body"], list) else []
        names = {*call["in_query"], *fields} - {"format"}
        found |= {f"{{{name}}}" for name in call["in_path"]}
        found |= {f"{call['method']} {call['path']} {name}" for name in names}
    return found


NAMED = {
    "Endpoints": {f"{call['method']} {call['path']}" for call in SEEDS["calls"]},
    "Schemas": {
        f"{schema}.{field}" for schema, fields in SEEDS["schemas"].items() for field in fields
    },
    "Parameters": parameters(),
    "Controls": set(SEEDS["controls"]),
    "Calls of the generated SDK": {call["call"] for call in SEEDS["calls"]},
}


@pytest.mark.parametrize("section", NAMED)
def test_everything_that_the_seeds_name_has_one_row(section: str) -> None:
    listed = Counter(keys(section))
    assert listed == Counter(NAMED[section])


def test_every_route_is_listed_and_every_route_that_is_listed_is_there() -> None:
    seeds = {row.key for row in rows() if row.section == "Endpoints"}
    beyond = keys("Endpoints beyond them")
    listed = Counter(_VARIES.sub("{}", key) for key in [*seeds, *beyond])
    routes = [f"{one.method} {_VARIES.sub('{}', one.path)}" for one in endpoints().values()]
    assert listed == Counter(routes)


def test_every_row_names_a_test() -> None:
    assert [row for row in rows() if not row.tests] == []


def test_every_test_that_is_named_exists() -> None:
    assert missing(named(rows())) == set()


def test_every_test_that_is_named_passed(outcomes: Outcomes) -> None:
    """Runs last (tests/conftest.py)."""
    assert unproven(named(rows()), outcomes) == set()
