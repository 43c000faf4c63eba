"""A server with an instance of Beams, whose platforms are all configured; and a clock."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api.beams.beams_server import BeamsServer, beams_server, every_platform
from tests.api.push import rig
from tests.api.push.rig import Keys
from tests.broker.acting import Time
from tests.broker.conftest import FakeClock


@pytest.fixture(scope="session")
def keys() -> Keys:
    return rig.kept_keys()


@pytest.fixture
def time() -> Time:
    return Time(FakeClock())


@pytest.fixture
async def beams(tmp_path: Path, keys: Keys) -> AsyncIterator[BeamsServer]:
    async with beams_server(tmp_path, every_platform(tmp_path, keys)) as running:
        yield running
