"""What tests were answered: kept while a test runs, and told with its report, for those that
documents name (tests/documents.py)."""

import os
from collections import defaultdict
from typing import NamedTuple

SAID_MAX = 1_000
PROPERTY = "met"


class Met(NamedTuple):
    """`path`: as it was sent, without its query. `said`: the beginning of the answer's body."""

    method: str
    path: str
    status: int
    said: str


wanted: set[str] = set()
"""The tests of which it is kept."""
_met: defaultdict[str, set[Met]] = defaultdict(set)


def without_case(nodeid: str) -> str:
    return nodeid.partition("[")[0]


def _running() -> str:
    return without_case(os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0])


def is_wanted() -> bool:
    return _running() in wanted


def note(met: Met) -> None:
    """That the test which runs was answered so."""
    _met[_running()].add(met)


def taken(nodeid: str) -> list[tuple[str, object]]:
    """What a test was answered, as properties of its report; once."""
    met = _met.pop(without_case(nodeid), None)
    return [(PROPERTY, sorted(tuple(one) for one in met))] if met else []
