"""Tables of results: for a terminal, for RESULTS.md, and as JSON."""

from collections.abc import Sequence
from dataclasses import dataclass, field

Cell = str | int | float | None


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    columns: tuple[str, ...]
    rows: list[list[Cell]]
    notes: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Aligned columns."""
        cells = self._cells()
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join(map(str.rjust, row, widths)) for row in cells]
        return "\n".join([self.title, *lines, *self.notes])

    def markdown(self) -> str:
        head, *body = self._cells()
        rule = ["---:"] * len(self.columns)
        lines = [f"| {' | '.join(row)} |" for row in (head, rule, *body)]
        notes = [f"\n{note}" for note in self.notes]
        return "\n".join([f"### {self.title}", "", *lines, *notes])

    def _cells(self) -> list[Sequence[str]]:
        return [self.columns, *([shown(cell) for cell in row] for row in self.rows)]


@dataclass(frozen=True, slots=True)
class Result:
    """What one benchmark found, and under which conditions. `disk`: how fast it synced then."""

    name: str
    title: str
    command: str
    date: str
    scale: str
    seconds: float
    machine: dict[str, str]
    disk: list[str]
    tables: list[Table]
    caveats: str


def shown(cell: Cell) -> str:
    """Three significant digits; the rest would be noise."""
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return _rounded(cell)
    return f"{cell:,}" if isinstance(cell, int) else cell


def _rounded(value: float) -> str:
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
