"""The systemd unit: systemd finds nothing to say about it, and what it starts starts and stops."""

import configparser
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from api.config import load
from tests.api.command_line import ROOT, Serving, environment

UNIT = ROOT / "docs" / "tidelog.service"
INSTALLED = "/opt/tidelog/bin/tidelog"
OURS = str(Path(sys.executable).with_name("tidelog"))


def service() -> dict[str, str]:
    parser = configparser.RawConfigParser()
    parser.optionxform = str  # type: ignore[method-assign, assignment]
    parser.read(UNIT)
    return dict(parser["Service"])


def test_systemd_finds_nothing_to_say(tmp_path: Path) -> None:
    """Of programs it wants that they exist: so ours is named, where it is here."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd here to ask")
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace(INSTALLED, OURS))
    ended = subprocess.run([analyze, "verify", "--man=no", copy], capture_output=True, text=True)
    about_it = [line for line in ended.stderr.splitlines() if UNIT.name in line]
    assert (ended.returncode, about_it) == (0, [])


def test_what_it_starts_starts_and_stops_with_its_signals(tmp_path: Path) -> None:
    (tmp_path / "tidelog.toml").write_text("[server]\nport = 0\n")
    words = shlex.split(service()["ExecStart"])
    there = {
        "/etc/tidelog/tidelog.toml": str(tmp_path / "tidelog.toml"),
        "/var/lib/tidelog": str(tmp_path / "data"),
    }
    assert words[0] == INSTALLED
    line = [sys.executable, "-m", "api.cli", *(there.get(word, word) for word in words[1:])]
    log = tmp_path / "log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment()
        ) as process,
    ):
        try:
            served = Serving(process, tmp_path / "data", log)
            (reload,) = set(shlex.split(service()["ExecReload"])) & {"-HUP"}
            process.send_signal(getattr(signal, f"SIG{reload[1:]}"))
            assert served.stop() == 0, log.read_text()
        finally:
            process.kill()


def test_it_waits_longer_than_the_server_does() -> None:
    assert int(service()["TimeoutStopSec"]) * 1_000 > 2 * load().server.shutdown_grace_ms


def test_there_are_descriptors_for_every_connection() -> None:
    settings = load().server
    least = settings.connections_max + settings.file_descriptors_min
    assert int(service()["LimitNOFILE"]) > least
