"""Traces as a collector gets them: of requests, appends, commits and deliveries, and no secret."""

import json
import logging
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

import broker
from api.push.settings import PushSettings
from api.push.transports import build_transports
from api.serving import serve_in
from api.settings import ServerSettings
from api.structured_logging import JsonLines
from api.trace_context import traceparent
from api.tracing import pipeline
from broker.messages.message import Message
from tests.api.command_line import environment
from tests.api.push.http_gateway import Act, Answer, Reply, Request, serving
from tests.api.tracing.collector import Span, collecting, secrets_of, traced, within

STUCK_S = 60  # only ever passes when a test hangs
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CAME_WITH = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
SERVER, CLIENT, ERROR = 2, 3, 2
ROUTE = "POST /channels/<channel_id>/messages"


async def test_a_publish_is_a_request_an_append_and_a_commit(tmp_path: Path) -> None:
    async with collecting() as collector:
        async with traced(tmp_path / "data", collector.gateway.url) as t:
            app, secrets = t.broker.default_app(), list(secrets_of(t.broker))
            path = "/channels/orders%3Asecret-name/messages?access_tokens=hush"
            body = {"name": "n", "data": "the data itself"}
            reply = await t.client.post(path, json=body, headers=CAME_WITH)
            assert reply.status_code == 201
        request, append = collector.only(ROUTE), collector.only("append Publish")
        commit = next(
            span for span in collector.named("commit") if span.parent_id == append.span_id
        )
        assert {request.trace_id, append.trace_id, commit.trace_id} == {TRACE}
        assert (request.parent_id, append.parent_id) == (PARENT, request.span_id)
        assert within(append, request)
        assert within(commit, append)
        assert (request.kind, request.status) == (SERVER, 0)
        assert request.attributes == {
            "http.request.method": "POST",
            "http.route": ROUTE.removeprefix("POST "),
            "http.response.status_code": 201,
            "url.scheme": "http",
            "network.protocol.version": "1.1",
            "tidelog.app": app,
        }
        assert append.attributes == {
            "tidelog.app": app,
            "tidelog.channel": "orders:secret-name",
            "tidelog.commands": 1,
        }
        assert commit.attributes["tidelog.commands"] == 1
        assert commit.attributes["tidelog.records"] >= 1
        assert {resource["service.name"] for resource in collector.resources} == {"tidelog"}
        for hidden in (*secrets, b"the data itself", b"access_tokens", b"Basic"):
            assert hidden not in collector.bodies()


async def test_a_commit_of_several_is_linked_to_each(tmp_path: Path) -> None:
    async with collecting() as collector:
        async with traced(tmp_path / "data", collector.gateway.url) as t:
            root = t.broker.authenticate(key=t.broker.apps.keys(t.broker.default_app())[0].string)

            async def publish(number: int) -> None:
                await t.broker.publish(root, f"c{number}", [Message(data="x")])

            async with trio.open_nursery() as nursery:
                for number in range(5):
                    nursery.start_soon(publish, number)
        appends = {span.span_id for span in collector.named("append Publish")}
        assert len(appends) == 5
        commits = [one for one in collector.named("commit") if one.parent_id in appends]
        linked = [{one.parent_id, *one.links} for one in commits]
        assert set().union(*linked) == appends
        assert max(map(len, linked)) > 1


async def test_what_is_refused_says_by_which_code(tmp_path: Path) -> None:
    async with collecting() as collector:
        async with traced(tmp_path / "data", collector.gateway.url) as t:
            wrong = {"Authorization": "Basic bm9ib2R5LmhlcmU6aHVzaA=="}
            reply = await t.client.get("/channels/c/messages", headers=wrong)
            assert reply.status_code == 401
            assert (await t.client.get("/a/path/with/hush?key=hush")).status_code == 404
            assert (await t.client.request("HUSH", "/time")).status_code == 405
        history = collector.only("GET /channels/<channel_id>/messages")
        assert history.attributes["tidelog.error.code"] == int(reply.headers["x-ably-errorcode"])
        assert (history.attributes["http.response.status_code"], history.status) == (401, 0)
        assert collector.only("GET").attributes["http.response.status_code"] == 404
        assert collector.only("HTTP").attributes["http.request.method"] == "_OTHER"
        assert b"hush" not in collector.bodies()
        assert b"HUSH" not in collector.bodies()


