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
def probe_in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that open some hundred logs: the checks run in this process (tests/storage)."""
    for module in ("opening", "verify"):
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
