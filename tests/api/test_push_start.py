"""`tidelog serve` delivers what was accepted before only when whom it reaches can reach it too."""

import socket
from pathlib import Path

import pytest
import trio

import broker
from broker.push.events import Selector
from tests.api.command_line import serving, tidelog

LOOPBACK = ("--set", "push.allow_loopback_targets=true")
APPS = 100  # declared, so that much is to be done before it listens


async def _accept(data: Path, url: str) -> None:
    """A notification that no process has tried to deliver."""
    recipient = {"transportType": "webhook", "url": url, "secret": "s"}
    async with broker.open(data, hold_connections=False) as opened:
        selector = Selector(recipient=recipient)
        await opened.push.publish(opened.default_app(), selector, {"data": {"n": "1"}})


def test_nothing_is_delivered_before_it_listens(tmp_path: Path) -> None:
    declared = tmp_path / "tidelog.toml"
    apps = (f'[[apps]]\nid = "app{number}"\nname = "app"\n' for number in range(APPS))
    declared.write_text("".join(apps))
    with (
        socket.create_server(("127.0.0.1", 0)) as hook,
        socket.create_server(("127.0.0.1", 0)) as taken,
    ):
        hook.settimeout(0)
        trio.run(_accept, tmp_path / "data", f"http://127.0.0.1:{hook.getsockname()[1]}/hook")
        options = ("--data", tmp_path / "data", "--config", declared, *LOOPBACK)
        ended = tidelog("serve", *options, "--port", str(taken.getsockname()[1]))
        assert "Address already in use" in ended.err
        with pytest.raises(BlockingIOError):
            hook.accept()
        hook.settimeout(20)
        with serving(tmp_path / "data", "--config", declared, *LOOPBACK):
            came, _ = hook.accept()
            with came:
                came.settimeout(20)
                assert came.recv(5) == b"POST "
