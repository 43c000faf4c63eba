"""What is asked when a run has ended."""

from collections.abc import Generator

import pytest

from tests import met
from tests.documents import DOCUMENTS
from tests.outcomes import Outcomes


def pytest_configure(config: pytest.Config) -> None:
    for document in DOCUMENTS:
        met.wanted.update(document.to_meet)
        if not hasattr(config, "workerinput"):
            config.pluginmanager.register(Outcomes(document), document.name)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        report.user_properties += met.taken(item.nodeid)
    return report
