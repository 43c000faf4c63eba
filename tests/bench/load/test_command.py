"""`tidelog bench` on the command line: what is printed, what is written, and how it ends."""

import subprocess
import sys
from pathlib import Path
from unittest import mock

import msgspec
import pytest

from api.cli.outcome import FAILED, FINE, USAGE
from bench.load import contenders, peers
from bench.load.command import COMMANDS
from bench.load.options import HELP, Options
from bench.load.result import Report
from bench.load.searching import Step, Wrong
from tests.api.command_line import Ended, environment, inside
from tests.bench.load.brokers import Faulty, short
from tests.bench.load.test_violations import forget

TINY = ("--duration", "0.2", "--warm-up", "0", "--publishers", "2", "--channels", "2")


def bench(*arguments: str | Path) -> Ended:
    ended = inside("bench", *arguments)
    print(ended.out, ended.err)
    return ended


def report(ended: Ended) -> Report:
    return msgspec.json.decode(ended.out, type=Report)


def test_a_run_as_tables_as_json_and_in_a_file(tmp_path: Path) -> None:
    written = tmp_path / "written.json"
    where = ("--driver", "instant", "--work", tmp_path, "--output", written)
    shown = bench("run", "channels", *where, *TINY, "--rate", "200", "--subscribers", "2")
    assert shown.status == FINE
    for word in ("achieved/s", "p99 ms", "acknowledged", "delivered", "right", "seed"):
        assert word in shown.out
    first = msgspec.json.decode(written.read_bytes(), type=Report)
    second = report(bench("run", "channels", *where, *TINY, "--rate", "200", "--json"))
    for found in (first, second):
        (result,) = found.results
        assert (result.workload, result.driver) == ("channels", "instant")
        assert result.options["rate"] == 200
        assert result.generator.limit_per_s
        assert found.machine
        assert len(found.disk) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["written.json"]


@pytest.mark.parametrize("how", [(), ("--json",)])
def test_a_violation_fails_a_run_whatever_its_speed(how: tuple[str, ...]) -> None:
    with mock.patch.dict(contenders.HERE, {"instant": lambda _: Faulty(forget)}):
        given = ("--driver", "instant", *TINY, "--rate", "200", "--patience", "0.3")
        ended = bench("run", "channels", *given, *how)
    assert ended.status == FAILED
    assert ("gap" if how else "WRONG: 1 x history: gap") in ended.out


def test_a_search_says_each_step_and_ends_at_a_violation() -> None:
    given = ("--driver", "instant", *TINY, "--p99", "1000000")
    with mock.patch.dict(contenders.HERE, {"instant": lambda _: Faulty(forget)}):
        ended = bench("search", "publish", *given)
    assert ended.status == FAILED
    assert "100/s" in ended.err
    assert "violation" in ended.err
    assert "WRONG" in ended.out


def test_a_soak_whose_search_finds_a_violation_fails(tmp_path: Path) -> None:
    step = Step(100.0, short(Faulty(forget)), "")
    with mock.patch("bench.load.soaking.soak", side_effect=Wrong(step)):
        ended = bench("soak", "--work", tmp_path)
    assert ended.status == FAILED
    assert "a violation" in ended.err
    assert "was acknowledged and never came" in ended.err
    assert "bug" not in ended.err


def test_a_search_that_finds_nothing_fails() -> None:
    given = ("--driver", "instant", *TINY, "--p99", "0.01", "--from", "10")
    ended = bench("search", "publish", *given)
    assert ended.status == FAILED
    assert "even the lowest rate was too high" in ended.err


def test_a_comparison_takes_turns_with_those_that_can(tmp_path: Path) -> None:
    few = (
        "--rounds",
        "2",
        *TINY,
        "--duration",
        "0.1",
        "--subscribers",
        "2",
        "--peers",
        "tidelog",
        "--json",
    )
    with mock.patch.dict(peers.MODULES, {"lost": "bench.load.peers.not_there"}):
        ended = bench("compare", "publish", "fanout", *few, "--work", tmp_path)
    assert ended.status == FINE
    found = report(ended)
    turns = [(result.workload, result.driver) for result in found.results]
    both = ["tidelog", "tidelog-rest"]
    assert turns == [(name, one) for name in ("publish", "fanout") for one in both * 2]
    assert all(result.offered_per_s is None for result in found.results)
    assert any(version.startswith("tidelog ") for version in found.settings)
    assert any(note.startswith("lost is not measured") for note in found.notes)


def test_a_key_is_not_written_down() -> None:
    given = ("--url", "http://127.0.0.1:1", "--key", "app.id:very-secret")
    argv = ["tidelog", "bench", "run", "publish", *given, "--key=app.id:very-secret"]
    with mock.patch("sys.argv", argv):
        from bench.load.command_options import command_line

        said = command_line()
    assert "very-secret" not in said
    assert said.startswith("tidelog bench run publish --url http://127.0.0.1:1 --key KEY")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "nonsense"], "nonsense"),
        (["run", "publish", "--driver", "nonsense"], "no driver 'nonsense' here"),
        (["run", "publish", "--driver", "ably"], "needs --url and --key"),
        (["run", "publish", "--url", "http://a:1"], "--url needs --key"),
        (["run", "publish", "--url", "a:1", "--key", "a.b:c"], "--url takes"),
        (["run", "publish", "--driver", "instant", "--size", "1"], "--size"),
        (["run", "publish", "--no-history"], "for an endpoint at --url"),
        (["run", "mixed", "--driver", "instant", "--rate", "0"], "needs a rate"),
        (["run", "push", "--driver", "instant"], "push wants a tidelog"),
        (["run", "presence", "--driver", "in-process"], "in-process cannot do presence"),
        (["search", "idle"], "has no rate"),
        (["search", "publish", "--rate", "5"], "--from"),
        (["compare", "--peers", "nonsense"], "no peer 'nonsense' here"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(arguments: list[str], said: str) -> None:
    ended = bench(*arguments)
    assert ended.status == USAGE
    assert said in ended.err
    assert ended.out == ""


def test_a_broker_that_is_not_there_is_a_failure() -> None:
    ended = bench("run", "publish", *TINY, "--url", "http://127.0.0.1:1", "--key", "a.b:c")
    assert ended.status == FAILED
    assert "bug" not in ended.err


def test_the_list_names_all_workloads_and_peers() -> None:
    said = bench("list").out
    for name in ("publish", "fanout", "push", "mixed", "tidelog-rest", "instant"):
        assert name in said
    for name in peers.MODULES:
        assert name in said


WITHOUT = """
import sys
sys.modules["hdrh"] = None  # not installed
from api.cli import run
sys.exit(run(sys.argv[1:]))
"""


@pytest.mark.parametrize(("arguments", "status"), [(["bench", "list"], FAILED), (["--help"], FINE)])
def test_without_the_extra_packages_it_says_what_to_install(
    arguments: list[str], status: int
) -> None:
    command = [sys.executable, "-c", WITHOUT, *arguments]
    ended = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert ended.returncode == status, ended
    assert ("pip install 'tidelog[bench]'" in ended.stderr) == (status == FAILED)
    assert "Traceback" not in ended.stderr


def test_every_option_has_its_word() -> None:
    assert set(HELP) == set(Options.__struct_fields__)
    assert "soak" in COMMANDS
