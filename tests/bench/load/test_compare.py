"""One command compares Tidelog with every peer, on what each of them can do, and reports it."""

from pathlib import Path

import msgspec
import pytest

from api.cli.outcome import FINE
from bench.load import measuring, peers
from bench.load.result import Report
from tests.api.command_line import inside
from tests.bench.load.needed import needed

NAMES = ("redis", "redis-everysec", "nats", "mosquitto")
SMALL = ("--rounds", "1", "--duration", "0.2", "--warm-up", "0", "--publishers", "2")


def test_publish_and_fan_out_on_all_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(measuring, "_LIMIT_S", 0.05)
    drivers = [driver for name in NAMES for driver in needed(name).drivers]
    shown, written = tmp_path / "report.html", tmp_path / "report.json"
    where = ("--work", tmp_path, "--html", shown, "--output", written)
    sizes = (*SMALL, "--channels", "2", "--subscribers", "4", "--window", "4")
    ended = inside("bench", "compare", "--peers", ",".join(NAMES), *where, *sizes)
    assert ended.status == FINE, ended.out + ended.err
    report = msgspec.json.decode(written.read_bytes(), type=Report)
    for workload in ("publish", "fanout"):
        found = {one.driver: one for one in report.results if one.workload == workload}
        assert set(found) == {*peers.peer("tidelog").drivers, *drivers}
        for one in found.values():
            assert one.checked.acknowledged
            assert one.checked.deliveries == 2 * one.checked.acknowledged
    page = shown.read_text()
    for driver in drivers:
        assert page.count(f"<title>{driver}</title>") >= 2
        assert driver in ended.out
