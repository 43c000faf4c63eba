"""`tidelog serve` as a process: what it prints, what it makes true, and how it ends."""

import base64
import json
import os
import re
import shlex
import signal
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.command_line import (
    WITHIN_S,
    Serving,
    command,
    environment,
    fine,
    inside,
    serving,
    tidelog,
)
from tests.crash.require import tool

GIVEN = "shop.web:hush-hush"


def curl_lines(served: Serving) -> list[str]:
    lines = map(str.strip, served.welcome.splitlines())
    return [line for line in lines if line.startswith("curl -")]


def pasted(line: str, trust: ssl.SSLContext | bool = True) -> httpx.Response:
    """What the printed curl line does."""
    words = shlex.split(line)
    given = {word: words[at + 1] for at, word in enumerate(words) if word.startswith("-")}
    headers = dict([given["-H"].split(": ")]) if "-H" in given else {}
    method = "POST" if "-d" in given else "GET"
    user = tuple(given["-u"].split(":", 1))
    return httpx.request(
        method, words[-1], headers=headers, content=given.get("-d"), auth=user, verify=trust
    )


def asked(
    served: Serving, path: str, key: str = GIVEN, method: str = "GET", **more: Any
) -> httpx.Response:
    user, _, password = key.partition(":")
    url = f"http://{served.host}:{served.port}{path}"
    return httpx.request(method, url, auth=(user, password), **more)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory made by a server that was given a key, and stopped."""
    data = tmp_path_factory.mktemp("given") / "data"
    with serving(data, "--key", GIVEN):
        pass
    return data


def test_an_empty_directory_becomes_a_broker_with_lines_to_paste(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as served:
        publish, history = curl_lines(served)
        assert pasted(publish).status_code == 201
        (message,) = pasted(history).json()
        assert (message["name"], message["data"]) == ("greeting", "hello")
        key = fine("keys", "list", "--json", "--data", served.data).json[0]["key"]
        assert f"key    {key}\n" in served.welcome
        assert (
            f"key: '{key}', endpoint: '127.0.0.1', port: {served.port}, tls: false"
            in served.welcome
        )
        assert "ably-python sends API keys over TLS only: start with --tls-dev" in served.welcome
        assert (served.data.stat().st_mode & 0o777) == 0o700


def test_tls_dev_says_how_to_trust_it(tmp_path: Path) -> None:
    with serving(tmp_path / "data", "--tls-dev") as served:
        assert (served.scheme, served.host) == ("https", "localhost")
        ca = served.data / "tls-dev" / "ca.pem"
        for words in (f"--cacert {ca}", f"SSL_CERT_FILE={ca}", f"NODE_EXTRA_CA_CERTS={ca}"):
            assert words in served.welcome
        assert f"tlsPort: {served.port}" in served.welcome
        assert f"tls_port={served.port}" in served.welcome
        publish, history = curl_lines(served)
        trust = ssl.create_default_context(cafile=ca)
        assert pasted(publish, trust).status_code == 201
        assert len(pasted(history, trust).json()) == 1
        kept = ca.read_bytes()
    with serving(tmp_path / "data", "--tls-dev"):
        assert ca.read_bytes() == kept


def test_a_given_key_works_and_its_app_is_the_default(given: Path) -> None:
    (app,) = fine("apps", "list", "--json", "--data", given).json
    assert app["id"] == "shop"
    assert inside("keys", "list", "--json", "--data", given).json[0]["key"] == GIVEN


def test_later_starts_name_the_key_where_output_may_be_kept(given: Path) -> None:
    with serving(given) as served:
        assert "shop.web" in served.welcome
        assert "hush" not in served.welcome
        assert f"tidelog keys list --data {given}" in served.welcome


def test_a_given_key_with_another_secret_is_refused(given: Path) -> None:
    ended = tidelog("serve", "--port", "0", "--data", given, "--key", "shop.web:another")
    assert (ended.status, ended.out) == (1, "")
    assert "another secret" in ended.err
    assert "another:" not in ended.err


def configured(file: Path, *keys: str) -> None:
    tables = "".join(f'[[keys]]\nkey = "{key}"\n' for key in keys)
    namespaces = '[[namespaces]]\napp = "shop"\nid = "orders"\nidentified = true\n'
    file.write_text(f'[[apps]]\nid = "shop"\nname = "the shop"\n{tables}{namespaces}')


def test_declarations_are_made_true_at_start_and_on_sighup(tmp_path: Path) -> None:
    file = tmp_path / "tidelog.toml"
    configured(file, GIVEN)
    line = command("serve", "--port", "0", "--data", tmp_path / "data", "--config", file)
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        try:
            Serving(process, tmp_path / "data", tmp_path)
            configured(file, GIVEN, "shop.app:hush-two")
            assert _after(process, signal.SIGHUP)["message"].endswith("were reloaded")
            file.write_text("nonsense")
            assert "not valid TOML" in _after(process, signal.SIGHUP)["message"]
            found = fine("keys", "list", "--json", "--data", tmp_path / "data").json
            assert {key["key"] for key in found} == {GIVEN, "shop.app:hush-two"}
            (rules,) = inside("namespaces", "list", "--json", "--data", tmp_path / "data").json
            assert (rules["id"], rules["identified"]) == ("orders", True)
        finally:
            process.terminate()
        assert process.wait(WITHIN_S) == 0


def _after(process: "subprocess.Popen[str]", number: int) -> dict[str, Any]:
    process.send_signal(number)
    assert process.stderr is not None
    line: dict[str, Any] = json.loads(process.stderr.readline())
    return line


def test_it_serves_though_nobody_reads_what_it_prints(given: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    line = command("serve", "--port", "0", "--data", given, "--set", "server.backlog=7")
    with subprocess.Popen(
        line, stdout=writer, stderr=subprocess.PIPE, text=True, env=environment(TIDELOG_PORT="x")
    ) as process:
        os.close(writer)
        assert process.stderr is not None
        assert "TIDELOG_PORT" in process.stderr.readline()  # printed behind the welcome
        assert fine("keys", "list", "--data", given).out
        process.terminate()
        assert process.wait(WITHIN_S) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_well(given: Path, number: int) -> None:
    with serving(given) as served:
        assert served.stop(number) == 0
        assert not (given / "admin.sock").exists()
        assert [line["level"] for line in served.log] == ["info"]


def test_what_was_accepted_is_finished_and_a_second_signal_ends_it_at_once(given: Path) -> None:
    line = command("serve", "--port", "0", "--data", given, "--set", "server.body_timeout_ms=60000")
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        served = Serving(process, given, given)
        with _half_sent(served) as finished, _half_sent(served):
            assert "SIGTERM" in _after(process, signal.SIGTERM)["message"]
            finished.sendall(b"}")
            assert finished.recv(1000).startswith(b"HTTP/1.1 201 ")
            process.send_signal(signal.SIGTERM)
            assert process.wait(WITHIN_S) == 1


def _half_sent(served: Serving) -> socket.socket:
    """A publish that lacks its last byte, and that the server waits for."""
    client = socket.create_connection((served.host, served.port))
    credentials = base64.b64encode(GIVEN.encode()).decode()
    head = (
        "POST /channels/demo/messages HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Authorization: Basic {credentials}\r\nContent-Length: 14\r\nExpect: 100-continue\r\n\r\n"
    )
    client.sendall(head.encode())
    assert client.recv(1000).startswith(b"HTTP/1.1 100 ")
    client.sendall(b'{"data": "xy"')
    return client


def test_an_address_that_is_taken_is_one_line(given: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = tidelog("serve", "--data", given, "--port", str(port))
    assert (ended.status, ended.out) == (1, "")
    assert ended.err == f"tidelog: cannot listen on 127.0.0.1 port {port}: Address already in use\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "name.invalid"], "cannot listen on name.invalid"),
        (["--host", "192.0.2.1"], "cannot listen on 192.0.2.1"),
        (["--tls-cert", "absent.pem", "--tls-key", "absent.pem"], "cannot use absent.pem"),
        (["--set", "server.file_descriptors_min=99999999"], "file descriptors"),
    ],
)
def test_what_it_cannot_start_with_is_one_line(
    given: Path, arguments: list[str], words: str
) -> None:
    ended = tidelog("serve", "--port", "0", "--data", given, *arguments)
    assert (ended.status, ended.out) == (1, "")
    assert re.fullmatch(rf"tidelog: .*{re.escape(words)}.*\n", ended.err)


def test_ignored_variables_are_named(given: Path) -> None:
    with serving(given, TIDELOG_PORT="tcp://10.0.0.1:80") as served:
        pass
    assert "TIDELOG_PORT" in (given.parent / "data.log").read_text()
    assert served.process.returncode == 0


def test_no_secret_reaches_the_log(given: Path) -> None:
    with serving(given, "--key", GIVEN, "--log-level", "debug") as served:
        assert asked(served, "/channels/demo/messages").status_code == 200
        assert asked(served, f"/nothing?key={GIVEN}").status_code == 404
        wrong = "shop.web:hush-wrong"
        assert asked(served, "/channels/demo/messages", wrong).status_code == 401
        fine("keys", "list", "--data", given)
        served.stop()
        assert served.log
        assert "hush" not in json.dumps(served.log)


@pytest.mark.parametrize("ends", ["by itself", "by a signal"])
def test_failed_storage_goes_on_reading_then_exits_1(given: Path, ends: str) -> None:
    """Whatever is written first meets the failing disk: the usage of a minute, perhaps. So one that
    ends by itself is asked by who is there at once, or it would have ended."""
    linger_ms = "1000" if ends == "by itself" else "600000"
    setting = f"server.storage_failure_linger_ms={linger_ms}"
    with serving(given, "--set", setting) as served:
        with _failing_disk(served.process.pid):
            if ends == "by itself":
                published = asked(served, "/channels/demo/messages", method="POST", json={})
                assert published.status_code == 503
            else:
                ended = tidelog("publish", "demo", "x", "--data", given)
                assert (ended.status, ended.out) == (1, "")
                assert asked(served, "/ready").status_code == 503
                assert asked(served, "/channels/demo/messages").status_code == 200
                served.process.terminate()
            assert served.process.wait(WITHIN_S) == 1
        assert "critical" in {line["level"] for line in served.log}


class _failing_disk:  # noqa: N801 - used as a verb
    """Every data sync of a process fails with an I/O error."""

    def __init__(self, process: int) -> None:
        inject = ["-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO"]
        self._command = [tool("strace"), "-f", "-p", str(process), *inject]

    def __enter__(self) -> None:
        self._strace = subprocess.Popen(self._command, stderr=subprocess.PIPE, text=True)
        assert self._strace.stderr is not None
        said = self._strace.stderr.readline()
        assert "attached" in said, said

    def __exit__(self, *_: object) -> None:
        self._strace.terminate()
        self._strace.communicate()
