"""GET /metrics: what it says of what happened, in Prometheus' words, and where it says it."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from api.metrics import service
from api.metrics.catalogue import METRICS, Sources
from api.metrics.exposition import exposition
from api.metrics.loop_lag import BOUNDS_S, LoopLag
from api.realtime.protocol import Action
from api.settings import ServerSettings
from broker import BrokerSettings
from broker.push.events import Selector
from tests.api.command_line import inside, serving, tidelog
from tests.api.realtime_server import RealtimeServer, realtime_server

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
ROOT = Path(__file__).parents[3]


def read(text: str) -> Samples:
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


@dataclass
class Watched:
    server: RealtimeServer
    url: str

    async def samples(self) -> Samples:
        async with httpx.AsyncClient() as client:
            reply = await client.get(f"{self.url}/metrics")
        assert reply.status_code == 200
        assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        return read(reply.text)

    async def value(self, name: str, **labels: str) -> float:
        return (await self.samples()).get((name, frozenset(labels.items())), 0)

    async def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        base = f"http://127.0.0.1:{self.server.listening.port}"
        user, _, password = self.server.key.partition(":")
        async with httpx.AsyncClient(base_url=base, auth=(user, password)) as client:
            return await client.request(method, path, **options)


@asynccontextmanager
async def watched(
    path: Path, settings: BrokerSettings | None = None, **limits: Any
) -> AsyncIterator[Watched]:
    stop = trio.Event()
    async with (
        realtime_server(path, settings=settings, **limits) as server,
        trio.open_nursery() as nursery,
    ):
        sources = Sources(server.broker, server.listening.admission, server.realtime, LoopLag())

        async def run(task_status: trio.TaskStatus[Any]) -> None:
            own = ServerSettings(metrics_port=0)
            await service.serve(sources, own, shutdown=stop, task_status=task_status)

        listening = await nursery.start(run)
        try:
            yield Watched(server, f"http://127.0.0.1:{listening.port}")
        finally:
            stop.set()


async def test_every_metric_is_told_once_and_is_of_its_kind(tmp_path: Path) -> None:
    async with watched(tmp_path) as it, httpx.AsyncClient() as client:
        text = (await client.get(f"{it.url}/metrics")).text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for metric in METRICS:
        family = families.pop(metric.name.removesuffix("_total"))
        assert (family.type, family.documentation) == (metric.kind.value, metric.help)
        assert family.samples or metric.labels
    assert families
    assert all(name.startswith("process_") for name in families)


async def test_what_happened_is_counted(tmp_path: Path) -> None:
    async with watched(tmp_path) as it:
        before = await it.samples()
        subscriber = await it.server.connect()
        await subscriber.attach("orders")
        message = {"id": "one:0", "name": "n", "data": "12345"}
        for _ in range(2):
            assert (await it.ask("POST", "/channels/orders/messages", json=message)).is_success
        await subscriber.names("orders", 1)
        assert (await it.ask("GET", "/channels/orders/messages")).is_success
        after = await it.samples()

        def grew(name: str, **labels: str) -> float:
            key = (name, frozenset(labels.items()))
            return after[key] - before.get(key, 0)

        assert grew("tidelog_messages_published_total") == 1
        assert grew("tidelog_messages_published_bytes_total") == len("n12345")
        assert grew("tidelog_publishes_repeated_total") == 1
        assert grew("tidelog_messages_delivered_total") == 1
        assert grew("tidelog_messages_delivered_bytes_total") == 5
        assert grew("tidelog_history_reads_total") == 1
        assert grew("tidelog_http_requests_total", protocol="rest", status="201") == 2
        assert grew("tidelog_realtime_connections") == 1
        assert grew("tidelog_attachments") == 1
        assert grew("tidelog_commits_total") >= 3
        assert grew("tidelog_commit_sync_seconds_total") > 0
        assert grew("tidelog_records_total") >= 3
        assert grew("tidelog_log_position_seconds") > 0
        assert grew("tidelog_connections") == 1
        file_bytes = it.server.broker.log.engine.file_bytes()
        assert after["tidelog_log_file_bytes", frozenset()] == file_bytes
        assert 0 < after["tidelog_log_used_bytes", frozenset()] <= file_bytes
        assert after["tidelog_ready", frozenset()] == 1


async def test_what_was_delivered_outlives_its_minute_and_its_app(tmp_path: Path) -> None:
    async with watched(tmp_path) as it:
        activity = it.server.broker.epoch.activity
        activity.delivered("a", 2, 10)
        activity.delivered("b", 1, 5, presence=True)
        list(activity.take())
        activity.delivered("a", 1, 7)
        activity.forget("a")
        assert activity.delivered_in_all == [3, 17, 1, 5]
        assert await it.value("tidelog_messages_delivered_total") == 3


async def test_refusals_by_protocol_and_code(tmp_path: Path) -> None:
    async with watched(tmp_path) as it:
        assert (await it.ask("GET", "/channels/c/messages?limit=-1")).status_code == 400
        assert (await it.ask("GET", "/device_api/v1/instances")).status_code == 400
        assert (await it.ask("GET", "/_matrix/client/v3/pushers")).status_code == 401
        stranger = await it.server.open(key="no.such:key")
        await stranger.hears(Action.ERROR)
        samples = await it.samples()
        refused = {
            (dict(labels)["protocol"], dict(labels)["code"], count)
            for (name, labels), count in samples.items()
            if name == "tidelog_refused_total"
        }
    assert refused == {
        ("rest", "40003", 1),
        ("beams", "40000", 1),
        ("matrix", "40100", 1),
        ("realtime", "40101", 1),
    }


async def test_connections_turned_away(tmp_path: Path) -> None:
    async with watched(tmp_path, connections_max=1) as it:
        await it.server.connect()
        assert (await it.ask("GET", "/time")).status_code == 503
        assert await it.value("tidelog_connections_refused_total", limit="connections_max") == 1


async def test_notifications_that_have_no_transport(tmp_path: Path) -> None:
    """What an address names is its sender's: no label is made of it."""
    async with watched(tmp_path) as it:
        app = it.server.broker.default_app()
        selector = Selector(recipient={"transportType": "made\nup"})
        await it.server.broker.push.publish(app, selector, {"data": {}})
        with trio.fail_after(30):
            while not it.server.broker.outbox.by_transport:
                await trio.lowlevel.checkpoint()
        labels = {"transport": "none", "verdict": "misconfigured"}
        assert await it.value("tidelog_push_attempts_total", **labels) == 1
        assert await it.value("tidelog_push_notifications_waiting") == 1


