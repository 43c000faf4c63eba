"""What became of each test of a run: whether others that are named somewhere passed in it.

A run may have several processes (pytest-xdist), so this is asked where their reports come
together, when all tests have run: the answer is reported, and counts, as one more test. A run that
has only some of those that are named skips it, and one that nobody asks it of says nothing.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Literal

import pytest

NODE_ID = "docs/rest.md::every_test_that_is_named_passed"


class Outcomes:
    """By `file::name`: parametrised tests are one, which passed if one of its cases did and none
    failed. `asked_in`: the file that a run must have for `named` to be looked at."""

    def __init__(self, named: Callable[[], Collection[str]], asked_in: str) -> None:
        self._named = named
        self._asked_in = asked_in
        self._collected: set[str] = set()
        self._of: defaultdict[str, set[str]] = defaultdict(set)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._collected.update(_without_case(item.nodeid) for item in session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Iterable[str]) -> None:
        self._collected.update(map(_without_case, ids))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Set-up and teardown can fail a test, or skip it, but not make it pass."""
        if report.when == "call" or report.outcome != "passed":
            self._of[_without_case(report.nodeid)].add(report.outcome)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Iterator[None]:
        done = yield
        if self._is_asked() and not session.config.option.collectonly:
            session.config.hook.pytest_runtest_logreport(report=self._answer())
        return done

    def _is_asked(self) -> bool:
        return any(name.startswith(f"{self._asked_in}::") for name in self._collected)

    def _answer(self) -> pytest.TestReport:
        named = set(self._named())
        if absent := named - self._collected:
            why = f"{len(absent)} of {len(named)} tests of docs/rest.md are not in this run"
            return _report("skipped", (__file__, 1, f"Skipped: {why}"))
        if unproven := sorted(name for name in named if not self._passed(name)):
            said = f"{len(unproven)} of {len(named)} tests of docs/rest.md did not pass:"
            return _report("failed", "\n".join([said, *unproven]))
        return _report("passed", None)

    def _passed(self, name: str) -> bool:
        found = self._of[name]
        return "passed" in found and "failed" not in found


def _without_case(nodeid: str) -> str:
    return nodeid.partition("[")[0]


def _report(
    outcome: Literal["passed", "failed", "skipped"], why: tuple[str, int, str] | str | None
) -> pytest.TestReport:
    file = NODE_ID.partition("::")[0]
    return pytest.TestReport(NODE_ID, (file, 0, NODE_ID), {}, outcome, why, "call")
