"""HTTP/2 over TLS, spoken frame by frame: what is announced, and what a hostile client gets."""

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
import pytest
import trio
from trio.testing import MockClock

from api import tls
from tests.api.served import Served, serving

IDLE_BEFORE_JUMP_S = 0.05
CONNECT_PROTOCOL = h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL


class H2Client:
    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        config = h2.config.H2Configuration(header_encoding="utf-8", validate_outbound_headers=False)
        self.h2 = h2.connection.H2Connection(config)
        self.events: list[Any] = []
        self.is_closed = False

    async def begin(self, path: str = "/echo", method: str = "GET", **more: Any) -> int:
        stream_id = self.h2.get_next_available_stream_id()
        pseudo = {":method": method, ":authority": "x"}
        if method != "CONNECT":
            pseudo |= {":scheme": "https", ":path": path}
        pseudo |= more.get("pseudo", {})
        headers = [*pseudo.items(), *more.get("headers", [])]
        self.h2.send_headers(stream_id, headers, end_stream=more.get("end", True))
        await self.flush()
        return stream_id

    async def flush(self) -> None:
        await self.stream.send_all(self.h2.data_to_send())

    async def until(self, kind: Any, stream_id: int | None = None) -> Any:
        """The next event of that kind; what came before it stays in `events`."""
        while True:
            for event in self.events:
                if isinstance(event, kind) and stream_id in (
                    None,
                    getattr(event, "stream_id", None),
                ):
                    self.events.remove(event)
                    return event
            await self.more()
            assert not self.is_closed, f"closed before {kind}: {self.events}"

    async def more(self) -> None:
        try:
            data = await self.stream.receive_some()
        except trio.BrokenResourceError:
            data = b""
        self.is_closed = not data
        self.events += self.h2.receive_data(bytes(data)) if data else []
        if not self.is_closed:
            await self.flush()

    async def reply(self, stream_id: int) -> tuple[int, bytes]:
        headers = dict((await self.until(h2.events.ResponseReceived, stream_id)).headers)
        body = b""
        while len(body) < int(headers["content-length"]):
            body += (await self.until(h2.events.DataReceived, stream_id)).data
        return int(headers[":status"]), body

    async def rest(self) -> None:
        while not self.is_closed:
            await self.more()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tls.DevCertificate:
    return tls.dev_certificate(tmp_path_factory.mktemp("data"))


@asynccontextmanager
async def connected(
    certificate: tls.DevCertificate, **limits: Any
) -> AsyncIterator[tuple[Served, H2Client]]:
    context = tls.server_context(certificate.cert_file, certificate.key_file)
    trust = ssl.create_default_context(cafile=certificate.ca_file)
    trust.set_alpn_protocols(["h2"])
    async with serving(context, **limits) as server:
        raw = await server.connect()
        stream = trio.SSLStream(
            raw.stream, trust, server_hostname="localhost", https_compatible=True
        )
        client = H2Client(stream)
        client.h2.initiate_connection()
        await client.flush()
        yield server, client


async def test_browsers_are_not_told_of_websockets_over_http2(
    certificate: tls.DevCertificate,
) -> None:
    async with connected(certificate) as (_, client):
        await client.until(h2.events.RemoteSettingsChanged)
        assert client.h2.remote_settings[CONNECT_PROTOCOL] == 0
        assert client.h2.remote_settings.max_concurrent_streams == 100


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("/" + "u" * 9_000, [], 414, 41400),
        ("/echo", [("a", "h" * 20_000)], 431, 43100),
        ("/echo", [("content-length", str(10**12))], 413, 40009),
    ],
)
async def test_limits_are_those_of_http1(
    certificate: tls.DevCertificate,
    path: str,
    headers: list[tuple[str, str]],
    status: int,
    code: int,
) -> None:
    async with connected(certificate, linger_ms=20) as (_, client):
        refused = await client.begin(path, headers=headers, end=status != 413)
        got, body = await client.reply(refused)
        assert (got, json.loads(body)["error"]["code"]) == (status, code)
        assert (await client.reply(await client.begin()))[0] == 200


async def test_a_head_beyond_all_measure_ends_the_connection(
    certificate: tls.DevCertificate,
) -> None:
    async with connected(certificate) as (server, client):
        await client.begin(headers=[(f"a{n}", "h" * 4_000) for n in range(20)])
        await client.rest()
        await server.admission.wait_empty()


@pytest.mark.parametrize("path", ["/early", "/echo"])
async def test_a_reply_before_the_end_of_the_request_spares_the_other_requests(
    certificate: tls.DevCertificate, path: str
) -> None:
    """Body that comes after the reply is a KeyError in Hypercorn, and ended the connection."""
    async with connected(certificate, linger_ms=20, body_bytes_max=20_000) as (server, client):
        held = await client.begin("/hold")
        early = await client.begin(path, "POST", end=False)
        for _ in range(4):
            client.h2.send_data(early, bytes(10_000))
        await client.flush()
        assert (await client.reply(early))[0] in {401, 413}
        reset = await client.until(h2.events.StreamReset, early)
        assert reset.error_code == h2.errors.ErrorCodes.NO_ERROR
        server.app.release.set()
        assert await client.reply(held) == (200, b"released")


