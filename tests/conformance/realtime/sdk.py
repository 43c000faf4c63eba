"""An SDK set up for one server, one format and one kind of credentials: makes clients."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from tests.conformance.realtime.client import Client, ClientOptions
from tests.conformance.realtime.credentials import Claims, Issuer
from tests.conformance.realtime.node_sdk import NodeClient, NodeProcess
from tests.conformance.realtime.proxy import Proxy
from tests.conformance.realtime.python_sdk import PythonClient
from tests.conformance.serving import KEY, ServerProcess


@dataclass(frozen=True)
class Sdk:
    """`way`: key, token (native, from requestToken) or jwt."""

    name: str
    binary: bool
    way: str
    server: ServerProcess
    node: Callable[[], NodeProcess]

    @property
    def is_node(self) -> bool:
        return self.name == "node"

    def issuer(self, *, key: str = KEY, **claims: Any) -> Issuer:
        return Issuer(self.server, self.way == "token", Claims(**claims), key)

    def client(
        self,
        *,
        client_id: str | None = None,
        key: str = KEY,
        issue: Issuer | None = None,
        via: Proxy | None = None,
        **options: Any,
    ) -> Client:
        """Not connected yet. With `issue`, that says who the client is, beside any `client_id`."""
        given: dict[str, Any] = {
            "port": via.port if via else self.server.port,
            "key": key,
            "issue": issue,
        }
        if issue is None and self.way != "key" and "token" not in options:
            given["issue"] = self.issuer(key=key, client_id=client_id)
            client_id = None
        made = ClientOptions(
            tls=self.server.tls, binary=self.binary, client_id=client_id, **given, **options
        )
        return NodeClient(self.node(), made) if self.is_node else PythonClient(made)

    def anybody(self) -> dict[str, Any]:
        """Options of a client that may act for every clientId; ably-python must be told so."""
        issuer = self.with_tokens().issuer(client_id="*")
        return {"issue": issuer, "client_id": None if self.is_node else "*"}

    @asynccontextmanager
    async def connected(self, **options: Any) -> AsyncIterator[Client]:
        async with self.client(**options) as client:
            await client.connect()
            await client.reaches("connected")
            yield client

    def to(self, server: ServerProcess) -> "Sdk":
        return replace(self, server=server)

    def in_the_other_format(self) -> "Sdk":
        return replace(self, binary=not self.binary)

    def with_tokens(self) -> "Sdk":
        return replace(self, way="jwt") if self.way == "key" else self


@dataclass(frozen=True)
class Way:
    name: str
    binary: bool
    credentials: str

    def __str__(self) -> str:
        return f"{self.name}-{'msgpack' if self.binary else 'json'}-{self.credentials}"


EVERY_WAY = [
    Way(name, binary, credentials)
    for name in ("python", "node")
    for binary in (False, True)
    for credentials in ("key", "token", "jwt")
]
ENOUGH_WAYS = [
    Way("python", False, "jwt"),
    Way("python", True, "token"),
    Way("node", False, "token"),
    Way("node", True, "key"),
]
ONE_WAY_EACH = [Way("python", True, "jwt"), Way("node", False, "key")]
