"""A broker on an empty directory, with a namespace whose messages can change."""

import pytest

from broker import Broker
from tests.broker.interactions.editing import Editing


@pytest.fixture
async def m(opened: Broker) -> Editing:
    return await Editing(opened).prepare()
