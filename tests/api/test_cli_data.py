"""Commands on a data directory, a broker running on it or not: the same either way.

Beside a broker the command is a process of its own; alone it runs in ours, where that is enough.
"""

import json
import os
import pty
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.event import Kind
from tests.api.command_line import (
    WITHIN_S,
    Ended,
    Serving,
    command,
    environment,
    fine,
    inside,
    tidelog,
)

KEY_STRING = re.compile(r"[\w-]+\.[\w-]+:[\w-]{20,}")
Run = Callable[..., Ended]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with one app and one message, which no test changes."""
    data = tmp_path_factory.mktemp("pristine") / "data"
    assert tidelog("publish", "demo", "first", "--data", data).status == 0
    return data


@pytest.fixture
def on_data(data: Path, how: Run) -> Run:
    """Runs a command that must succeed silently on the data directory."""

    def run(*arguments: str | Path) -> Ended:
        return fine(*arguments, "--data", data, how=how)

    return run


def test_publish_and_history(on_data: Run) -> None:
    serial = on_data("publish", "news", "one", "--name", "n", "--id", "i-1").out.strip()
    assert (
        on_data("publish", "news", "other", "--id", "i-1").out == f"already published: {serial}\n"
    )
    on_data(
        "publish", "news", "--parse", '{"n": 2}', "--client-id", "c", "--extras", '{"headers":{}}'
    )
    newest, oldest = on_data("history", "news", "--json").json_lines
    assert (oldest["serial"], oldest["name"], oldest["data"]) == (serial, "n", "one")
    assert (newest["data"], newest["encoding"], newest["clientId"]) == ('{"n":2}', "json", "c")
    lines = on_data("history", "news", "--oldest-first").out.splitlines()
    assert lines[0].endswith("Z  n  one")
    assert lines[1].endswith('-  {"n":2}  (from c)')
    assert len(on_data("history", "news", "--limit", "1").out.splitlines()) == 1


def test_keys_list_prints_whole_keys(data: Path) -> None:
    key = fine("keys", "list", "--data", data, "--json").json[0]
    assert KEY_STRING.fullmatch(key["key"])
    assert key["key"].startswith(f"{key['appId']}.{key['keyId']}:")
    assert key["key"] in fine("keys", "list", "--data", data).out


def test_the_life_of_a_key(on_data: Run) -> None:
    created = on_data("keys", "create", "--capability", '{"a":["publish"]}').out.strip()
    assert KEY_STRING.fullmatch(created)
    rotated = on_data("keys", "rotate", created.partition(":")[0], "--json").json
    assert rotated["capability"] == '{"a":["publish"]}'
    assert on_data("keys", "revoke", rotated["name"]).out == f"revoked {rotated['name']}\n"
    left = [key["key"] for key in on_data("keys", "list", "--json").json]
    assert created not in left
    assert rotated["key"] not in left
    everything = [key["key"] for key in on_data("keys", "list", "--json", "--revoked").json]
    assert {created, rotated["key"]} <= set(everything)


def test_the_life_of_an_app(on_data: Run) -> None:
    created = on_data("apps", "create", "--name", "two", "--json").json
    assert KEY_STRING.fullmatch(created["key"])
    assert created["id"] in on_data("apps", "list").out
    on_data("publish", "demo", "x", "--app", created["id"])
    assert len(on_data("history", "demo", "--app", created["id"], "--json").json_lines) == 1
    on_data("apps", "delete", created["id"], "--yes")
    assert created["id"] not in [app["id"] for app in on_data("apps", "list", "--json").json]


def test_a_key_made_like_another_has_its_limits_too(on_data: Run) -> None:
    old = on_data("keys", "create", "--capability", '{"a":["publish"]}', "--json").json["name"]
    limited = on_data("keys", "limits", old, "--messages-per-s", "5", "--bytes-per-s", "9")
    assert limited.out == f"{old}: messages_per_s=5, bytes_per_s=9\n"
    assert on_data("keys", "limits", old, "--bytes-per-s", "default", "--json").json["limits"] == {
        "messages_per_s": 5
    }
    new = on_data("keys", "create", "--like", old, "--json").json
    assert (new["capability"], new["limits"]) == ('{"a":["publish"]}', {"messages_per_s": 5})
    on_data("keys", "revoke", old)
    listed = on_data("keys", "list").out
    assert f'{new["key"]}    {{"a":["publish"]}}  messages_per_s=5' in listed


def test_limits_of_an_app_and_of_a_namespace_s_channels(on_data: Run) -> None:
    app = on_data("apps", "create", "--json").json["id"]
    assert on_data("apps", "limits", app, "--connections-max", "7", "--json").json["limits"] == {
        "connections_max": 7
    }
    assert "connections_max=7" in on_data("apps", "list").out
    on_data("apps", "limits", app, "--connections-max", "default")
    assert "connections_max" not in on_data("apps", "list").out
    set_ = (
        "namespaces",
        "set",
        "slow",
        "--messages-per-s",
        "3",
        "--bytes-per-s",
        "4",
        "--app",
        app,
    )
    assert on_data(*set_).out == "slow: messages_per_s=3, bytes_per_s=4\n"
    on_data("apps", "delete", app, "--yes")


def test_namespaces(on_data: Run) -> None:
    on_data("namespaces", "set", "orders", "--retention-ms", "0", "--identified")
    changed = on_data("namespaces", "set", "orders", "--retention-ms", "default", "--json").json
    assert (changed["identified"], changed["retention_ms"]) == (True, None)
    assert "orders     identified" in on_data("namespaces", "list").out
    on_data("namespaces", "remove", "orders")
    assert on_data("namespaces", "list", "--json").json == []


def test_purge_and_rebuild(on_data: Run) -> None:
    on_data("publish", "purged", "x", "--client-id", "bob")
    on_data("publish", "purged", "y")
    on_data("purge", "client", "bob", "--yes")
    assert [one["data"] for one in on_data("history", "purged", "--json").json_lines] == ["y"]
    on_data("purge", "channel", "purged", "--yes")
    assert on_data("history", "purged").out == ""
    assert on_data("rebuild").out == "rebuilt\n"
    assert on_data("verify").out == "intact\n"


def _without_usage(exported: str) -> list[str]:
    """A broker that runs writes down its usage whenever a minute ends."""
    return [line for line in exported.splitlines() if json.loads(line).get("kind") != Kind.STATS]


def test_backup_restore_and_export_import(on_data: Run, tmp_path: Path) -> None:
    backed = on_data("backup", tmp_path / "backup", "--json").json
    on_data("export", "--output", tmp_path / "log.ndjson")
    restored = inside("restore", tmp_path / "backup", "--data", tmp_path / "restored", "--json")
    assert restored.json["fingerprint"] == backed["fingerprint"]
    fine("import", tmp_path / "log.ndjson", "--data", tmp_path / "imported")
    exported = (tmp_path / "log.ndjson").read_text()
    assert inside("export", "--data", tmp_path / "imported").out == exported
    of_backup = inside("export", "--data", tmp_path / "restored").out
    assert _without_usage(of_backup) == _without_usage(exported)
    verified = inside("verify", "--data", tmp_path / "imported", "--json")
    assert verified.json == {"intact": True, "findings": []}


@pytest.mark.parametrize(
    "arguments",
    [
        ["history", "demo", "--app", "absent"],
        ["history", "[meta]demo"],
        ["publish", "", "x"],
        ["publish", "demo", "x", "--extras", '{"unknown": 1}'],
        ["apps", "create", "--id", "not an id"],
        ["apps", "delete", "absent", "--yes"],
        ["keys", "revoke", "absent"],
        ["keys", "create", "--capability", "{}x"],
        ["namespaces", "remove", "absent"],
        ["purge", "channel", "absent", "--yes"],
    ],
    ids=" ".join,
)
def test_what_fails_says_so_in_one_line(data: Path, arguments: list[str]) -> None:
    ended = inside(*arguments, "--data", data)
    assert (ended.status, ended.out) == (1, "")
    assert re.fullmatch(r"tidelog: .+\n", ended.err)


@pytest.mark.parametrize("arguments", [["compact"], ["serve", "--port", "0"]])
def test_what_needs_the_directory_alone(running: Serving, arguments: list[str]) -> None:
    ended = tidelog(*arguments, "--data", running.data)
    assert (ended.status, ended.out) == (1, "")
    assert ended.err == f"tidelog: {running.data} is open in another process\n"


def test_compact(pristine: Path, tmp_path: Path) -> None:
    shutil.copytree(pristine, tmp_path / "data")
    sizes = fine("compact", "--data", tmp_path / "data", "--json").json
    assert 0 < sizes["bytesAfter"] <= sizes["bytesBefore"]
    assert " before, " in inside("compact", "--data", tmp_path / "data").out
    assert inside("history", "demo", "--data", tmp_path / "data", "--json").json["data"] == "first"


@pytest.mark.parametrize(
    ("arguments", "label"),
    [
        (["verify"], "projections"),
        (["backup", "copy"], "backup"),
        (["export", "--output", "log.ndjson"], "export"),
        (["import", "exported.ndjson", "--data", "imported"], "import"),
        (["restore", "backup", "--data", "restored"], "restoring"),
        (["rebuild"], "rebuilding"),
        (["compact"], "compact"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_long_work_shows_progress_on_a_terminal(
    pristine: Path, tmp_path: Path, arguments: list[str], label: str
) -> None:
    shutil.copytree(pristine, tmp_path / "data")
    inside("backup", "backup", cwd=tmp_path)
    inside("export", "--output", "exported.ndjson", cwd=tmp_path)
    terminal, stderr = pty.openpty()
    ended = subprocess.run(
        command(*arguments),
        stdout=subprocess.PIPE,
        stderr=stderr,
        cwd=tmp_path,
        env=environment(TERM="xterm"),
        timeout=WITHIN_S,
        check=False,
    )
    os.close(stderr)
    said = os.read(terminal, 100_000).decode()
    os.close(terminal)
    assert ended.returncode == 0, said
    assert label in said


def test_verify_prints_what_is_not_intact(pristine: Path, tmp_path: Path) -> None:
    shutil.copytree(pristine, tmp_path / "data")
    inside("publish", "demo", "last", "--data", tmp_path / "data")
    file = tmp_path / "data" / "data.mdb"
    file.write_bytes(file.read_bytes().replace(b"first", b"fir5t"))
    ended = tidelog("verify", "--data", tmp_path / "data")
    assert (ended.status, ended.err) == (1, "")
    assert "record" in ended.out
    report = inside("verify", "--data", tmp_path / "data", "--json")
    assert (report.status, report.json["intact"]) == (1, False)
    assert report.json["findings"]


def test_history_pages_through_everything(
    running: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    for batch in range(5):
        inside("publish", "many", str(batch), "--data", running.data)
    monkeypatch.setattr("api.cli.history.PAGE", 2)
    for arguments, wanted in ((["--all"], "43210"), (["--limit", "3"], "432")):
        found = inside("history", "many", "--json", *arguments, "--data", running.data).json_lines
        assert "".join(message["data"] for message in found) == wanted
