"""SIGHUP: what holds from then on, what wants a restart, and what changes nothing."""

import json
import logging
import signal
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

import broker
from api import config
from api.config import Configuration
from api.realtime.protocol import Action
from api.reconciling import reconcile
from api.reloading import Reloader
from broker import BadRequest, Broker, NotFound
from broker.tenancy import Limits
from tests.api.command_line import READY, WITHIN_S, command, environment
from tests.api.realtime_server import realtime_server

KEY = "shop.web:hush-hush"
DECLARED = f'[[apps]]\nid = "shop"\n[[keys]]\nkey = "{KEY}"\n'
MANY = [{"data": "x"}] * 1_000  # more than is allowed in a quarter of an hour, at one a second


class Certified:
    """A certificate where the configuration says that it is."""

    def __init__(self, directory: Path) -> None:
        self.cert, self.key = directory / "cert.pem", directory / "key.pem"
        self.authority = trustme.CA()

    def write(self) -> ssl.SSLContext:
        """A new one; returns what trusts it."""
        self.authority = trustme.CA()
        leaf = self.authority.issue_cert("127.0.0.1")
        leaf.cert_chain_pems[0].write_to_path(str(self.cert))
        leaf.private_key_pem.write_to_path(str(self.key))
        trust = ssl.create_default_context()
        self.authority.configure_trust(trust)
        return trust

    @property
    def settings(self) -> str:
        return f'tls_cert = "{self.cert}"\ntls_key = "{self.key}"\n'


class Running:
    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        assert process.stdout is not None
        told = (READY.search(line) for line in process.stdout)
        self.port = next(int(found[3]) for found in told if found)

    def reload(self, last: str) -> list[tuple[str, str]]:
        """What it says until a line that begins so."""
        self._process.send_signal(signal.SIGHUP)
        assert self._process.stderr is not None
        said: list[tuple[str, str]] = []
        for line in self._process.stderr:
            parsed = json.loads(line)
            said.append((parsed["level"], parsed["message"]))
            if parsed["message"].startswith(last):
                return said
        raise AssertionError(f"it ended: {said}")

    def publish(self, trust: ssl.SSLContext, messages: Any) -> httpx.Response:
        user, _, password = KEY.partition(":")
        url = f"https://127.0.0.1:{self.port}/channels/c/messages"
        return httpx.post(url, json=messages, auth=(user, password), verify=trust, timeout=WITHIN_S)


@contextmanager
def running(data: Path, file: Path) -> Iterator[Running]:
    line = command("serve", "--port", "0", "--data", data, "--config", file)
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        try:
            yield Running(process)
            process.terminate()
            assert process.wait(WITHIN_S) == 0
        finally:
            process.kill()


def test_a_process_reads_its_configuration_again(tmp_path: Path) -> None:
    file, certified = tmp_path / "tidelog.toml", Certified(tmp_path)
    old = certified.write()
    file.write_text(certified.settings + DECLARED)
    with running(tmp_path / "data", file) as process:
        assert [process.publish(old, MANY).status_code for _ in range(2)] == [201, 201]
        new = certified.write()
        limits = "[rate_limits]\nchannel_messages_per_s = 1\n[server]\nbody_bytes_max = 9999999\n"
        wanted = 'log_level = "warning"\n' + certified.settings + DECLARED + limits
        file.write_text(wanted)
        assert process.reload("settings that want a restart") == [
            ("info", "the configuration's declarations were reloaded"),
            ("warning", "settings that want a restart: server.body_bytes_max"),
        ]
        with pytest.raises(httpx.ConnectError):
            process.publish(old, MANY)
        assert process.publish(new, MANY).status_code == 201
        assert process.publish(new, {"data": "x"}).status_code == 429
        certified.write()
        certified.key.write_text("nonsense")
        file.write_text(certified.settings + DECLARED)
        (said,) = process.reload("the configuration was not reloaded")
        assert said[0] == "error"
        refused = process.publish(new, {"data": "x"})
        assert (refused.status_code, refused.headers["x-ably-errorcode"]) == (429, "42913")


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Broker]:
    async with broker.open(tmp_path / "data", create_app=False) as b:
        yield b


