"""Runs on the real thing: a served Tidelog over WebSockets and REST, and one in this process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.load.ably.drivers import OverRest, OverWebSocket
from bench.load.ably.endpoint import endpoint
from bench.load.contenders import contender
from bench.load.driver import Driver, Refused
from bench.load.in_process import InProcess
from bench.load.measuring import measure
from bench.load.options import BadOption
from bench.load.pushing import push_contender
from bench.load.result import Result
from bench.load.workloads import WORKLOADS
from bench.realtime.server import Server, serving
from bench.server_process import KEY

SIZES = {
    "rate": 40.0,
    "duration_s": 0.5,
    "warm_up_s": 0.1,
    "publishers": 3,
    "subscribers": 4,
    "channels": 3,
    "seed": 11,
    "patience_s": 60.0,
}
FEW = {"history": {"stored": 50, "page": 20}, "resume": {"storms": 2}, "slow": {"slow": 0.5}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("load") / "server") as started:
        yield started


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("load") / "secure", tls=True) as started:
        yield started


def driver(server: Server, kind=OverWebSocket, spoken="json") -> Driver:
    url = f"http://127.0.0.1:{server.port}"
    return kind("tidelog", "fsynced", endpoint(url, KEY, spoken=spoken))


def run(driven: Driver, workload: str, name: str, pid: int | None = None, **more) -> Result:
    options = WORKLOADS[workload].defaults.but(**{**SIZES, **FEW.get(workload, {}), **more})
    print("seed", options.seed)
    result = measure(driven, WORKLOADS[workload], options, name=name, version="0", server_pid=pid)
    assert result.checked.is_right, result.checked
    assert result.checked.refused == result.checked.unknown == 0, result.checked.reasons
    assert result.checked.acknowledged > 0
    return result


@pytest.mark.parametrize("workload", [name for name in WORKLOADS if name != "push"])
def test_every_workload_over_a_websocket(server: Server, workload: str) -> None:
    result = run(driver(server), workload, workload, server.pid)
    assert result.server_rss_kib
    assert result.checked.in_history > 0 or workload == "presence"
    if workload in ("resume", "slow", "fanout", "channels", "presence"):
        assert result.checked.deliveries >= result.checked.acknowledged
    if workload == "idle":
        assert set(result.more) == {"RSS KiB/connection", "CPU us/connection/s"}
    if workload == "resume":
        assert result.latencies["resumed"].count == 2 * SIZES["subscribers"]


@pytest.mark.parametrize(("kind", "spoken"), [(OverWebSocket, "msgpack"), (OverRest, "json")])
def test_other_ways_to_speak(server: Server, kind, spoken) -> None:
    run(driver(server, kind, spoken), "mixed", f"mixed-{kind.__name__}")


def test_what_an_endpoint_forgets_is_not_asked_for(server: Server) -> None:
    url = f"http://127.0.0.1:{server.port}"
    with contender("ably", Path(), endpoint(url, KEY, keeps=False)) as made:
        result = run(made.driver, "publish", "forgotten")
    assert result.checked.in_history == 0
    assert result.checked.unchecked == ["history: this driver has none"]


def test_a_closed_loop(server: Server) -> None:
    result = run(driver(server), "fanout", "closed", rate=0.0, duration_s=0.3)
    assert result.offered_per_s is None


@pytest.mark.parametrize("workload", ["fanout", "history"])
def test_in_process(tmp_path: Path, workload: str) -> None:
    run(InProcess(tmp_path / "data"), workload, workload)


def test_a_key_that_is_not_known_ends_the_run(server: Server) -> None:
    stranger = endpoint(f"http://127.0.0.1:{server.port}", "nobody.here:secret")
    with pytest.RaisesGroup(Refused, flatten_subgroups=True, allow_unwrapped=True):
        run(OverWebSocket("tidelog", "fsynced", stranger), "publish", "stranger")


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("ftp://a:1", KEY),
        ("http://", KEY),
        ("http://a:b", KEY),
        ("http://a:70000", KEY),
        ("http://a/path", KEY),
        ("http://a:1", "no-key"),
    ],
)
def test_an_endpoint_that_makes_no_sense(url: str, key: str) -> None:
    with pytest.raises(BadOption):
        endpoint(url, key)


def test_push(tmp_path: Path) -> None:
    with push_contender(tmp_path, 20) as made:
        result = run(made.driver, "push", "push", rate=4.0, devices=20)
    assert result.checked.deliveries == 20 * result.checked.acknowledged
    assert result.latencies["all devices told"].count > 0


@pytest.mark.parametrize("kind", [OverWebSocket, OverRest])
def test_over_tls_by_an_authority_that_is_named(secure: Server, kind) -> None:
    url = f"https://localhost:{secure.port}"
    (ca,) = secure.data.rglob("ca.pem")
    run(kind("tidelog", "fsynced", endpoint(url, KEY, ca=ca)), "mixed", f"tls-{kind.__name__}")
    with pytest.RaisesGroup(pytest.RaisesExc(Refused, match="certificate"), flatten_subgroups=True):
        run(kind("tidelog", "fsynced", endpoint(url, KEY)), "publish", "untrusted")
