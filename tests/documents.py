"""Documents whose tables say of each row which test proves it.

In those of `docs/rest.md` a row is proven by a test that passed. Where a table has the columns
`route` and `status`, the test must also have met that: have asked that route, and been answered
with that status and the row's texts (tests/met.py).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from tests.met import Met

ROOT = Path(__file__).parents[1]
LAST_COLUMN = "test"
ROUTE = "route"
TEXTS = ("error", "description", "errcode")
_HEADING = re.compile(r"#+ (.*)")
_CELL_END = re.compile(r"(?<!\\)\|")
_TEST = re.compile(r"`(tests/[\w/]+\.py::test_\w+)`")
_VARIES = re.compile(r"\\\{\w+\\\}")


class Row(NamedTuple):
    """`cells`: by the name of their column, without the marks of code but in the last one."""

    section: str
    cells: dict[str, str]

    @property
    def key(self) -> str:
        return next(iter(self.cells.values()))

    @property
    def tests(self) -> list[str]:
        return _TEST.findall(self.cells[LAST_COLUMN])

    def is_met_by(self, met: Met) -> bool:
        method, _, path = self.cells[ROUTE].partition(" ")
        route = _VARIES.sub(".*", re.escape(path))
        said = [self.cells[name] for name in TEXTS if self.cells.get(name)]
        return (
            (met.method, str(met.status)) == (method, self.cells["status"])
            and re.fullmatch(route, met.path) is not None
            and all(text in met.said for text in said)
        )


class Document:
    """`asked_in`: the file of tests that a run must have for this document to be looked at."""

    def __init__(self, name: str, asked_in: str) -> None:
        self.name = name
        self.asked_in = asked_in

    @cached_property
    def rows(self) -> list[Row]:
        """Of every table whose last column is LAST_COLUMN."""
        path = ROOT / self.name
        return list(_rows(path.read_text().splitlines())) if path.exists() else []

    def keys(self, section: str) -> list[str]:
        return [row.key for row in self.rows if row.section == section]

    @property
    def named(self) -> set[str]:
        return {name for row in self.rows for name in row.tests}

    @property
    def to_meet(self) -> set[str]:
        """The tests that have to meet something."""
        return {name for row in self.rows if ROUTE in row.cells for name in row.tests}

    def unmet(self, met: Mapping[str, Sequence[Met]]) -> list[str]:
        """The rows that say what is to be met, and that none of their tests met. `met`: by test."""
        return [
            " | ".join(list(row.cells.values())[:-1])
            for row in self.rows
            if ROUTE in row.cells
            and not any(row.is_met_by(one) for name in row.tests for one in met.get(name, ()))
        ]


def _rows(lines: list[str]) -> Iterator[Row]:
    section, columns = "", list[str]()
    for line in lines:
        if heading := _HEADING.fullmatch(line):
            section = heading[1]
        if not line.startswith("|"):
            columns = []
            continue
        cells = [cell.strip() for cell in _CELL_END.split(line)[1:-1]]
        if cells[-1] == LAST_COLUMN:
            columns = cells
        elif columns and set(cells[0]) != {"-"}:
            plain = [cell.replace("`", "") for cell in cells[:-1]]
            yield Row(section, dict(zip(columns, [*plain, cells[-1]], strict=True)))


REST = Document("docs/rest.md", "tests/test_rest_docs.py")
BEAMS = Document("docs/beams.md", "tests/test_push_docs.py")
MATRIX = Document("docs/matrix.md", "tests/test_push_docs.py")
DOCUMENTS = (REST, BEAMS, MATRIX)
