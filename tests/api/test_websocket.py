"""WebSockets over the real listener: messages however they are cut, and every way they end."""

import contextlib
import random
import socket
import ssl
from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import wait_all_tasks_blocked
from websockets.frames import Opcode

from api import tls
from api.realtime.websocket import WebSocket, binary_frame
from tests.api.served import get
from tests.api.websocket_client import (
    WebSocketClient,
    WebSocketServer,
    echo,
    masked,
    websockets_served,
)

IDLE_S = 0.05  # nothing moves on a loopback connection for this long: it is full
KEY = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
ASKED = ("Connection: keep-alive, Upgrade", "Upgrade: WebSocket")
HANDSHAKE = (*ASKED, "Sec-WebSocket-Version: 13", KEY)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tls.DevCertificate:
    return tls.dev_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=["plain", "tls"])
async def server(
    request: pytest.FixtureRequest, certificate: tls.DevCertificate
) -> AsyncIterator[WebSocketServer]:
    context = None
    if request.param == "tls":
        context = tls.server_context(certificate.cert_file, certificate.key_file)
    async with websockets_served(echo, context) as running:
        if context is not None:
            running.context = ssl.create_default_context(cafile=str(certificate.ca_file))
        yield running


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 400_000])
async def test_messages_of_every_length(server: WebSocketServer, size: int) -> None:
    client = await server.connect()
    data = random.randbytes(size)
    await client.send(data)
    assert await client.message() == data


async def test_texts_and_binaries_in_order(server: WebSocketServer) -> None:
    client = await server.connect()
    await client.send("häuser".encode(), text=True)
    await client.send(b"\xff\xfe")
    frames = [await client.event(), await client.event()]
    assert [(f.opcode, bytes(f.data)) for f in frames] == [
        (Opcode.TEXT, "häuser".encode()),
        (Opcode.BINARY, b"\xff\xfe"),
    ]


async def test_fragments_with_a_ping_between(server: WebSocketServer) -> None:
    client = await server.connect()
    await client.raw(masked(1, b"\xc3", fin=False) + masked(9, b"are you there"))
    await client.raw(masked(0, b"", fin=False) + masked(0, b"\xa4", fin=True))
    frames = {frame.opcode: bytes(frame.data) for frame in [await client.event() for _ in "12"]}
    assert frames == {Opcode.PONG: b"are you there", Opcode.TEXT: "ä".encode()}


async def test_bytes_behind_the_request_head_are_the_first_frames() -> None:
    async with websockets_served() as server:
        client = await server.served.connect()
        await client.send(get("/", *HANDSHAKE) + masked(2, b"early") + masked(8, b"\x03\xe8"))
        reply = await client.reply()
        assert reply.status == 101
        assert await client.rest() == binary_frame(b"early") + b"\x88\x02\x03\xe8"


async def test_the_client_closes(server: WebSocketServer) -> None:
    client = await server.connect()
    client.protocol.send_close(1001)
    await client.flush()
    assert await client.close_code() == 1001
    await server.served.admission.wait_empty()


async def test_the_server_closes_behind_what_it_sent() -> None:
    async def session(websocket: WebSocket) -> None:
        for number in range(100):
            websocket.outbox.send(binary_frame(b"%d" % number * 1000))
        await websocket.close(4000)
        websocket.outbox.send(b"nothing follows")

    async with websockets_served(session) as server:
        client = await server.connect()
        for number in range(100):
            assert await client.message() == b"%d" % number * 1000
        frame = await client.event()
        assert (frame.opcode, frame.data) == (Opcode.CLOSE, b"\x0f\xa0")
        await client.flush()
        assert await client.event() is None
        await server.served.admission.wait_empty()


async def test_a_close_ends_the_receive_of_another_task() -> None:
    ended = trio.Event()

    async def session(websocket: WebSocket) -> None:
        async def receive() -> None:
            assert [frame.data for frame in await websocket.receive()] == [b"go"]
            going.set()
            assert await websocket.receive() == []
            assert await websocket.receive() == []
            ended.set()

        going = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await going.wait()
            await wait_all_tasks_blocked()
            await websocket.close(1001)

    async with websockets_served(session) as server:
        client = await server.connect()
        await client.send(b"go")
        assert (await client.event()).opcode is Opcode.CLOSE
        await client.raw(masked(2, b"too late"))
        await client.flush()
        assert await client.event() is None
        await ended.wait()


