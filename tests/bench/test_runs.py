"""Every benchmark, very small: it runs, checks what it measured, its tables are whole."""

import json
from pathlib import Path

import msgspec
import pytest

from bench import redis_peer, results
from bench.__main__ import main
from bench.load import measuring, peers
from bench.realtime import nats_peer
from bench.registry import BENCHMARKS, measure
from bench.scale import TINY
from bench.tables import Result, Table, shown

ROWS = {
    "log": [len(TINY.publishers) * len(TINY.channels) * 2, 2, 2 * 3],
    "layouts": [len(TINY.layout_channels) * len(TINY.layout_commits) * 2 * 3],
    "rest": [len(TINY.rest)],
    "history": [len(TINY.history) * 3],
    "open": [4],
    "publish": [2 * 2, 3],
    "fanout": [2, 2],
    "workers": [2, 4],
    "connections": [1, TINY.rounds],
    "stalled": [3],
    "deltas": [2 * 2, 2 * 4],
    "appends": [3],
    "filters": [3, 3],
    "annotations": [2 * 2 * len(TINY.annotations)],
    "versions": [3 * len(TINY.versions)],
    "push": [len(TINY.push), TINY.rounds + 1, len(TINY.push)],
    "compare": [1, 1, 1, 1],
}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_runs(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(redis_peer, "installed", lambda: False)
    monkeypatch.setattr(nats_peer, "installed", lambda: False)
    monkeypatch.setattr(peers, "MODULES", {"tidelog": peers.MODULES["tidelog"]})
    monkeypatch.setattr(measuring, "_LIMIT_S", TINY.turn_s)
    result = measure(BENCHMARKS[name], TINY, tmp_path, "a test")
    assert [len(table.rows) for table in result.tables] == ROWS[name]
    for table in result.tables:
        assert {len(row) for row in table.rows} == {len(table.columns)}
    assert msgspec.json.decode(results.as_json([result]), type=list[Result]) == [result]


@pytest.mark.skipif(not redis_peer.installed(), reason="no redis-server")
def test_the_peer_is_in_every_row(tmp_path: Path):
    result = measure(BENCHMARKS["log"], TINY, tmp_path, "a test")
    matrix, _, disturbed = result.tables
    for table, contenders in ((matrix, 4), (disturbed, 5)):
        names = [str(row[2]) for row in table.rows]
        peers = [name for name in names if name.startswith("redis")]
        assert len(peers) == 2 * len(names) // contenders
        for name, row in zip(names, table.rows, strict=True):
            assert [cell is None for cell in row[-2:]] == [name.startswith("redis")] * 2


def test_the_command_prints_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["history", "--tiny", "--json", "--work", str(tmp_path)]) == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert result["name"] == "history"
    assert result["command"] == f"python -m bench history --tiny --json --work {tmp_path}"
    assert not list(tmp_path.iterdir())


def test_an_unknown_benchmark_is_a_usage_error(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as raised:
        main(["nonsense"])
    assert raised.value.code == 2
    assert "layouts" in capsys.readouterr().err


def _result(name: str, value: float) -> Result:
    table = Table("A table", ("what", "how much"), [["it", value]], ["A note."])
    return Result(name, "title", "cmd", "today", "tiny", 1.0, {}, ["fast"], [table], "- mind\n")


def test_writing_replaces_one_section_and_keeps_the_others(tmp_path: Path):
    results.merge([_result("a", 1.0), _result("b", 2.0)], tmp_path)
    results.merge([_result("a", 3.0)], tmp_path)
    text = (tmp_path / "RESULTS.md").read_text()
    assert text.index("## a: title") < text.index("## b: title")
    assert "| it | 3.00 |" in text
    assert "| it | 2.00 |" in text
    assert "| it | 1.00 |" not in text
    assert "- mind" in text


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, "-"),
        (1_000, "1,000"),
        (0.0, "0"),
        (0.123, "0.12"),
        (12.34, "12.3"),
        (123_456.7, "123,457"),
        ("x", "x"),
    ],
)
def test_cells(cell: str | int | float | None, text: str):
    assert shown(cell) == text