async def test_what_the_log_refuses_says_so_too(tmp_path: Path) -> None:
    async with collecting() as collector:
        async with traced(tmp_path / "data", collector.gateway.url) as t:
            with pytest.raises(Exception, match="exists already"):
                await t.broker.apps.create(t.broker.default_app())
        append = collector.only("append CreateApp")
        assert (append.attributes["tidelog.refused"], append.attributes["error.type"]) == (
            1,
            "40000",
        )


async def test_deliveries_take_their_trace_along(tmp_path: Path) -> None:
    got: list[Request] = []

    async def hook(request: Request) -> Answer:
        got.append(request)
        return Reply(204)

    settings = PushSettings(allow_loopback_targets=True)
    async with (
        collecting() as collector,
        serving(hook) as gateway,
        build_transports(settings, tmp_path) as transports,
    ):
        async with traced(tmp_path / "d", collector.gateway.url, transports=transports) as t:
            url = f"{gateway.url}/hush-hush"
            recipient = {"transportType": "webhook", "url": url, "secret": "hush" * 8}
            notification = {"notification": {"title": "hush"}}
            body = {"recipient": recipient, **notification}
            assert (await t.client.post("/push/publish", json=body)).status_code == 204
            with trio.fail_after(STUCK_S):
                await gateway.arrived.wait()
                while len(t.broker.outbox.by_transport) == 0:
                    await trio.lowlevel.checkpoint()
        delivery = collector.only("deliver webhook")
        sent = got[0].headers["traceparent"]
        assert sent.startswith(f"00-{delivery.trace_id}-{delivery.span_id}-0")
        assert delivery.kind == CLIENT
        assert delivery.attributes["tidelog.push.verdict"] == "sent"
        assert delivery.attributes["tidelog.push.attempt"] == 1
        assert b"hush" not in collector.bodies()


async def recorded(tmp_path: Path, percent: int, flags: str) -> list[Span]:
    async with collecting() as collector:
        async with traced(tmp_path / "data", collector.gateway.url, otlp_percent=percent) as t:
            sampled = {"traceparent": f"00-{TRACE}-{PARENT}-{flags}"}
            await t.client.get("/time", headers=sampled)
        return collector.named("GET /time")


@pytest.mark.parametrize(
    ("percent", "flags", "count"), [(100, "01", 1), (100, "00", 0), (0, "01", 0)]
)
async def test_how_many_are_recorded_is_the_server_s_to_say(
    tmp_path: Path, percent: int, flags: str, count: int
) -> None:
    assert len(await recorded(tmp_path, percent, flags)) == count


async def test_the_rest_is_said_in_opentelemetry_s_own_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=of-the-collector")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "one of many")
    async with collecting() as collector:
        async with traced(tmp_path / "data", collector.gateway.url) as t:
            await t.client.get("/time")
        assert {one["service.name"] for one in collector.resources} == {"one of many"}
        sent = {request.headers["authorization"] for request in collector.gateway.requests}
        assert sent == {"of-the-collector"}


@asynccontextmanager
async def gone() -> AsyncIterator[str]:
    """Where no collector is."""
    async with collecting() as collector:
        url = collector.gateway.url
    yield url


async def test_a_collector_that_is_gone_costs_spans_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pipeline, "SEND_S", 0.1)
    async with gone() as url, traced(tmp_path / "data", url, otlp_spans_max=5) as t:
        for _ in range(20):
            assert (await t.client.get("/time")).status_code == 200
    told = [record.message for record in caplog.records if record.name == "tidelog.tracing"]
    assert told == ["the collector takes no spans"]


