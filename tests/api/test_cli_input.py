"""What commands refuse, read from standard input, and print where nobody reads."""

import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.command_line import (
    WITHIN_S,
    command,
    environment,
    fine,
    inside,
    serving,
    tidelog,
)

NEED_A_LOG = [
    ["history", "demo"],
    ["tail", "demo"],
    ["apps", "list"],
    ["apps", "create"],
    ["keys", "list"],
    ["namespaces", "list"],
    ["purge", "app", "x", "--yes"],
    ["verify"],
    ["backup", "copy"],
    ["export"],
    ["rebuild"],
    ["compact"],
]


@pytest.mark.parametrize("arguments", NEED_A_LOG, ids=" ".join)
@pytest.mark.parametrize("exists", [False, True], ids=["absent", "empty"])
def test_no_log_is_an_error_and_none_is_made(
    tmp_path: Path, arguments: list[str], exists: bool
) -> None:
    data = tmp_path / "data"
    if exists:
        data.mkdir()
    ended = inside(*arguments, "--data", data, cwd=tmp_path)
    assert (ended.status, ended.out) == (1, "")
    assert re.fullmatch(rf"tidelog: .*{re.escape(str(data))}.*tidelog serve.*\n", ended.err)
    assert [path.name for path in tmp_path.rglob("*")] == (["data"] if exists else [])


def test_publish_makes_a_data_directory_and_says_so(tmp_path: Path) -> None:
    data = tmp_path / "data"
    ended = tidelog("publish", "demo", "hello", "--data", data)
    assert (ended.status, ended.err) == (0, f"tidelog: making a new data directory {data}\n")
    assert data.stat().st_mode & 0o777 == 0o700


def test_the_data_directory_is_a_setting(tmp_path: Path) -> None:
    inside("publish", "demo", "hello", "--data", tmp_path / "d")
    (tmp_path / "t.toml").write_text(f'data = "{tmp_path}/d"')
    assert inside("history", "demo", "--config", tmp_path / "t.toml").out
    assert inside("history", "demo", TIDELOG_DATA=str(tmp_path / "d")).out
    assert fine("history", "demo", "--data", "d", cwd=tmp_path, TIDELOG_DATA="/absent").out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["publish", "demo", "{", "--parse"], "DATA is not JSON"),
        (["publish", "demo", "--parse"], "--parse needs DATA"),
        (["publish", "demo", "x", "--extras", "{"], "--extras is not JSON"),
        (["history", "demo", "--limit", "0"], "--limit"),
        (["namespaces", "set", "x"], "at least one rule"),
        (["apps", "limits", "x"], "at least one limit"),
        (["keys", "limits", "x"], "at least one limit"),
        (["apps", "limits", "x", "--messages-per-s", "-1"], "neither a number"),
        (["keys", "create", "--like", "x", "--revocable-tokens"], "nothing beside it"),
        (["namespaces", "set", "x", "--retention-ms", "soon"], "neither a number"),
        (["purge", "channel", "demo"], "give --yes"),
        (["apps", "delete", "a"], "give --yes"),
        (["import", "absent.ndjson"], "absent.ndjson"),
        (["serve", "--set", "port"], "NAME=VALUE"),
        (["serve", "--set", "prt=1"], "prt is not a setting"),
        (["serve", "--port", "99999"], "at most 65535"),
        (["serve", "--key", "nonsense"], "malformed API key"),
        (["serve", "--tls-cert", "x"], "go together"),
        (["serve", "--tls-dev", "--tls-cert", "x", "--tls-key", "y"], "not both"),
        (["serve", "--config", "absent.toml"], "cannot read absent.toml"),
        (["config", "--set", "server.port=x"], "must be an integer"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_command_lines_are_usage_errors(
    tmp_path: Path, arguments: list[str], words: str
) -> None:
    ended = inside(*arguments, cwd=tmp_path)
    assert (ended.status, ended.out) == (2, "")
    assert words in ended.err
    assert not (tmp_path / "data").exists()


def test_data_from_standard_input(tmp_path: Path) -> None:
    tidelog("publish", "demo", "-", "--data", tmp_path / "d", stdin="line one\nline two\n")
    (message,) = inside("history", "demo", "--data", tmp_path / "d", "--json").json_lines
    assert message["data"] == "line one\nline two\n"


def test_what_was_published_cannot_move_the_cursor(tmp_path: Path) -> None:
    inside("publish", "demo", "\x1b[2Jboo\r\n", "--data", tmp_path / "d")
    said = inside("history", "demo", "--data", tmp_path / "d").out
    assert said.rstrip("\n").endswith(r"\x1b[2Jboo\r\n")


def test_restore_and_import_refuse_what_they_cannot_use(tmp_path: Path) -> None:
    (tmp_path / "garbage").write_text("garbage\n")
    for arguments in (["restore", tmp_path / "absent"], ["restore", tmp_path]):
        ended = inside(*arguments, "--data", tmp_path / "data")
        assert (ended.status, ended.out) == (1, "")
    ended = tidelog("import", tmp_path / "garbage", "--data", tmp_path / "data")
    assert ended.status == 1
    assert "line 1 cannot be imported" in ended.err


def test_a_log_that_is_damaged_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"x" * 20_000)
    for arguments in (["keys", "list"], ["serve", "--port", "0"]):
        ended = inside(*arguments, "--data", tmp_path)
        assert (ended.status, ended.out) == (1, "")
        assert re.fullmatch(r"tidelog: .+\n", ended.err)


