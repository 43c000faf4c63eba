"""What one port serves: HTTP/1.1 however its bytes arrive, upgrades, and failing applications."""

import json
import resource
from typing import Any

import pytest
import trio

from api import file_descriptors, listener
from api.listener import Upgrade
from tests.api.served import Client, get, post, serving

CHUNKED = (
    b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
)
UPGRADE = get("/", "Connection: keep-alive, Upgrade", "Upgrade: websocket")


def error_of(body: bytes) -> dict[str, Any]:
    return json.loads(body)["error"]


async def test_replies_without_naming_the_software() -> None:
    async with serving() as server:
        reply = await server.ask(post(b"hello"))
        assert (reply.status, reply.body) == (200, b"hello")
        assert "server" not in reply.headers
        assert reply.headers["date"].endswith("GMT")


@pytest.mark.parametrize("step", [1, 7, 100_000])
@pytest.mark.parametrize("request_", [post(b"x" * 200), CHUNKED, get()])
async def test_bytes_may_arrive_in_any_pieces(request_: bytes, step: int) -> None:
    async with serving() as server:
        whole = await server.ask(request_)
        client = await server.connect()
        for begin in range(0, len(request_), step):
            await client.send(request_[begin : begin + step])
            await trio.testing.wait_all_tasks_blocked()
        pieces = await client.reply()
        assert (pieces.status, pieces.body) == (whole.status, whole.body) == (200, whole.body)
        assert server.app.requests[0] == server.app.requests[1]


async def test_a_body_larger_than_the_first_read_follows_the_replayed_bytes() -> None:
    body = bytes(range(256)) * 4096
    async with serving() as server:
        assert (await server.ask(post(body))).body == body


async def test_keep_alive_and_pipelining() -> None:
    async with serving() as server:
        client = await server.connect()
        await client.send(post(b"one") + post(b"two") + get("/early") + post(b"four"))
        assert [(await client.reply()).body for _ in range(4)] == [
            b"one",
            b"two",
            b"not for you",
            b"four",
        ]
        await client.send(post(b"five"))
        assert (await client.reply()).body == b"five"
        assert len(server.admission.connections) == 1


@pytest.mark.parametrize(
    "request_",
    [
        get("/echo", "Connection: close"),
        b"GET /echo HTTP/1.0\r\n\r\n",
        get("/early", "Connection: close"),
        get("/watch", "Connection: close"),
    ],
)
async def test_closes_when_the_client_wants_no_keep_alive(request_: bytes) -> None:
    async with serving() as server:
        client = await server.connect()
        await client.send(request_)
        await client.reply()
        assert await client.rest() == b""
        await server.admission.wait_empty()


