"""Servers that live as long as the test run, and every way that ably-python may reach them."""

from collections.abc import Iterator
from contextlib import ExitStack
from uuid import uuid4

import pytest

from tests.conformance.serving import Sdk, ServerProcess, serving

WAYS = {
    "tls-key-json": (True, False),
    "tls-key-msgpack": (True, True),
    "plain-jwt-json": (False, False),
    "plain-jwt-msgpack": (False, True),
}


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[bool, ServerProcess]]:
    """By whether they speak TLS. Each has a data directory of its own."""
    path = tmp_path_factory.mktemp("conformance")
    with ExitStack() as stack:
        yield {
            tls: stack.enter_context(serving(path / name, tls=tls))
            for tls, name in ((True, "tls"), (False, "plain"))
        }


@pytest.fixture(params=WAYS)
def sdk(
    request: pytest.FixtureRequest,
    servers: dict[bool, ServerProcess],
    monkeypatch: pytest.MonkeyPatch,
) -> Sdk:
    tls, binary = WAYS[request.param]
    if tls:
        monkeypatch.setenv("SSL_CERT_FILE", str(servers[True].ca_file))
    return Sdk(servers[tls], binary)


@pytest.fixture
def channel() -> str:
    """The name of a channel that no other test uses."""
    return f"conformance:{uuid4()}"
