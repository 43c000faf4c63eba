"""A server with channels, known by a host of the API's own, and clients of two users."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.matrix.asking import Asking, asking
from tests.api.matrix.bodies import CHANNELS
from tests.api.rest_server import RestServer, rest_server


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RestServer]:
    limits: Any = {"matrix_hosts": ("Push.Example.org",), "matrix_requests_max": 0}
    async with rest_server(tmp_path / "data", **limits) as running:
        await running.broker.matrix.set_channels(running.app, CHANNELS)
        yield running


@pytest.fixture
async def ann(server: RestServer) -> Asking:
    return asking(server, "@ann:example.org", await server.connect({}))


@pytest.fixture
async def bob(server: RestServer) -> Asking:
    return asking(server, "@bob:example.org", await server.connect({}))