async def test_what_was_left_out_of_the_log_of_an_app(tmp_path: Path) -> None:
    async with watched(tmp_path, BrokerSettings(app_log_reports_max=1)) as it:
        client = await it.server.connect()
        for _ in range(3):
            await client.says(Action.ATTACH, channel="")
            await client.hears(Action.ERROR)
        assert await it.value("tidelog_app_log_left_out_total") == 2


async def test_loop_lag_is_what_a_task_waits(autojump_clock: trio.testing.MockClock) -> None:
    lag, stop = LoopLag(), trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lag.run, stop)
        await trio.sleep(0.95)
        autojump_clock.jump(0.35)  # the loop did nothing else for so long: 0.3 s late
        await trio.sleep(0.05)
        stop.set()
    assert lag.samples == 10
    assert lag.total_s == pytest.approx(0.3)
    assert [count for _, count in lag.buckets] == [9 + (s >= 0.3) for s in BOUNDS_S] + [10]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 404), ("GET", "/metrics/x", 404), ("POST", "/metrics", 405)],
)
async def test_nothing_else_is_served(tmp_path: Path, method: str, path: str, status: int) -> None:
    async with watched(tmp_path) as it, httpx.AsyncClient() as client:
        reply = await client.request(method, it.url + path)
        assert (reply.status_code, reply.headers["content-type"].partition(";")[0]) == (
            status,
            "text/plain",
        )
        head = await client.head(f"{it.url}/metrics")
        assert (head.status_code, head.content) == (200, b"")


async def test_no_label_names_a_tenant(tmp_path: Path) -> None:
    async with watched(tmp_path) as it:
        await it.ask("POST", "/channels/secret-name/messages", json={"name": "n"})
        sources = Sources(
            it.server.broker, it.server.listening.admission, it.server.realtime, LoopLag()
        )
        text = (await exposition(sources)).decode()
        for secret in ("secret-name", it.server.broker.default_app(), it.server.key):
            assert secret not in text


def test_the_server_tells_on_an_address_of_its_own(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        option = ("--set", f"server.metrics_port={port}")
        ended = tidelog("serve", "--data", tmp_path / "data", "--port", "0", *option)
        assert ended.status != 0
        assert f"cannot listen on 127.0.0.1 port {port}" in ended.err
    with serving(tmp_path / "data", *option) as served:
        told = httpx.get(f"http://127.0.0.1:{port}/metrics")
        assert read(told.text)["tidelog_ready", frozenset()] == 1
        assert httpx.get(f"http://127.0.0.1:{served.port}/metrics").status_code == 404


def test_it_is_off_by_default(tmp_path: Path) -> None:
    settings = inside("config", "--json", cwd=tmp_path).json["settings"]
    (port,) = [one for one in settings if one["name"] == "server.metrics_port"]
    assert (port["value"], port["variable"]) == (0, "TIDELOG_SERVER_METRICS_PORT")


def test_the_reference_lists_every_metric_as_it_is() -> None:
    rows = [
        tuple(cell.strip() for cell in line.strip("|").split("|"))
        for line in (ROOT / "docs" / "metrics.md").read_text().splitlines()
        if line.startswith("| `tidelog_") and line.count("|") == 5
    ]
    assert rows == [
        (f"`{m.name}`", m.kind.value, ", ".join(f"`{label}`" for label in m.labels), m.help)
        for m in METRICS
    ]
