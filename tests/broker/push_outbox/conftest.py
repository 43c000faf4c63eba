"""Time that stands still, and a scripted provider."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.broker.acting import Time
from tests.broker.conftest import FakeClock
from tests.broker.push_outbox.delivering import Delivering, delivering
from tests.broker.push_outbox.gateway import Gateway


@pytest.fixture
def time(clock: FakeClock) -> Time:
    return Time(clock)


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


@pytest.fixture
async def outbox(path: Path, time: Time, gateway: Gateway) -> AsyncIterator[Delivering]:
    async with delivering(path, time, gateway) as opened:
        yield opened
