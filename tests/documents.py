"""Documents whose tables say of each row which test proves it.

A row is proven by tests that passed. Where a table has a column for routes, one of them must also
have met the row: have asked its route, and been answered with its status and texts (tests/met.py).
What a row has in marks of code is meant literally: of several texts in one cell of `error`, the
last is what is answered here, and the first what the API's own documents have.
"""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import NamedTuple

from tests.met import Met

ROOT = Path(__file__).parents[1]
MARKDOWN = tuple(
    str(file.relative_to(ROOT))
    for where in ("*.md", "docs/*.md", "storage/*.md")
    for file in sorted(ROOT.glob(where))
)
"""Every document that is written by hand or made by our commands."""
TEST, ROUTE, STATUS = "test", "route", "status"
_HEADING = re.compile(r"#+ (.*)")
_CELL_END = re.compile(r"(?<!\\)\|")
_CODE = re.compile(r"`([^`]+)`")
_NAMED = re.compile(r"tests/[\w/]+\.py::test_\w+")
_ROUTE = re.compile(r"([A-Z]+) (/\S*)")
_VARIES = re.compile(r"\\\{[\w,]+\\\}|…")
_CHOICE = re.compile(r"\{(\w+(?:,\w+)+)\}")


class Row(NamedTuple):
    section: str
    cells: dict[str, str]

    @property
    def key(self) -> str:
        """The first cell, without marks of code."""
        return next(iter(self.cells.values())).replace("`", "")

    def codes(self, column: str) -> list[str]:
        return _CODE.findall(self.cells.get(column, ""))

    @property
    def tests(self) -> list[str]:
        return [code for code in self.codes(TEST) if _NAMED.fullmatch(code)]

    @property
    def routes(self) -> list[str]:
        """Each of those that the row is about; none where it is about any."""
        if self.cells[ROUTE].startswith("any"):
            return []
        return [route for code in self.codes(ROUTE) for route in _chosen(code)]

    def unmet(self, met: Sequence[Met], bases: str) -> list[str]:
        """The routes that nothing met."""
        said = [*self.codes("error")[-1:], *self.codes("description")[:1], *self.codes("errcode")]
        found = [
            one
            for one in met
            if str(one.status) == self.cells[STATUS] and all(text in one.said for text in said)
        ]
        if not self.routes:
            return [] if found else ["any route"]
        return [
            route for route in self.routes if not any(_is_of(one, route, bases) for one in found)
        ]


def _chosen(route: str) -> list[str]:
    """`/a/{b,c}` is two routes."""
    literal, *rest = _CHOICE.split(route)
    choices = [choice.split(",") for choice in rest[::2]]
    return [
        literal + "".join(a + b for a, b in zip(chosen, rest[1::2], strict=True))
        for chosen in product(*choices)
    ]


def _is_of(met: Met, route: str, bases: str) -> bool:
    found = _ROUTE.fullmatch(route)
    assert found is not None, route
    path = _VARIES.sub(".*", re.escape(found[2]))
    return met.method == found[1] and re.fullmatch(f"(?:{bases}){path}/?", met.path) is not None


class Document:
    """`asked_in`: the file of tests that a run must have for this document to be looked at.
    `bases`: what its routes may stand below, as a regular expression. `last`: the last column of
    its tables, by which they are known. `may_skip`: its tests need tools that a machine may lack;
    where they have to be, the tests fail by themselves."""

    def __init__(
        self,
        name: str,
        asked_in: str,
        bases: str = "",
        *,
        last: str = TEST,
        may_skip: bool = False,
    ) -> None:
        self.name = name
        self.asked_in = asked_in
        self.bases = bases
        self.last = last
        self.may_skip = may_skip

    @cached_property
    def rows(self) -> list[Row]:
        """Of every table whose last column is `last`."""
        return list(_rows((ROOT / self.name).read_text().splitlines(), self.last))

    def keys(self, section: str) -> list[str]:
        return [row.key for row in self.rows if row.section == section]

    @property
    def named(self) -> set[str]:
        return {name for row in self.rows for name in row.tests}

    @property
    def missing(self) -> set[str]:
        """The tests that are named and no file has."""
        files = {name.partition("::")[0] for name in self.named}
        return self.named - {f"{path}::{name}" for path in files for name in _functions(path)}

    @property
    def to_meet(self) -> set[str]:
        """The tests that have to meet something."""
        return {name for row in self.rows if ROUTE in row.cells for name in row.tests}

    def unmet(self, met: Mapping[str, Sequence[Met]]) -> list[str]:
        """What rows say is to be met, and none of their tests met. `met`: by test."""
        return [
            f"{route}: {' | '.join(list(row.cells.values())[1:-1])}"
            for row in self.rows
            if ROUTE in row.cells
            for route in row.unmet([one for name in row.tests for one in met[name]], self.bases)
        ]


def _rows(lines: list[str], last: str) -> Iterator[Row]:
    section, columns = "", list[str]()
    for line in lines:
        if heading := _HEADING.fullmatch(line):
            section = heading[1]
        if not line.startswith("|"):
            columns = []
            continue
        cells = [cell.strip() for cell in _CELL_END.split(line)[1:-1]]
        if cells[-1] == last:
            columns = cells
        elif columns and set(cells[0]) != {"-"}:
            yield Row(section, dict(zip(columns, cells, strict=True)))


def _functions(path: str) -> list[str]:
    """The tests of a file, which need not be there."""
    file = ROOT / path
    body = ast.parse(file.read_text()).body if file.exists() else []
    return [one.name for one in body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]


_BEAMS = r"/(?:device|publish|customer|user|reporting)_api/v[12]/instances(?:/[^/]*)?"
REST = Document("docs/rest.md", "tests/test_rest_docs.py")
BEAMS = Document("docs/beams.md", "tests/test_push_docs.py", _BEAMS)
MATRIX = Document("docs/matrix.md", "tests/test_push_docs.py", "(?:/matrix)?")
GUARANTEES = Document("docs/guarantees.md", "tests/test_guarantees.py", may_skip=True)
DOCUMENTS = (REST, BEAMS, MATRIX, GUARANTEES)
