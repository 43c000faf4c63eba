"""Every limit of the server, each met by a client that means harm.

Time is virtual: the clock jumps to the next deadline once everything has been idle for a moment,
so a ten-second timeout costs milliseconds. A server without the limit would hang its test.
"""

import json

import pytest
import trio
from trio.testing import MockClock

from tests.api.served import Client, Served, get, post, serving

IDLE_BEFORE_JUMP_S = 0.05  # real time; loopback traffic is never idle for that long

START = b"POST /echo HTTP/1.1\r\nHost: x\r\n"
CHUNKED = START + b"Transfer-Encoding: chunked\r\n\r\n"
GIANT = b"Content-Length: %d\r\n\r\n"


@pytest.fixture
def clock() -> MockClock:
    return MockClock(autojump_threshold=IDLE_BEFORE_JUMP_S)


@pytest.mark.parametrize("warm_up", [b"", get()], ids=["first", "later"])
@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (get("/" + "u" * 9_000), 414, 41400),
        (get("/echo", "A: " + "h" * 20_000), 431, 43100),
        (get("/echo", *(f"A{n}: {n}" for n in range(3_000))), 431, 43100),
        (START + GIANT % 10**15, 413, 40009),
        (START + GIANT % (2 * 1024 * 1024 + 1), 413, 40009),
        (CHUNKED + b"400000\r\n" + bytes(0x400000) + b"\r\n0\r\n\r\n", 413, 40009),
        (b"garbage\r\n\r\n", 400, 40000),
        (b"GET / HTTP/1.1\r\n\r\n", 400, 40000),
        (b"GET / HTTP/1.1\r\nHost: x\r\nBad Header: y\r\n\r\n", 400, 40000),
        (START + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, 40000),
        (START + b"Content-Length: -1\r\n\r\n", 400, 40000),
        (START + b"Transfer-Encoding: gzip\r\n\r\n", 501, 50100),
    ],
)
async def test_bad_requests_get_an_envelope_and_an_end(
    clock: MockClock, warm_up: bytes, request_: bytes, status: int, code: int
) -> None:
    async with serving() as server:
        client = await server.connect()
        if warm_up:
            await client.send(warm_up)
            await client.reply()
        await client.send(request_)
        reply = await client.reply()
        assert reply.status == status
        error = json.loads(reply.body)["error"]
        assert (error["code"], error["statusCode"]) == (code, status)
        assert error["href"].endswith(str(code))
        assert await client.rest() == b""
        await server.admission.wait_empty()


@pytest.mark.parametrize("endless", [b"GET /", get()[:-2] + b"A: "], ids=["url", "header"])
async def test_a_head_without_end_is_refused_before_it_is_whole(
    clock: MockClock, endless: bytes
) -> None:
    async with serving() as server:
        client = await server.connect()
        await client.send(endless + b"x" * 30_000)
        assert (await client.reply()).status in {414, 431}


async def test_a_body_that_does_not_parse_beside_an_early_answer(clock: MockClock) -> None:
    chunked = b"POST /early HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n"
    async with serving() as server:
        reply = await server.ask(chunked)
        assert (reply.status, json.loads(reply.body)["error"]["code"]) == (400, 40000)


@pytest.mark.parametrize("line", ["Authorization : hush", "hush"])
async def test_what_does_not_parse_is_not_repeated(clock: MockClock, line: str) -> None:
    async with serving() as server:
        reply = await server.ask(get("/echo", line))
        assert reply.status == 400
        assert b"illegal header line" in reply.body
        assert "hush" not in f"{reply.headers}{reply.body!r}"


async def test_tls_on_a_plain_port_is_told_so(clock: MockClock) -> None:
    async with serving() as server:
        reply = await server.ask(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc")
        assert reply.status == 400
        assert b"not https" in reply.body


async def test_a_refused_client_sees_the_end_before_we_stop_reading() -> None:
    async with serving(linger_ms=3_600_000) as server:
        client = await server.connect()
        await client.send(b"garbage\r\n\r\n")
        assert b"400 Bad Request" in await client.rest()


async def test_silence_is_closed_without_a_word(clock: MockClock) -> None:
    async with serving(header_timeout_ms=10_000) as server:
        began = trio.current_time()
        assert await (await server.connect()).rest() == b""
        assert trio.current_time() - began == pytest.approx(10, abs=1)


async def _drip(client: Client, data: bytes) -> None:
    """One byte a second for as long as the server takes them."""
    try:
        while True:
            for index in range(len(data)):
                await client.send(data[index : index + 1])
                await trio.sleep(1)
    except trio.BrokenResourceError:
        pass


@pytest.mark.parametrize(
    ("start", "drop"),
    [(get()[:-2], b"A: b\r\n"), (START + GIANT % 1000, b"x"), (CHUNKED, b"1\r\nx\r\n")],
    ids=["head", "body", "chunks"],
)
async def test_one_byte_a_second_is_too_slow(clock: MockClock, start: bytes, drop: bytes) -> None:
    async with serving(header_timeout_ms=10_000, body_timeout_ms=10_000) as server:
        began = trio.current_time()
        client = await server.connect()
        await client.send(start)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_drip, client, drop)
            reply = await client.reply()
            assert reply.status == 408
            assert json.loads(reply.body)["error"]["code"] == 40800
            await server.admission.wait_empty()
            nursery.cancel_scope.cancel()
        assert trio.current_time() - began < 15