def test_python_without_asserts_is_refused(tmp_path: Path) -> None:
    line = command("version")
    line.insert(1, "-O")
    ended = subprocess.run(
        line, env=environment(), capture_output=True, text=True, timeout=WITHIN_S, check=False
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "python -O" in ended.stderr


def test_config_is_a_file_that_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text(fine("config", "--set", "server.port=9").out)
    ended = fine("config", "--config", tmp_path / "t.toml", "--json", TIDELOG_SERVER_BACKLOG="7")
    settings = {setting["name"]: setting for setting in ended.json["settings"]}
    assert (settings["server.port"]["value"], settings["server.port"]["origin"]) == (9, "file")
    assert (settings["server.backlog"]["value"], settings["server.backlog"]["origin"]) == (7, "env")
    assert settings["server.port"]["unit"] == "TCP port"
    assert settings["server.port"]["variable"] == "TIDELOG_SERVER_PORT"


def test_config_masks_secrets(tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text('[[keys]]\nkey = "a.b:hush-hush"')
    for form in ([], ["--json"]):
        said = inside("config", "--config", tmp_path / "t.toml", *form, TIDELOG_KEY="a.c:hush").out
        assert "hush" not in said
        assert "a.b:***" in said
        assert "a.c:***" in said


def test_a_reader_that_has_seen_enough(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for _ in range(3):
        inside("publish", "demo", "x" * 30_000, "--data", data)
    for arguments in (["history", "demo"], ["export"]):
        _read_one_byte(*arguments, "--data", str(data))


def _read_one_byte(*arguments: str) -> None:
    """The rest is more than a pipe holds, so the command has to write to nobody."""
    with subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(1)
        process.stdout.close()
        assert process.wait(WITHIN_S) == 0
        assert process.stderr.read() == b""


@pytest.fixture
def _ctrl_c_is_heard() -> Iterator[None]:
    """By our children, too: what the background of a shell ignores, they would inherit."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_ctrl_c_is_heard")
def test_tail_ends_when_its_reader_does_and_on_ctrl_c(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as running:
        for end in ("reader", "ctrl-c", "broker"):
            line = command("tail", "demo", "--json", "--data", running.data)
            with subprocess.Popen(
                line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
            ) as tail:
                assert tail.stdout is not None
                assert tail.stderr is not None
                assert "waiting for messages" in tail.stderr.readline()
                fine("publish", "demo", end, "--data", running.data)
                assert f'"data":"{end}"' in tail.stdout.readline()
                if end == "reader":
                    tail.stdout.close()
                elif end == "ctrl-c":
                    tail.send_signal(signal.SIGINT)
                else:
                    assert running.stop() == 0
                assert tail.wait(WITHIN_S) == (1 if end == "broker" else 0)
                said = tail.stderr.read()
                assert said == "" if end != "broker" else said.count("\n") == 1


def test_tail_needs_a_broker(tmp_path: Path) -> None:
    inside("publish", "demo", "x", "--data", tmp_path / "data")
    ended = inside("tail", "demo", "--data", tmp_path / "data")
    assert (ended.status, ended.out) == (1, "")
    assert "no broker is running" in ended.err
