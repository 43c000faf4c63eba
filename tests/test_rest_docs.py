"""`docs/rest.md` has a row for everything that the seeds name, and each row a test that passed.

The names of the seeds are in `tests/fixtures/seeds.json`. A row of what is about push may say so
(`push`) in place of a test, for as long as there are no such routes.
"""

import ast
import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.api.declared import endpoints
from tests.conftest import Outcomes

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "rest.md"
SEEDS = json.loads((ROOT / "tests" / "fixtures" / "seeds.json").read_text())
PUSH = "push"
LAST_COLUMN = "test"
_HEADING = re.compile(r"#+ (.*)")
_CELL_END = re.compile(r"(?<!\\)\|")
_TEST = re.compile(r"`(tests/[\w/]+\.py::test_\w+)`")
_OF_PUSH = re.compile(r"\w* ?/push/|push\.|DeviceDetails\.|Recipient\.|\{device_id\}$")
_VARIES = re.compile(r"\{\w+\}")


class Row(NamedTuple):
    """`key`: the first cell, without the marks of code; `proof`: the last one."""

    section: str
    key: str
    proof: str

    @property
    def tests(self) -> list[str]:
        return _TEST.findall(self.proof)


@cache
def rows() -> list[Row]:
    """Of every table whose last column is called so."""
    return list(_rows(DOCUMENT.read_text().splitlines()))


def _rows(lines: list[str]) -> Iterator[Row]:
    section, is_table = "", False
    for line in lines:
        if heading := _HEADING.fullmatch(line):
            section = heading[1]
        if not line.startswith("|"):
            is_table = False
            continue
        first, *_, last = (cell.strip() for cell in _CELL_END.split(line)[1:-1])
        if last == LAST_COLUMN:
            is_table = True
        elif is_table and set(first) != {"-"}:
            yield Row(section, first.replace("`", ""), last)


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
    seeds = {row.key for row in rows() if row.section == "Endpoints" and row.proof != PUSH}
    beyond = keys("Endpoints beyond them")
    listed = Counter(_VARIES.sub("{}", key) for key in [*seeds, *beyond])
    routes = [f"{one.method} {_VARIES.sub('{}', one.path)}" for one in endpoints().values()]
    assert listed == Counter(routes)


def test_every_row_names_a_test() -> None:
    unproven = [row for row in rows() if not row.tests and row.proof != PUSH]
    assert unproven == []
    assert [row for row in rows() if row.proof == PUSH and not _OF_PUSH.match(row.key)] == []


def test_every_test_that_is_named_exists() -> None:
    there = {f"{path}::{name}" for path in files() for name in functions(path)}
    assert named() - there == set()


def named() -> set[str]:
    return {name for row in rows() for name in row.tests}


def files() -> set[str]:
    return {name.partition("::")[0] for name in named()}


def functions(path: str) -> list[str]:
    """The tests of a file, which need not be there."""
    file = ROOT / path
    body = ast.parse(file.read_text()).body if file.exists() else []
    return [one.name for one in body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_every_test_that_is_named_passed(outcomes: Outcomes) -> None:
    """Runs last (tests/conftest.py)."""
    if absent := named() - outcomes.collected:
        pytest.skip(f"{len(absent)} of {len(named())} tests of docs/rest.md are not in this run")
    assert {name for name in named() if not outcomes.passed(name)} == set()
