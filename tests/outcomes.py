"""What became of each test of a run: whether others that are named somewhere passed in it.

A run may have several processes (pytest-xdist), so this is asked where their reports come
together, when all tests have run: the answer is reported, and counts, as one more test. A run that
has only some of those that are named skips it, and one that nobody asks it of says nothing. A
document may also be content with tests that were skipped; then this is skipped too.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Literal, Protocol

import pytest

from tests import met
from tests.met import Met, without_case

NAME = "every_test_that_is_named_passed"


class Asking(Protocol):
    """Who names tests; see tests.documents.Document."""

    @property
    def name(self) -> str: ...

    @property
    def asked_in(self) -> str: ...

    @property
    def may_skip(self) -> bool: ...

    @property
    def named(self) -> Collection[str]: ...

    def unmet(self, met: Mapping[str, Sequence[Met]]) -> list[str]: ...


class Outcomes:
    """By `file::name`: parametrised tests are one, which passed if one of its cases did and none
    failed, and met what any of its cases did."""

    def __init__(self, document: Asking) -> None:
        self._document = document
        self._collected: set[str] = set()
        self._met: defaultdict[str, list[Met]] = defaultdict(list)
        self._of: defaultdict[str, set[str]] = defaultdict(set)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._collected.update(without_case(item.nodeid) for item in session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Iterable[str]) -> None:
        self._collected.update(map(without_case, ids))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Set-up and teardown can fail a test, or skip it, but not make it pass."""
        test = without_case(report.nodeid)
        if report.when == "call" or report.outcome != "passed":
            self._of[test].add(report.outcome)
        for name, value in report.user_properties if report.when == "call" else ():
            if name == met.PROPERTY:
                self._met[test] += (Met(*one) for one in value)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Iterator[None]:
        done = yield
        if self._is_asked() and not session.config.option.collectonly:
            session.config.hook.pytest_runtest_logreport(report=self._answer())
        return done

    def _is_asked(self) -> bool:
        return any(name.startswith(f"{self._document.asked_in}::") for name in self._collected)

    def _answer(self) -> pytest.TestReport:
        named, document = set(self._document.named), self._document.name
        if absent := named - self._collected:
            return self._skipped(
                f"{len(absent)} of {len(named)} tests of {document} are not in this run"
            )
        unproven = sorted(name for name in named if not self._passed(name))
        if unproven and self._may_be_skipped(unproven):
            return self._skipped(
                f"{len(unproven)} of {len(named)} tests of {document} were skipped"
            )
        if unproven:
            said = f"{len(unproven)} of {len(named)} tests of {document} did not pass:"
            return self._report("failed", "\n".join([said, *unproven]))
        if unmet := self._document.unmet(self._met):
            said = f"{len(unmet)} rows of {document} name a test that did not meet them:"
            return self._report("failed", "\n".join([said, *unmet]))
        return self._report("passed", None)

    def _may_be_skipped(self, names: Iterable[str]) -> bool:
        return self._document.may_skip and all(self._of[name] == {"skipped"} for name in names)

    def _skipped(self, why: str) -> pytest.TestReport:
        return self._report("skipped", (__file__, 1, f"Skipped: {why}"))

    def _report(
        self,
        outcome: Literal["passed", "failed", "skipped"],
        why: tuple[str, int, str] | str | None,
    ) -> pytest.TestReport:
        file = self._document.name
        node_id = f"{file}::{NAME}"
        return pytest.TestReport(node_id, (file, 0, node_id), {}, outcome, why, "call")

    def _passed(self, name: str) -> bool:
        found = self._of[name]
        return "passed" in found and "failed" not in found