@pytest.mark.parametrize("start", [b"", b"GET / HT"], ids=["silent", "dripping"])
@pytest.mark.parametrize("path", ["/echo", "/watch"])
async def test_an_idle_connection_is_closed(clock: MockClock, path: str, start: bytes) -> None:
    """Also when it drips bytes of a next request that never comes."""
    async with serving(idle_timeout_ms=10_000) as server:
        client = await server.connect()
        await client.send(get(path))
        await client.reply()
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            if start:
                nursery.start_soon(_drip, client, start + b"x" * 60)
            assert await client.rest() == b""
            nursery.cancel_scope.cancel()
        assert trio.current_time() - began == pytest.approx(10, abs=2)


async def test_an_endless_refused_body_is_cut_off(clock: MockClock) -> None:
    async with serving(linger_ms=2_000) as server:
        client = await server.connect()
        await client.send(START + GIANT % 10**15)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_drip, client, b"x")
            assert (await client.reply()).status == 413
            await server.admission.wait_empty()
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("path", ["/early", "/echo"])
async def test_an_endless_body_sent_fast_is_cut_off(path: str) -> None:
    """In real time: the clock of the other tests would never see this client idle."""
    async with serving(linger_ms=50) as server:
        client = await server.connect()
        await client.send(CHUNKED.replace(b"/echo", path.encode()))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_flood, client)
            await server.admission.wait_empty()
            nursery.cancel_scope.cancel()


async def _flood(client: Client) -> None:
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    try:
        while True:
            await client.send(chunk)
    except trio.BrokenResourceError:
        pass


async def test_a_client_that_does_not_read_is_cut_off(clock: MockClock) -> None:
    async with serving(write_timeout_ms=10_000) as server:
        server.app.reply_bytes = 50_000_000
        client = await server.connect()
        await client.send(get("/large"))
        await server.admission.wait_empty()
        assert len(await client.rest()) < 50_000_000


async def test_a_slow_reader_that_makes_progress_gets_everything(clock: MockClock) -> None:
    async with serving(write_timeout_ms=3_000) as server:
        server.app.reply_bytes = 8_000_000
        client = await server.connect()
        await client.send(get("/large"))
        received = 0
        while received < 8_000_000:
            await trio.sleep(1)
            received += len(await client.stream.receive_some(500_000))


async def _fill(server: Served, count: int) -> list[Client]:
    clients = [await server.connect() for _ in range(count)]
    while len(server.admission.connections) < count:
        await trio.lowlevel.checkpoint()
    return clients


@pytest.mark.parametrize(
    ("limit", "status"), [("connections_max", 503), ("connections_per_address_max", 429)]
)
async def test_connections_are_limited(limit: str, status: int) -> None:
    async with serving(**{limit: 3}) as server:
        clients = await _fill(server, 3)
        refused = await server.ask(get())
        assert refused.status == json.loads(refused.body)["error"]["statusCode"] == status
        assert server.admission.refused[limit] == 1
        await clients[0].stream.aclose()
        while len(server.admission.connections) == 3:
            await trio.lowlevel.checkpoint()
        assert (await server.ask(get())).status == 200


async def test_refusals_are_limited_too() -> None:
    """Beyond a number of clients being told why they are refused, connections are just closed."""
    async with serving(connections_max=1) as server:
        await _fill(server, 1)
        refused = [await server.connect() for _ in range(80)]
        while server.admission.refused["connections_max"] < 80:
            await trio.lowlevel.checkpoint()
        assert await refused[-1].rest() == b""
        assert (await refused[0].reply()).status == 503


async def test_trusted_proxies_are_not_counted_per_address() -> None:
    limits = {"connections_per_address_max": 1, "trusted_proxies": ("127.0.0.0/8",)}
    async with serving(**limits) as server:
        await _fill(server, 3)
        assert (await server.ask(get())).status == 200


async def test_strangers_make_room_and_the_authenticated_stay() -> None:
    async with serving(unauthenticated_connections_max=2) as server:
        known = await server.connect()
        await known.send(get("/authenticate"))
        await known.reply()
        held = await server.connect()
        await held.send(get("/hold"))
        await server.app.entered.wait()
        idle = await server.connect()
        assert (await server.ask(post(b"newcomer"))).body == b"newcomer"
        assert await idle.rest() == b""
        server.app.release.set()
        assert (await held.reply()).body == b"released"
        await known.send(get())
        assert (await known.reply()).status == 200
