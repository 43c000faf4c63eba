"""The parent of two workers: what it passes on to them, and what happens when somebody ends."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trio

from api.config import ConfigError, load
from api.workers import supervisor
from api.workers.control import Plan
from api.workers.supervisor import PAUSE_S_MAX, STEADY_S
from tests.api.workers.worker_processes import POLL_S, STUCK_S, Workers
from tests.conformance.serving import KEY

LATER = "conform.later:a-secret-of-forty-characters-0123456789"
DECLARED = f'[[keys]]\nkey = "{LATER}"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "tidelog.toml"
    file.write_text("")
    return file


@pytest.fixture
def workers(tmp_path: Path, file: Path) -> Iterator[Workers]:
    served = Workers(tmp_path / "data", options=("--config", str(file)))
    served.start()
    yield served
    served.stop()


async def get(workers: Workers, path: str, key: str = KEY) -> httpx.Response:
    name, _, secret = key.partition(":")
    url = f"http://localhost:{workers.port}"
    async with httpx.AsyncClient(base_url=url, auth=(name, secret), timeout=STUCK_S) as client:
        return await client.get(path)


async def until_gone(pids: list[int]) -> None:
    with trio.fail_after(STUCK_S):
        while any(Path(f"/proc/{pid}/stat").exists() for pid in pids):
            await trio.sleep(POLL_S)


async def test_who_ends_is_started_again(workers: Workers, file: Path) -> None:
    """A follower alone; everybody with the leader; and nobody outlives the supervisor, whose place
    another one takes at once. What was declared meanwhile is known everywhere after SIGHUP."""
    leader, follower = await workers.all_there()
    os.kill(follower, signal.SIGKILL)
    again = await workers.all_there(gone=follower)
    assert again[0] == leader
    os.kill(leader, signal.SIGKILL)
    others = await workers.all_there(gone=leader)
    assert not {leader, *again} & set(others)
    assert (await get(workers, "/channels/c/messages")).status_code == 200

    assert (await get(workers, "/channels/c/messages", LATER)).status_code == 401
    file.write_text(DECLARED)
    os.kill(workers.supervisor, signal.SIGHUP)
    with trio.fail_after(STUCK_S):
        while (await get(workers, "/channels/c/messages", LATER)).status_code != 200:
            await trio.sleep(POLL_S)

    await trio.to_thread.run_sync(workers.kill)
    await trio.to_thread.run_sync(workers.start)
    await until_gone(others)
    assert (await get(workers, "/channels/c/messages", LATER)).status_code == 200


def test_pauses_grow_and_are_bounded_and_who_ran_for_long_has_none() -> None:
    pause_s, pauses = 0.1, []
    for _ in range(10):
        pause_s = supervisor._next_pause(pause_s, 0.0)
        pauses.append(pause_s)
    assert pauses == sorted(pauses)
    assert pauses[-1] == PAUSE_S_MAX
    assert supervisor._next_pause(pause_s, STEADY_S + 1) < pauses[0]


def test_ports_for_metrics_are_bounded() -> None:
    flags: dict[str, str | bool] = {"server.workers": "3", "server.metrics_port": "65534"}
    plan = Plan(number=0, file=None, flags=flags, key=None, accept_loss=False, is_new=False)
    with pytest.raises(ConfigError, match="metrics_port"):
        supervisor.run(load(flags=flags), plan)


@pytest.mark.parametrize("count", ["0", "65", "two"])
def test_so_many_workers_are_refused(count: str) -> None:
    with pytest.raises(ConfigError, match=r"server\.workers"):
        load(flags={"server.workers": count})
