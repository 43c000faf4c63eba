"""Time that stands still, and a scripted provider."""

import pytest

from tests.broker.acting import Time
from tests.broker.conftest import FakeClock
from tests.broker.push_outbox.gateway import Gateway


@pytest.fixture
def time(clock: FakeClock) -> Time:
    return Time(clock)


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()
