"""An OTLP collector on a loopback port, and a broker that is served with traces going there.

What it got is there once the server has ended: then all that waited was sent.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import trio
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

import broker
from api.push.transports import Transports
from api.serving import Server, serve_in
from api.settings import ServerSettings
from broker import Broker
from tests.api.push.http_gateway import Answer, Gateway, Reply, Request, serving
from tests.api.rest_server import basic

PROTOBUF = {"content-type": "application/x-protobuf"}


@dataclass(frozen=True)
class Span:
    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Any]
    links: tuple[str, ...]
    status: int
    ns: tuple[int, int]


@dataclass
class Collector:
    """`answer`: what it says to each request, in place of taking the spans."""

    gateway: Gateway = field(default_factory=Gateway)
    answer: Answer | None = None
    resources: list[dict[str, Any]] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)

    async def handle(self, request: Request) -> Answer:
        assert (request.method, request.path) == ("POST", "/v1/traces")
        if self.answer is not None:
            return self.answer
        export = ExportTraceServiceRequest.FromString(request.body)
        for group in export.resource_spans:
            self.resources.append(_attributes(group.resource.attributes))
            self.spans += [_span(one) for scope in group.scope_spans for one in scope.spans]
        return Reply(200, ExportTraceServiceResponse().SerializeToString(), PROTOBUF)

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    def only(self, name: str) -> Span:
        (found,) = self.named(name)
        return found

    def bodies(self) -> bytes:
        return b"".join(request.body for request in self.gateway.requests)


def _attributes(items: Any) -> dict[str, Any]:
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in items}


def _span(one: Any) -> Span:
    return Span(
        one.name,
        one.kind,
        one.trace_id.hex(),
        one.span_id.hex(),
        one.parent_span_id.hex(),
        _attributes(one.attributes),
        tuple(link.span_id.hex() for link in one.links),
        one.status.code,
        (one.start_time_unix_nano, one.end_time_unix_nano),
    )


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    collector = Collector()
    async with serving(collector.handle) as gateway:
        collector.gateway = gateway
        yield collector


@dataclass(frozen=True)
class Traced:
    broker: Broker
    server: Server
    client: httpx.AsyncClient


@asynccontextmanager
async def traced(
    path: Path, endpoint: str, *, transports: Transports | None = None, **settings: Any
) -> AsyncIterator[Traced]:
    """A server, and a client that has a key."""
    server_settings = ServerSettings(port=0, otlp_endpoint=endpoint, **settings)
    by_type = transports.by_type if transports else None
    async with broker.open(path, transports=by_type) as b, trio.open_nursery() as nursery:
        server = await serve_in(nursery, b, server_settings, transports=transports)
        key = b.apps.keys(b.default_app())[0].string
        base_url = f"http://127.0.0.1:{server.port}"
        async with httpx.AsyncClient(
            base_url=base_url, headers=basic(key), trust_env=False, timeout=30
        ) as client:
            yield Traced(b, server, client)
        server.stop()


def within(inner: Span, outer: Span) -> bool:
    return outer.ns[0] <= inner.ns[0] <= inner.ns[1] <= outer.ns[1]


def secrets_of(b: Broker) -> Iterator[bytes]:
    for key in b.apps.keys(b.default_app()):
        yield key.secret.encode()
