"""The tables of `docs/rest.md` whose last column says which test proves the row."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

DOCUMENT = Path(__file__).parents[1] / "docs" / "rest.md"
LAST_COLUMN = "test"
_HEADING = re.compile(r"#+ (.*)")
_CELL_END = re.compile(r"(?<!\\)\|")
_TEST = re.compile(r"`(tests/[\w/]+\.py::test_\w+)`")


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


def named() -> set[str]:
    return {name for row in rows() for name in row.tests}