async def test_body_that_floods_in_while_its_reply_ends_spares_the_other_requests(
    certificate: tls.DevCertificate,
) -> None:
    async with connected(certificate, linger_ms=20) as (server, client):
        held = await client.begin("/hold")
        early = await client.begin("/early", "POST", end=False)
        while not any(isinstance(event, h2.events.StreamReset) for event in client.events):
            room = client.h2.local_flow_control_window(early)
            for _ in range(min(room, 1_000)):
                client.h2.send_data(early, b"x")
            await client.flush()
            await client.more()
        server.app.release.set()
        assert await client.reply(held) == (200, b"released")


@pytest.mark.parametrize("path", ["/echo", "/hold"])
async def test_a_client_that_leaves_is_forgotten_at_once(
    certificate: tls.DevCertificate, path: str
) -> None:
    async with connected(certificate) as (server, client):
        await client.begin(path)
        await trio.testing.wait_all_tasks_blocked()
        await trio.aclose_forcefully(client.stream)
        await trio.testing.wait_all_tasks_blocked()
        server.app.release.set()
        await server.admission.wait_empty()


async def test_a_slow_body_is_refused(certificate: tls.DevCertificate) -> None:
    async with connected(certificate, body_timeout_ms=50, linger_ms=20) as (_, client):
        slow = await client.begin(method="POST", end=False)
        assert (await client.reply(slow))[0] == 408


async def test_a_reply_that_breaks_off_does_not_leave_its_client_waiting(
    certificate: tls.DevCertificate,
) -> None:
    async with connected(certificate, may_log="tidelog.http") as (_, client):
        await client.begin("/stumble")
        await client.rest()


async def test_a_websocket_over_http2_is_reset(certificate: tls.DevCertificate) -> None:
    extended = {":scheme": "https", ":path": "/", ":protocol": "websocket"}
    async with connected(certificate) as (_, client):
        bad = await client.begin(method="CONNECT", pseudo=extended, end=False)
        await client.until(h2.events.StreamReset, bad)
        assert (await client.reply(await client.begin()))[0] == 200


@pytest.mark.parametrize(
    ("method", "path"), [("CONNECT", "/"), ("GET", "/\u00fc"), ("G\u00cbT", "/")]
)
async def test_requests_that_would_break_hypercorn_are_reset(
    certificate: tls.DevCertificate, method: str, path: str
) -> None:
    async with connected(certificate) as (_, client):
        bad = await client.begin(path, method)
        await client.until(h2.events.StreamReset, bad)
        assert (await client.reply(await client.begin()))[0] == 200


async def test_opening_and_resetting_requests_without_end_is_stopped(
    certificate: tls.DevCertificate,
) -> None:
    async with connected(certificate) as (server, client), trio.open_nursery() as nursery:
        nursery.start_soon(_reset_for_ever, client)
        await server.admission.wait_empty()
        nursery.cancel_scope.cancel()


async def _reset_for_ever(client: H2Client) -> None:
    try:
        while True:
            stream_id = await client.begin("/hold")
            client.h2.reset_stream(stream_id)
            await client.flush()
    except trio.BrokenResourceError:
        pass


async def test_shutdown_finishes_requests_under_way(certificate: tls.DevCertificate) -> None:
    async with connected(certificate) as (server, client):
        held = await client.begin("/hold")
        await server.app.entered.wait()
        server.stop.set()
        (connection,) = server.admission.connections
        await connection.draining.wait()
        late = await client.begin()
        assert await client.until(h2.events.StreamReset, late)
        server.app.release.set()
        assert await client.reply(held) == (200, b"released")
        await client.rest()
        await server.stopped.wait()


@pytest.fixture
def clock() -> MockClock:
    return MockClock(autojump_threshold=IDLE_BEFORE_JUMP_S)


@pytest.mark.parametrize("requests", [0, 1])
async def test_an_idle_connection_is_closed(
    clock: MockClock, certificate: tls.DevCertificate, requests: int
) -> None:
    async with connected(certificate, idle_timeout_ms=10_000) as (_, client):
        for _ in range(requests):
            await client.reply(await client.begin())
        began = trio.current_time()
        await client.rest()
        assert trio.current_time() - began == pytest.approx(10, abs=1)


async def test_a_client_that_opens_no_window_is_cut_off(
    clock: MockClock, certificate: tls.DevCertificate
) -> None:
    """It reads, and so keeps TCP going, but never takes its reply: only HTTP/2 sees it stall."""
    async with connected(certificate, write_timeout_ms=10_000) as (server, client):
        server.app.reply_bytes = 10_000_000
        began = trio.current_time()
        await client.begin("/large")
        await client.rest()
        assert trio.current_time() - began == pytest.approx(10, abs=1)
        await server.admission.wait_empty()
