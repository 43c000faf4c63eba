"""Fixtures for tests of programs on trio that have a broker: `pytest_plugins` names this module.

    tidelog_time      a clock that stands still; a test that asks for it is run by it
    tidelog_broker    a broker on an empty directory of the test, with that clock
    tidelog_server    that broker behind a loopback port, for SDKs and HTTP clients

Each test has its own. They need pytest and pytest-trio, which come with `tidelog[test]`. This is no
entry point: pytest would load it for every project beside which Tidelog is installed, and ours
would then be in the place of a package `api` of theirs.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

import pytest
import pytest_trio
import trio

import broker
from api.serving import serve_in
from api.settings import ServerSettings
from broker import Broker
from broker.virtual_time import VirtualTime

Fixture = TypeVar("Fixture", bound=Callable[..., object])
_trio_fixture = cast("Callable[[Fixture], Fixture]", pytest_trio.trio_fixture)


@dataclass(frozen=True)
class ServedBroker:
    """`key`: one that may do everything."""

    broker: Broker
    port: int
    key: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def tidelog_time() -> VirtualTime:
    """Ask for it in the test itself to have it run by this clock, and say what `passes`."""
    return VirtualTime()


@_trio_fixture
async def tidelog_broker(tmp_path: Path, tidelog_time: VirtualTime) -> AsyncIterator[Broker]:
    """Serials follow `tidelog_time` always, timers only in tests that ask for it."""
    async with broker.open(tmp_path / "tidelog", clock=tidelog_time.wall) as opened:
        yield opened


@_trio_fixture
async def tidelog_server(tidelog_broker: Broker) -> AsyncIterator[ServedBroker]:
    """Connections that the test leaves open are closed."""
    settings = ServerSettings(port=0, shutdown_grace_ms=0)
    key = tidelog_broker.apps.keys(tidelog_broker.default_app())[0].string
    async with trio.open_nursery() as nursery:
        server = await serve_in(nursery, tidelog_broker, settings)
        yield ServedBroker(tidelog_broker, server.port, key)
        nursery.cancel_scope.cancel()