async def test_a_collector_that_never_answers_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pipeline, "GOODBYE_S", 0.2)
    async with collecting() as collector:
        collector.answer = Act.STALL
        with trio.fail_after(STUCK_S):
            async with traced(tmp_path / "data", collector.gateway.url) as t:
                for _ in range(5):
                    assert (await t.client.get("/time")).status_code == 200
    assert "spans were not sent before the end" in caplog.text


@pytest.mark.parametrize("spans_max", [5, 2_048])
@pytest.mark.parametrize("is_there", [True, False])
async def test_every_span_is_counted_once(
    monkeypatch: pytest.MonkeyPatch, spans_max: int, is_there: bool
) -> None:
    monkeypatch.setattr(pipeline, "SEND_S", 30.0 if is_there else 0.1)
    async with collecting() as collector:
        async with gone() as url:
            endpoint = collector.gateway.url if is_there else url
        settings = ServerSettings(otlp_endpoint=endpoint, otlp_spans_max=spans_max)
        sending = pipeline.Pipeline(settings)
        tracer = sending.provider.get_tracer("test")
        for number in range(100):
            tracer.start_span(f"span {number}").end()
            assert sending.pending <= spans_max
        await sending.aclose()
        outcomes = sending.outcomes()
        assert sending.pending == 0
        assert sum(outcomes.values()) == 100
        assert outcomes[pipeline.EXPORTED] == len(collector.spans)
        assert bool(collector.spans) == is_there
        assert (outcomes[pipeline.DROPPED] == 0) == (is_there and spans_max > 100)


async def test_it_is_taken_down_with_the_server(tmp_path: Path) -> None:
    async with collecting() as collector, broker.open(tmp_path / "data") as b:
        settings = ServerSettings(port=0, otlp_endpoint=collector.gateway.url)
        for _ in range(2):
            async with trio.open_nursery() as nursery:
                (await serve_in(nursery, b, settings)).stop()
            assert b.log.observer is None
            kept = b.outbox.attempts.transports.values()
            assert [one for one in kept if type(one).__name__ == "TracedTransport"] == []


def test_a_log_line_names_its_trace() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, "hello", None, None)
    assert "trace_id" not in json.loads(JsonLines().format(record))
    token = traceparent.set(CAME_WITH["traceparent"])
    try:
        assert json.loads(JsonLines().format(record))["trace_id"] == TRACE
    finally:
        traceparent.reset(token)


OFF = """
import sys, trio, broker, api.cli.serve, api.server
from api.serving import serve_in
from api.serving import serve_in
from api.settings import ServerSettings

async def main():
    async with broker.open(sys.argv[1]) as b, trio.open_nursery() as nursery:
        (await serve_in(nursery, b, ServerSettings(port=0))).stop()

trio.run(main)
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""


def test_off_imports_nothing(tmp_path: Path) -> None:
    line = [sys.executable, "-c", OFF, str(tmp_path / "data")]
    ended = subprocess.run(line, capture_output=True, text=True, env=environment(), timeout=STUCK_S)
    assert ended.stdout == "[]\n", ended.stderr


WITHOUT = """
import sys

sys.modules["opentelemetry.sdk"] = None  # as if it were not installed
from api.cli import run

sys.exit(run(sys.argv[1:]))
"""


def test_without_the_extra_it_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    endpoint = "server.otlp_endpoint=http://127.0.0.1:4318"
    words = ["serve", "--data", str(tmp_path / "data"), "--port", "0", "--set", endpoint]
    line = [sys.executable, "-c", WITHOUT, *words]
    ended = subprocess.run(line, capture_output=True, text=True, env=environment(), timeout=STUCK_S)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "pip install 'tidelog[otel]'" in ended.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"otlp_endpoint": "127.0.0.1:4318"}, "must be an http or https URL"),
        ({"otlp_endpoint": "http://me:hush@collector"}, "without credentials"),
        ({"otlp_endpoint": "http://collector/?key=hush"}, "or query"),
        ({"otlp_percent": 101}, "at most 100"),
        ({"otlp_spans_max": 0}, "too small"),
    ],
)
def test_settings_that_make_no_sense(given: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why) as refusal:
        ServerSettings(**given)
    assert "hush" not in str(refusal.value)