VIOLATIONS = {
    "a text that is not masked": (b"\x81\x02hi", 1002),
    "an empty frame that is not masked": (b"\x82\x00", 1002),
    "RSV1 without an extension": (b"\xc1\x80\x00\x00\x00\x00", 1002),
    "an opcode that is not": (b"\x83\x80\x00\x00\x00\x00", 1002),
    "a continuation of nothing": (masked(0, b"x"), 1002),
    "a text within a text": (masked(1, b"a", fin=False) + masked(1, b"b"), 1002),
    "a ping in fragments": (b"\x09\x80\x00\x00\x00\x00", 1002),
    "a ping too long": (b"\x89\xfe\x00\x7e" + bytes(4 + 126), 1002),
    "half a close code": (masked(8, b"\x03"), 1002),
    "a close code that is never sent": (masked(8, b"\x03\xed"), 1002),
    "a close reason that is not UTF-8": (masked(8, b"\x03\xe8\xff"), 1007),
    "a text that is not UTF-8": (masked(1, b"\xff"), 1007),
    "fragments that are not": (masked(1, b"\xc3", fin=False) + masked(0, b"\xc3"), 1007),
    "too large": (b"\x82\xfe\x03\xe9", 1009),
    "absurdly large": (b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff", 1009),
    "too large in fragments": (masked(2, bytes(600), fin=False) + masked(0, bytes(401)), 1009),
}


@pytest.mark.parametrize(("data", "code"), VIOLATIONS.values(), ids=VIOLATIONS)
async def test_violations_close_with_their_code(data: bytes, code: int) -> None:
    """What came before is answered, what comes after is not; and the server ends it at once."""
    async with websockets_served(frame_bytes_max=1000, linger_ms=3_600_000) as server:
        client = await server.connect()
        await client.raw(masked(2, bytes(1000)) + data + masked(2, b"after"))
        assert await client.message() == bytes(1000)
        frame = await client.event()
        assert (frame.opcode, frame.data[:2]) == (Opcode.CLOSE, code.to_bytes(2, "big"))
        assert await client.event() is None
        await client.stream.aclose()
        await server.served.admission.wait_empty()


async def test_a_peer_that_goes_on_sending_still_hears_why_it_was_closed(
    server: WebSocketServer,
) -> None:
    """Closing with bytes unread would reset the connection, and lose the close frame."""
    client = await server.connect()
    with contextlib.suppress(trio.BrokenResourceError):
        await client.raw(bytes(3_000_000))
    await wait_all_tasks_blocked(IDLE_S)
    assert await client.close_code() == 1002


async def test_nothing_follows_the_answer_to_a_close() -> None:
    async def session(websocket: WebSocket) -> None:
        assert await websocket.receive() == []
        websocket.outbox.send(binary_frame(b"too late"))
        websocket.outbox.deliver(binary_frame(b"too late"), _Nobody(), 1)
        await websocket.close()

    async with websockets_served(session) as server:
        client = await server.served.connect()
        await client.send(get("/", *HANDSHAKE))
        await client.reply()
        await client.send(masked(8, b"\x03\xe8"))
        assert await client.rest() == b"\x88\x02\x03\xe8"


class _Nobody:
    def fall_behind(self, position: int) -> None:
        raise AssertionError("nothing was dropped")


async def test_a_peer_that_vanishes_ends_the_session(server: WebSocketServer) -> None:
    client = await server.connect()
    await client.raw(masked(2, b"half a frame")[:-3])
    await client.stream.aclose()
    await server.served.admission.wait_empty()


async def test_a_peer_that_does_not_read_its_pongs_is_not_read_from() -> None:
    websockets: list[WebSocket] = []

    async def session(websocket: WebSocket) -> None:
        websockets.append(websocket)
        await echo(websocket)

    async with websockets_served(session) as server, trio.open_nursery() as nursery:
        client = await server.connect()
        nursery.start_soon(_flood, client, masked(9, bytes(125)) * 1000)
        while not websockets or not websockets[0].outbox.queued_bytes:
            await trio.lowlevel.checkpoint()
        await wait_all_tasks_blocked(IDLE_S)
        assert 256 * 1024 < websockets[0].outbox.control_bytes < 512 * 1024
        websockets[0].abort()
        await server.served.admission.wait_empty()
        assert server.budget.used_bytes == 0
        nursery.cancel_scope.cancel()


async def _flood(client: WebSocketClient, data: bytes) -> None:
    with contextlib.suppress(trio.BrokenResourceError):
        while True:
            await client.raw(data)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (ASKED, 400),
        ((*ASKED, "Sec-WebSocket-Version: 13"), 400),
        ((*ASKED, KEY), 400),
        ((*ASKED, "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: short"), 400),
        ((*ASKED, "Sec-WebSocket-Version: 13", KEY, KEY), 400),
        ((*ASKED, "Sec-WebSocket-Version: 8", KEY), 426),
        (("Connection: Upgrade", "Upgrade: websocket, h2c", *HANDSHAKE[2:]), 400),
    ],
)
async def test_bad_handshakes_are_refused(headers: tuple[str, ...], status: int) -> None:
    async with websockets_served() as server:
        reply = await server.served.ask(get("/", *headers))
        assert reply.status == status
        assert int(reply.headers["x-ably-errorcode"]) == status * 100
        assert ("sec-websocket-version" in reply.headers) == (status == 426)


