"""A server for the whole run, a Node process beside it, and both SDKs in the ways that matter.

`sdk` takes every scenario through both formats and all kinds of credentials, in pairs;
`one_sdk` takes what is slow through each SDK once.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conformance.realtime.node_sdk import NodeProcess, missing
from tests.conformance.realtime.sdk import ENOUGH_WAYS, ONE_WAY_EACH, Sdk, Way
from tests.conformance.serving import ServerProcess, serving

ALL_KEY = "conform.all:another-secret-of-forty-characters-01234"
ORDINARY_KEY = "conform.ordinary:a-third-secret-of-forty-characters-012345"
CONFIGURATION = f"""
[[apps]]
id = "conform"

[[keys]]
key = "{ALL_KEY}"
capability = '{{"[*]*":["*"]}}'

[[keys]]
key = "{ORDINARY_KEY}"
capability = '{{"*":["*"]}}'

[[namespaces]]
id = "identified"
app = "conform"
identified = true

[[namespaces]]
id = "mutable"
app = "conform"
mutable_messages = true
"""
REQUIRED = "TIDELOG_REQUIRE_SDK_TESTS"


def options(directory: Path) -> tuple[str, ...]:
    file = directory / "tidelog.toml"
    file.write_text(CONFIGURATION)
    return ("--config", str(file), "--sandbox")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    path = tmp_path_factory.mktemp("realtime")
    prompt = ("--set", "broker.occupancy_pause_ms=100")
    talkative = ("--set", "broker.app_log_reports_max=1000")
    chosen = (*options(path), *prompt, *talkative)
    with serving(path / "data", tls=False, options=chosen) as started:
        yield started


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[ServerProcess]:
    """One that the test may kill, stop and start again; it must run when the test ends. Members of
    lost connections leave it soon."""
    quick = ("--set", "broker.presence_leave_delay_ms=2000")
    server = ServerProcess(tmp_path / "data", tls=False, options=(*options(tmp_path), *quick))
    server.start()
    yield server
    server.stop()
    server.check()


@pytest.fixture(scope="session")
def _node_process(
    tmp_path_factory: pytest.TempPathFactory, servers: dict[bool, ServerProcess]
) -> Iterator[NodeProcess]:
    """It must trust the development certificate from its start on."""
    trust = {"NODE_EXTRA_CA_CERTS": str(servers[True].ca_file)}
    node = NodeProcess(tmp_path_factory.mktemp("node") / "stderr.log", trust)
    yield node
    node.end()


@pytest.fixture
def node(request: pytest.FixtureRequest) -> Callable[[], NodeProcess]:
    def start() -> NodeProcess:
        process: NodeProcess = request.getfixturevalue("_node_process")
        return process

    return start


def _sdk(way: Way, server: ServerProcess, node: Callable[[], NodeProcess]) -> Sdk:
    if way.name == "node":
        _check_node()
        node()
    return Sdk(way.name, way.binary, way.credentials, server, node)


def _check_node() -> None:
    if lack := missing():
        if os.environ.get(REQUIRED):
            pytest.fail(f"{lack}, and {REQUIRED} is set")
        pytest.skip(lack)


@pytest.fixture(params=ENOUGH_WAYS, ids=str)
def sdk(
    request: pytest.FixtureRequest, server: ServerProcess, node: Callable[[], NodeProcess]
) -> Sdk:
    return _sdk(request.param, server, node)


@pytest.fixture(params=ONE_WAY_EACH, ids=str)
def one_sdk(
    request: pytest.FixtureRequest, server: ServerProcess, node: Callable[[], NodeProcess]
) -> Sdk:
    return _sdk(request.param, server, node)


@pytest.fixture(params=[way for way in ENOUGH_WAYS if way.name == "node"], ids=str)
def node_sdk(
    request: pytest.FixtureRequest, server: ServerProcess, node: Callable[[], NodeProcess]
) -> Sdk:
    """For what ably-python lacks."""
    return _sdk(request.param, server, node)


@pytest.fixture
def sdk_of(server: ServerProcess, node: Callable[[], NodeProcess]) -> Callable[[Way], Sdk]:
    """For tests that choose."""
    return lambda way: _sdk(way, server, node)