async def test_head_has_no_body() -> None:
    async with serving() as server:
        client = await server.connect()
        await client.send(b"HEAD /early HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await client.rest()).endswith(b"\r\n\r\n")


@pytest.mark.parametrize("path", ["/fail", "/forget"])
async def test_a_failing_application_is_a_500_that_tells_nothing(path: str) -> None:
    async with serving(may_log="tidelog.http") as server:
        reply = await server.ask(get(path))
        assert reply.status == 500
        assert error_of(reply.body)["code"] == 50000
        assert b"secret" not in reply.body
        assert server.errors.seen.is_set()


async def test_a_reply_that_breaks_off_is_no_whole_reply() -> None:
    async with serving(may_log="tidelog.http") as server:
        client = await server.connect()
        await client.send(get("/stumble"))
        assert (await client.rest()).endswith(b"\r\n\r\nhalf")
        await server.admission.wait_empty()


async def test_an_answer_before_the_body_is_read_reaches_a_client_that_still_sends() -> None:
    """Hypercorn alone would reset the connection, or wait for itself for ever."""
    async with serving() as server:
        client = await server.connect()
        await client.send(post(bytes(2_000_000), "/early"))
        assert (await client.reply()).status == 401
        await client.send(post(b"the connection goes on"))
        assert (await client.reply()).body == b"the connection goes on"


async def test_upgrades_go_to_the_realtime_handler_with_every_byte_read() -> None:
    seen: list[Upgrade] = []

    async def realtime(upgrade: Upgrade) -> None:
        seen.append(upgrade)
        await upgrade.stream.send_all(b"from realtime")

    async with serving(realtime=realtime) as server:
        client = await server.connect()
        await client.send(UPGRADE + b"\x81\x00")
        assert await client.rest() == b"from realtime"
        assert seen[0].received == UPGRADE + b"\x81\x00"
        assert seen[0].request.target == b"/"


async def test_upgrades_are_refused_while_nobody_serves_them() -> None:
    async with serving() as server:
        reply = await server.ask(UPGRADE)
        assert (reply.status, error_of(reply.body)["statusCode"]) == (501, 501)


async def test_a_websocket_on_a_used_connection_is_refused() -> None:
    handshake = get(
        "/",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    )
    async with serving() as server:
        client = await server.connect()
        await client.send(get() + handshake)
        await client.reply()
        assert (await client.reply()).status == 426
        assert await client.rest() == b""


@pytest.mark.parametrize("last", [b"", get(), get("/hold")], ids=["new", "idle", "busy"])
async def test_a_client_that_leaves_is_forgotten_at_once(last: bytes) -> None:
    """Hypercorn alone would keep its socket for the rest of the idle timeout."""
    async with serving() as server:
        client = await server.connect()
        await client.send(get())
        await client.reply()
        await client.send(last)
        await trio.testing.wait_all_tasks_blocked()
        await client.stream.aclose()
        server.app.release.set()
        await server.admission.wait_empty()


@pytest.mark.parametrize("prefix", [b"", get()])
async def test_cleartext_http2_is_not_offered(prefix: bytes) -> None:
    async with serving() as server:
        client = await server.connect()
        await client.send(prefix + b"PRI * HTTP/2.0\r\nHost: x\r\n\r\n")
        if prefix:
            await client.reply()
        assert (await client.reply()).status == 505
        upgrade = get("/early", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c")
        assert (await server.ask(upgrade)).status == 401


async def test_runs_the_lifespan_around_everything() -> None:
    async with serving() as server:
        assert server.app.lifespan == ["startup"]
    assert server.app.lifespan == ["startup", "shutdown"]


async def test_a_port_in_use_is_an_oserror() -> None:
    async with serving() as server:
        with pytest.raises(OSError, match="in use"):
            await listener.serve(server.app, listener.ServerSettings(port=server.port))


async def test_one_failing_connection_leaves_the_others_alone() -> None:
    async def realtime(upgrade: Upgrade) -> None:
        raise RuntimeError("a bug")

    async with serving(realtime=realtime, may_log="tidelog.listener") as server:
        client = await server.connect()
        await client.send(UPGRADE)
        assert await client.rest() == b""
        assert (await server.ask(post(b"fine"))).body == b"fine"


async def test_running_out_of_descriptors_is_survived() -> None:
    async with serving(may_log="trio.serve_listeners") as server:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with trio.socket.socket() as sock:
            try:
                with trio.socket.socket() as lowest:
                    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest.fileno(), hard))
                await sock.connect(("127.0.0.1", server.port))
                await server.errors.seen.wait()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            client = Client(trio.SocketStream(sock))
            await client.send(post(b"patience"))
            assert (await client.reply()).body == b"patience"


def test_descriptors_are_raised_and_checked() -> None:
    granted = file_descriptors.raise_limit(1)
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == granted
    with pytest.raises(file_descriptors.TooFewDescriptorsError, match="ulimit"):
        file_descriptors.raise_limit(granted + 1)
    assert file_descriptors.connections_affordable(1000, 10_000) < 1000
    assert file_descriptors.connections_affordable(20_000, 10_000) == 10_000