async def test_http_1_0_cannot_be_upgraded() -> None:
    request = get("/", *HANDSHAKE).replace(b"HTTP/1.1", b"HTTP/1.0")
    async with websockets_served() as server:
        assert (await server.served.ask(request)).status == 400


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/", {}),
        ("/?", {}),
        ("/any/path?key=a.b%3Ac&v=2&e=&f", {"key": "a.b:c", "v": "2", "e": "", "f": ""}),
        ("?v=2", {"v": "2"}),
        ("/?v=1&v=2", {"v": "2"}),
        ("/?a=%C3%A4+b&c=%ff", {"a": "ä b", "c": "\ufffd"}),
        ("http://elsewhere/?v=2", {"v": "2"}),
    ],
)
async def test_query_and_headers(target: str, expected: dict[str, str]) -> None:
    seen: list[WebSocket] = []

    async def session(websocket: WebSocket) -> None:
        seen.append(websocket)
        await websocket.close()

    async with websockets_served(session) as server:
        client = await server.served.connect()
        await client.send(get(target, *HANDSHAKE, "Authorization: Basic x", "X: 1", "x: 2"))
        assert (await client.reply()).status == 101
    assert seen[0].query == expected
    assert (seen[0].headers["authorization"], seen[0].headers["x"]) == ("Basic x", "2")


async def test_the_socket_is_tuned() -> None:
    options = [socket.TCP_NODELAY, socket.TCP_USER_TIMEOUT, socket.TCP_NOTSENT_LOWAT]
    async with websockets_served(stalled_timeout_ms=77_000) as server:
        await server.connect()
        (connection,) = server.served.admission.connections
        found = [connection.transport.getsockopt(socket.IPPROTO_TCP, one) for one in options]
        assert found == [1, 77_000, 131_072]


async def test_what_was_read_of_the_request_can_be_forgotten() -> None:
    seen: list[WebSocket] = []

    async def session(websocket: WebSocket) -> None:
        assert websocket.headers["upgrade"] == "websocket"
        websocket.forget_request()
        seen.append(websocket)
        await websocket.close()

    async with websockets_served(session) as server:
        assert await (await server.connect("/?v=2")).close_code() == 1000
    assert (seen[0].query, seen[0].headers) == ({}, {})


async def test_no_extension_is_agreed_on() -> None:
    async with websockets_served() as server:
        client = await server.served.connect()
        offer = "Sec-WebSocket-Extensions: permessage-deflate"
        await client.send(get("/", *HANDSHAKE, offer, "Sec-WebSocket-Protocol: chat"))
        headers = (await client.reply()).headers
        assert not {"sec-websocket-extensions", "sec-websocket-protocol"} & set(headers)
