"""How a run is spread over processes, and what is asked when it has ended."""

import logging
import os
import random
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from api.structured_logging import ScrubbedStream
from tests import met
from tests.documents import DOCUMENTS
from tests.outcomes import Outcomes

DEAREST_FIRST = ("crash", "conformance", "bench")
PROCESSES_MAX = 8  # of half a gigabyte each


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Directories, the whole of them above all, use every processor. Single files run in one
    process: another would cost them more than it saves."""
    paths = (Path(argument.partition("::")[0]) for argument in config.args)
    several = min(len(os.sched_getaffinity(0)), PROCESSES_MAX)
    return several if any(path.is_dir() for path in paths) else 0


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):  # tests that are called by what was drawn: by all the same
        random.seed(config.workerinput["testrunuid"])
    for document in DOCUMENTS:
        met.wanted.update(document.to_meet)
        if not hasattr(config, "workerinput"):
            config.pluginmanager.register(Outcomes(document), document.name)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Or one process might begin with a minute of tests when the other has nothing left."""
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    directory = item.nodeid.split("/")[1]
    return DEAREST_FIRST.index(directory) if directory in DEAREST_FIRST else len(DEAREST_FIRST)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """What a test makes of the root logger, by a command in this process for one, is over with it:
    or the next would not see what it waits for."""
    root = logging.getLogger()
    level = root.level
    try:
        return (yield)
    finally:
        root.setLevel(level)
        for handler in root.handlers[:]:
            if isinstance(handler, ScrubbedStream):
                root.removeHandler(handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        report.user_properties += met.taken(item.nodeid)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """A report goes from one process to another as UTF-8, whatever the test printed."""
    report = yield
    return _encodable(report)


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_encodable(key): _encodable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return list(map(_encodable, value))
    if isinstance(value, tuple):
        return tuple(map(_encodable, value))
    return value
