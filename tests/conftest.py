"""What became of each test of a run, for tests that ask whether others proved something.

Such a test takes `outcomes` and comes last, so that all others have run by then. It has to ask
first whether they were part of the run at all.
"""

from collections import defaultdict

import pytest

PLUGIN = "outcomes"


class Outcomes:
    """By `file::name`: parametrised tests are one, which passed if one of its cases did and none
    failed."""

    def __init__(self) -> None:
        self.collected: frozenset[str] = frozenset()
        self._of: defaultdict[str, set[str]] = defaultdict(set)

    @pytest.hookimpl(trylast=True)  # behind whatever deselects
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: PLUGIN in getattr(item, "fixturenames", ()))
        self.collected = frozenset(_without_case(item.nodeid) for item in items)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Set-up and teardown can fail a test, or skip it, but not make it pass."""
        if report.when == "call" or report.outcome != "passed":
            self._of[_without_case(report.nodeid)].add(report.outcome)

    def passed(self, name: str) -> bool:
        found = self._of.get(name, set())
        return "passed" in found and "failed" not in found


def _without_case(nodeid: str) -> str:
    return nodeid.partition("[")[0]


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Outcomes(), PLUGIN)


@pytest.fixture(scope="session")
def outcomes(request: pytest.FixtureRequest) -> Outcomes:
    plugin = request.config.pluginmanager.get_plugin(PLUGIN)
    assert isinstance(plugin, Outcomes)
    return plugin
