"""Servers and data directories that tests ask for.

A test during which the server logged an error fails, unless it says which logger may. The servers
of `tests.api.served` watch for themselves.
"""

import logging
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.api.command_line import Ended, Serving, inside, serving, tidelog
from tests.api.rest_server import RestServer, rest_server


class _Errors(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def may_log() -> set[str]:
    """Names of loggers that may log errors during this test: add to it."""
    return set()


@pytest.fixture(autouse=True)
def _no_errors_are_logged(request: pytest.FixtureRequest, may_log: set[str]) -> Iterator[None]:
    errors = _Errors()
    logging.getLogger().addHandler(errors)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(errors)
    if hasattr(request.module, "serving"):
        return
    unexpected = [r for r in errors.records if r.name not in may_log]
    assert [(r.name, r.getMessage(), r.exc_text) for r in unexpected] == []


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RestServer]:
    """A broker on an empty directory behind the real listener, on a loopback port."""
    async with rest_server(tmp_path / "data") as running:
        yield running


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, pristine: Path) -> Iterator[Serving]:
    """A process that serves a copy of the data directory that a module calls `pristine`."""
    data = tmp_path_factory.mktemp("running") / "data"
    shutil.copytree(pristine, data)
    with serving(data) as process:
        yield process


@pytest.fixture
def alone(pristine: Path, tmp_path: Path) -> Path:
    """A copy of it that no process serves."""
    shutil.copytree(pristine, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture(params=["running", "alone"])
def data(request: pytest.FixtureRequest) -> Path:
    """A command must do the same on either."""
    if request.param == "running":
        process: Serving = request.getfixturevalue("running")
        return process.data
    found: Path = request.getfixturevalue("alone")
    return found


@pytest.fixture
def how(request: pytest.FixtureRequest, data: Path) -> Callable[..., Ended]:
    """Runs a command on `data`."""
    return tidelog if "running" in request.node.name else inside
