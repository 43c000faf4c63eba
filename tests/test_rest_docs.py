"""`docs/rest.md` has a row for everything that the seeds name, and each row a test.

The names of the seeds are in `tests/fixtures/seeds.json`. That those tests passed is said at the
end of a run that has this file (tests/outcomes.py).
"""

import json
import re
from collections import Counter

import pytest

from tests.api.declared import endpoints
from tests.documents import REST, ROOT

SEEDS = json.loads((ROOT / "tests" / "fixtures" / "seeds.json").read_text())
_VARIES = re.compile(r"\{\w+\}")


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
    listed = Counter(REST.keys(section))
    assert listed == Counter(NAMED[section])


def test_every_route_is_listed_and_every_route_that_is_listed_is_there() -> None:
    seeds = {row.key for row in REST.rows if row.section == "Endpoints"}
    beyond = REST.keys("Endpoints beyond them")
    listed = Counter(_VARIES.sub("{}", key) for key in [*seeds, *beyond])
    routes = [f"{one.method} {_VARIES.sub('{}', one.path)}" for one in endpoints().values()]
    assert listed == Counter(routes)


def test_every_row_names_a_test() -> None:
    unproven = [row for row in REST.rows if not row.tests]
    assert unproven == []


def test_every_test_that_is_named_exists() -> None:
    assert REST.missing == set()
