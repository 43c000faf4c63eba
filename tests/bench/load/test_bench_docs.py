"""docs/bench.md names every workload, option, column, kind of violation and driver of ours."""

from pathlib import Path

from bench.load import contenders, tables
from bench.load.ledger import WORDS
from bench.load.options import HELP, flag
from bench.load.workloads import WORKLOADS

TEXT = (Path(__file__).parents[3] / "docs/bench.md").read_text()


def test_everything_is_named() -> None:
    drivers = [*contenders.AT_URL, *contenders.HERE]
    for name in (*WORKLOADS, *WORDS, *drivers, "absent", "ghost", "unanswered"):
        assert f"`{name}`" in TEXT, name
    for name in HELP:
        assert flag(name) in TEXT, name
    for column in tables.COLUMNS:
        assert column.removeprefix("generator ") in TEXT, column
