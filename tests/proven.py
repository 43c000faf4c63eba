"""Tables of documents that name tests as proof: their rows, and whether those tests are there.

A table is one of these if its last column is called so.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import Outcomes

ROOT = Path(__file__).parents[1]
LAST_COLUMN = "test"
_HEADING = re.compile(r"#+ (.*)")
_CELL_END = re.compile(r"(?<!\\)\|")
_TEST = re.compile(r"`(tests/[\w/]+\.py::test_\w+)`")


class Row(NamedTuple):
    """`key`: the first cell, without the marks of code; `proof`: the last one."""

    section: str
    cells: tuple[str, ...]

    @property
    def key(self) -> str:
        return self.cells[0].replace("`", "")

    @property
    def proof(self) -> str:
        return self.cells[-1]

    @property
    def tests(self) -> list[str]:
        return _TEST.findall(self.proof)


def rows_of(document: Path) -> list[Row]:
    return list(_rows(document.read_text().splitlines()))


def _rows(lines: list[str]) -> Iterator[Row]:
    section, is_table = "", False
    for line in lines:
        if heading := _HEADING.fullmatch(line):
            section = heading[1]
        if not line.startswith("|"):
            is_table = False
            continue
        cells = tuple(cell.strip() for cell in _CELL_END.split(line)[1:-1])
        if cells[-1] == LAST_COLUMN:
            is_table = True
        elif is_table and set(cells[0]) != {"-"}:
            yield Row(section, cells)


def named(rows: Iterable[Row]) -> set[str]:
    return {name for row in rows for name in row.tests}


def missing(names: set[str]) -> set[str]:
    """Those that no file has."""
    paths = {name.partition("::")[0] for name in names}
    return names - {f"{path}::{name}" for path in paths for name in _functions(path)}


def _functions(path: str) -> list[str]:
    """The tests of a file, which need not be there."""
    file = ROOT / path
    body = ast.parse(file.read_text()).body if file.exists() else []
    return [one.name for one in body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]


def unproven(names: set[str], outcomes: Outcomes) -> set[str]:
    """Those that did not pass. Skips where they were not all in the run."""
    if absent := names - outcomes.collected:
        pytest.skip(f"{len(absent)} of {len(names)} tests that are named are not in this run")
    return {name for name in names if not outcomes.passed(name)}