def loaded(tmp_path: Path, text: str) -> Configuration:
    file = tmp_path / "tidelog.toml"
    file.write_text(text)
    return config.load(file)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ('[[keys]]\nkey = "shop.web:another"', BadRequest),
        ('[[keys]]\nkey = "shop.gone:hush"', BadRequest),
        ('[[namespaces]]\nid = "n"\napp = "absent"', NotFound),
        ('[[matrix]]\napp = "absent"', NotFound),
        ('[[apps]]\nid = "not an id"', BadRequest),
        ('[[keys]]\nkey = "other.web:with space"', BadRequest),
        ('[[namespaces]]\nid = "a:b"', BadRequest),
    ],
)
async def test_what_cannot_be_made_true_is_found_before_anything_is_changed(
    opened: Broker, tmp_path: Path, more: str, why: type[Exception]
) -> None:
    await reconcile(opened, loaded(tmp_path, DECLARED).declared)
    await opened.apps.ensure_key("shop.gone:hush")
    await opened.apps.revoke_key("shop", "gone")
    before = opened.log.position
    first = '[[apps]]\nid = "new"\n[[keys]]\nkey = "new.key:hush"\n'
    with pytest.raises(why) as refusal:
        await reconcile(opened, loaded(tmp_path, first + more).declared)
    assert opened.log.position == before
    assert "hush" not in str(refusal.value)


async def test_declared_limits_are_made_true_and_what_is_not_said_stays(
    opened: Broker, tmp_path: Path
) -> None:
    limited = '[[apps]]\nid = "shop"\nlimits.connections_max = 5\n[[keys]]\n'
    limited += f'key = "{KEY}"\nlimits = {{ messages_per_s = 2 }}\n'
    for text in (limited, DECLARED):
        await reconcile(opened, loaded(tmp_path, text).declared)
        assert opened.apps.limits("shop") == Limits(connections_max=5)
        assert opened.apps.limits("shop", "web") == Limits(messages_per_s=2)
    before = opened.log.position
    await reconcile(opened, loaded(tmp_path, limited).declared)
    assert opened.log.position == before


async def test_a_key_whose_capability_is_declared_otherwise_is_told(
    opened: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await reconcile(opened, loaded(tmp_path, DECLARED).declared)
    assert caplog.messages == []
    other = DECLARED + 'capability = \'{"a":["publish"]}\'\n'
    await reconcile(opened, loaded(tmp_path, other).declared)
    assert caplog.messages == ["key shop.web keeps its capability, which is not the declared one"]


async def test_what_was_changed_is_told_until_it_holds(
    opened: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    texts = [
        DECLARED,
        DECLARED + "[rate_limits]\napp_messages_per_s = 7\n[server]\nport = 1\n",
        DECLARED + "[server]\nport = 1\n",
        DECLARED,
    ]
    wanted = [loaded(tmp_path, text) for text in texts]
    reloader = Reloader(opened, wanted[0], None, lambda: wanted.pop(0))
    limits = opened.epoch.rate_limits
    found = []
    for _ in texts:
        caplog.clear()
        await reloader.reload()
        found.append((limits.is_on, caplog.messages[1:]))
    port = "settings that want a restart: server.port"
    rate = "settings that hold from now on: rate_limits.app_messages_per_s"
    assert found == [(False, []), (True, [rate, port]), (False, [rate, port]), (False, [])]


async def test_a_process_that_is_not_to_reconcile_applies_the_settings_only(
    opened: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    wanted = loaded(tmp_path, DECLARED + "[rate_limits]\napp_messages_per_s = 7\n")
    reloader = Reloader(opened, loaded(tmp_path, DECLARED), None, lambda: wanted, reconciles=False)
    await reloader.reload()
    assert (opened.epoch.rate_limits.is_on, opened.apps.list()) == (True, [])
    assert len(caplog.messages) == 1


async def test_a_key_is_replaced_without_cutting_anybody_off(tmp_path: Path) -> None:
    """Create, use, revoke. Who still has the old one is told, and goes on with the new one."""
    async with realtime_server(tmp_path / "data") as server:
        apps = server.broker.apps
        app = server.broker.default_app()
        old, new = await apps.create_key(app), await apps.create_key(app)
        late, early = await server.connect(key=old.string), await server.connect(key=old.string)
        await late.attach("c")
        early.vanish()
        early = await server.connect(key=new.string, resume=early.key)
        await early.attach("c")
        await apps.revoke_key(app, old.key_id)
        await late.hears_error(Action.ERROR, 40131, 401)
        await early.publish("c", 0, "after")
        assert await early.names("c", 1) == ["after"]
        refused = await server.open(key=old.string)
        await refused.hears_error(Action.ERROR, 40131, 401)
        again = await server.connect(key=new.string, resume=late.key)
        assert again.id == late.id
        await again.attach("c")
