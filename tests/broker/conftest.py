"""A clock that tests set, and brokers that are opened with it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import broker
from broker.broker import Broker
from tests.storage.conftest import probe_here

START_MS = 1_700_000_000_000


class FakeClock:
    """A wall clock that stands still until it is told."""

    def __init__(self, ms: int = START_MS) -> None:
        self.ms = ms

    def __call__(self) -> int:
        return self.ms

    def advance(self, ms: int) -> None:
        self.ms += ms


@pytest.fixture
def child_probe() -> None:
    """Look at data files in a child process, as the product does."""


@pytest.fixture(autouse=True)
def _probe(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests open logs again some hundred times: the checks run in this process, as those of
    tests/storage, and not in one of their own, which would take a quarter of all the time."""
    if "child_probe" not in request.fixturenames:
        for module in ("opening", "verify", "copies"):
            monkeypatch.setattr(f"storage.{module}.probe", probe_here)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
async def opened(path: Path, clock: FakeClock) -> AsyncIterator[Broker]:
    """A broker on an empty directory; its clock stands still."""
    async with broker.open(path, clock=clock) as b:
        yield b
