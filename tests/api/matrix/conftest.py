"""A server that may ask gateways on this machine, with channels, and clients of two users."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from api.push.settings import PushSettings
from api.push.transports import build_transports
from tests.api.matrix.asking import Asking, asking
from tests.api.matrix.bodies import CHANNELS
from tests.api.rest_server import RestServer, rest_server


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RestServer]:
    settings = PushSettings(allow_loopback_targets=True)
    async with (
        build_transports(settings, tmp_path) as transports,
        rest_server(
            tmp_path / "data", transports=transports, matrix_hosts=("Push.Example.org",)
        ) as running,
    ):
        await running.broker.matrix.set_channels(running.app, CHANNELS)
        yield running


@pytest.fixture
async def ann(server: RestServer) -> Asking:
    return asking(server, "@ann:example.org", await server.connect({}))


@pytest.fixture
async def bob(server: RestServer) -> Asking:
    return asking(server, "@bob:example.org", await server.connect({}))
