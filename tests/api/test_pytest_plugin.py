"""The fixtures that others' tests get: a project with tests, run by a pytest of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio

import broker
from broker import BrokerSettings
from broker.virtual_time import VirtualTime
from tests.documents import ROOT

HOUR_S = 3600
TESTS = """
import httpx
import pytest
import trio

pytestmark = pytest.mark.trio


async def test_a_broker(tidelog_broker):
    await tidelog_broker.channel("c").publish("n", "d")
    assert len((await tidelog_broker.channel("c").history()).messages) == 1


async def test_another_is_empty(tidelog_broker, tidelog_time):
    assert (await tidelog_broker.channel("c").history()).messages == ()
    before = tidelog_broker.now()
    await tidelog_time.passes(3600)
    assert 3_599_990 < tidelog_broker.now() - before < 3_600_010


async def test_what_is_old_goes(tidelog_broker, tidelog_time):
    channel = tidelog_broker.channel("c")
    await channel.publish("old")
    await tidelog_time.passes(73 * 3600)
    await channel.publish("new")
    await tidelog_broker.sweep()
    assert [m.name for m in (await channel.history()).messages] == ["new"]


async def test_timers_go_by_it(tidelog_time):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep, 86400)
        await tidelog_time.passes(86400)


async def test_a_server(tidelog_server):
    async with httpx.AsyncClient(auth=tuple(tidelog_server.key.split(":"))) as http:
        url = f"{tidelog_server.url}/channels/c/messages"
        assert (await http.post(url, json={"name": "n"})).status_code == 201
    assert (await tidelog_server.broker.channel("c").history()).messages[0].name == "n"


async def test_a_connection_that_is_left_open(tidelog_server):
    await trio.open_tcp_stream("127.0.0.1", tidelog_server.port)


async def test_that_fails(tidelog_server):
    assert tidelog_server.port == 0
"""


def test_a_project_s_tests_have_a_broker_a_server_and_their_time(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["api.pytest_plugin"]\n')
    (tmp_path / "test_mine.py").write_text(TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:schemathesis", "test_mine.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines()[-1].startswith("1 failed, 6 passed"), done.stdout
    assert "FAILED test_mine.py::test_that_fails" in done.stdout


def test_hours_pass_at_once_and_old_messages_go(tmp_path: Path) -> None:
    """The broker's own housekeeping, by its own timer."""
    time = VirtualTime()
    settings = BrokerSettings(message_retention_ms=HOUR_S * 1000)

    async def main() -> None:
        async with broker.open(tmp_path / "d", clock=time.wall, settings=settings) as b:
            await b.channel("c").publish("old")
            await time.passes(2 * HOUR_S)
            while (await b.channel("c").history()).messages:
                await trio.lowlevel.checkpoint()
            with pytest.raises(ValueError, match="back"):
                await time.passes(-1)

    trio.run(main, clock=time)
