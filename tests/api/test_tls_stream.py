"""TLS on a socket, against another implementation of a stream; and against peers that break it."""

import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from api import tls
from api.tls_stream import ANSWERS_BYTES_MAX, RECORD_BYTES, TlsStream
from tests.api.stream_pairs import secured, shaken, streams, trusting

IDLE_S = 0.05  # nothing moves on a loopback connection for this long: it is full
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]

Client = trio.SSLStream[trio.SocketStream]
Ends = tuple[TlsStream, Client]
Connect = Callable[[], Awaitable[tuple[trio.SocketStream, trio.SocketStream]]]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tls.DevCertificate:
    return tls.dev_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Two ends at a call, closed when the test ends."""
    made: list[trio.SocketStream] = []

    async def connected() -> tuple[trio.SocketStream, trio.SocketStream]:
        ends = await streams()
        made.extend(ends)
        return ends

    yield connected
    for end in made:
        await trio.aclose_forcefully(end)


@pytest.fixture(params=VERSIONS)
async def ends(
    request: pytest.FixtureRequest, connect: Connect, certificate: tls.DevCertificate
) -> Ends:
    ours = tls.server_context(certificate.cert_file, certificate.key_file)
    ours.maximum_version = request.param
    return await shaken(*await connect(), ours, trusting(certificate))


async def read(stream: trio.abc.ReceiveStream, length: int, step: int | None = None) -> bytes:
    data = b""
    while len(data) < length:
        more = await stream.receive_some(step)
        assert more, f"ended after {len(data)} bytes"
        data += more
    assert len(data) == length
    return data


async def test_both_directions_at_once(ends: Ends) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    pieces = [chance.randbytes(chance.choice([0, 1, 100, 20_000])) for _ in range(100)]
    whole, got = b"".join(pieces), {}

    async def send(stream: trio.abc.Stream) -> None:
        for piece in pieces:
            await stream.send_all(piece)

    async def receive(stream: trio.abc.Stream, step: int) -> None:
        got[stream] = await read(stream, len(whole), step)

    async with trio.open_nursery() as nursery:
        for stream in ends:
            nursery.start_soon(send, stream)
            nursery.start_soon(receive, stream, chance.choice([1000, 70_000]))
    assert set(got.values()) == {whole}
    assert ends[0].unsent_bytes == 0


async def test_a_write_is_taken_whole_or_not_at_all(ends: Ends) -> None:
    server, client = ends
    await server.send_all(sent := b"hello")  # and TLS itself has nothing more to say
    data = random.randbytes(3 * RECORD_BYTES)
    while not server.unsent_bytes:
        assert server.write(data) == len(data)
        sent += data
    assert server.write(b"later") == 0
    assert server.write_many([b"later"]) == 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.send_all, b"sooner")
        assert await read(client, len(sent) + 6) == sent + b"sooner"
    assert server.write_many([b"so", b"on"]) == 4
    assert await read(client, 4) == b"soon"


async def test_who_is_cancelled_leaves_it_usable(ends: Ends) -> None:
    server, client = ends
    data = random.randbytes(300_000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.receive_some)
        nursery.start_soon(server.send_all, data)
        await wait_all_tasks_blocked(IDLE_S)
        nursery.cancel_scope.cancel()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.send_all, b"and on")
        assert await read(client, len(data) + 6) == data + b"and on"
    await client.send_all(b"hello")
    assert await server.receive_some() == b"hello"


async def test_what_came_in_many_records_is_read_at_once(ends: Ends) -> None:
    server, client = ends
    for letter in "many", " ", "records":
        await client.send_all(letter.encode())
    assert await server.receive_some(8) == b"many rec"
    assert await server.receive_some() == b"ords"


@pytest.mark.parametrize("says_goodbye", [True, False])
async def test_an_end_is_an_end(
    certificate: tls.DevCertificate, connect: Connect, says_goodbye: bool
) -> None:
    server, client = await secured(*await connect(), certificate)
    await client.send_all(b"the last")
    if says_goodbye:
        with trio.move_on_after(IDLE_S):
            await client.unwrap()
    await client.aclose()
    assert await server.receive_some() == b"the last"
    assert [await server.receive_some() for _ in range(3)] == [b""] * 3


async def test_who_said_the_last_still_listens(ends: Ends) -> None:
    server, client = ends
    await client.send_all(b"the last")
    await client.transport_stream.send_eof()
    assert await server.receive_some() == b"the last"
    assert await server.receive_some() == b""
    await server.send_all(b"the answer")
    assert await read(client, 10) == b"the answer"


async def test_who_has_us_answer_and_does_not_listen_is_given_up(ends: Ends) -> None:
    """No library makes TLS answer so often; so the answers are put where TLS would put them."""
    server, client = ends
    await server.send_all(b"hello")
    while not server.unsent_bytes:
        server.write(bytes(RECORD_BYTES))
    await client.send_all(b"fine")
    server._outgoing.write(bytes(ANSWERS_BYTES_MAX))
    assert await server.receive_some() == b"fine"
    server._outgoing.write(b"one more")
    await client.send_all(b"not fine")
    with pytest.raises(trio.BrokenResourceError):
        await server.receive_some()


async def test_broken_rules_break_it_and_are_told(ends: Ends) -> None:
    server, client = ends
    await client.send_all(b"fine")
    await client.transport_stream.send_all(b"\x17\x03\x03\x00\x20" + bytes(32))
    assert await server.receive_some() == b"fine"
    with pytest.raises(trio.BrokenResourceError):
        await server.receive_some()
    with pytest.raises(OSError, match="broken"):
        server.write(b"more")
    with pytest.raises(trio.BrokenResourceError):
        await server.send_all(b"more")
    await _hears_an_alert(client)


async def _hears_an_alert(client: Client) -> None:
    with pytest.raises(trio.BrokenResourceError) as broken:
        await client.receive_some()
    assert "ALERT" in str(broken.value.__cause__)


async def test_who_cannot_agree_is_told(certificate: tls.DevCertificate, connect: Connect) -> None:
    ours = tls.server_context(certificate.cert_file, certificate.key_file)
    ours.maximum_version = ssl.TLSVersion.TLSv1_2
    theirs = trusting(certificate)
    theirs.minimum_version = ssl.TLSVersion.TLSv1_3
    ends = await connect()
    server = TlsStream(ends[0], ours)
    client = trio.SSLStream(ends[1], theirs, server_hostname="localhost")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_hears_an_alert, client)
        with pytest.raises(trio.BrokenResourceError):
            await server.do_handshake()


async def test_a_peer_that_is_gone(ends: Ends) -> None:
    server, client = ends
    await trio.aclose_forcefully(client)
    with pytest.raises(trio.BrokenResourceError):
        await _send_for_ever(server)
    with pytest.raises(OSError, match="broken"):
        server.write(b"anybody there?")


async def _send_for_ever(stream: trio.abc.SendStream) -> None:
    while True:
        await stream.send_all(b"anybody there?")


async def test_closed_by_ourselves(ends: Ends) -> None:
    server, client = ends
    await server.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await server.receive_some()
    with pytest.raises(OSError, match="descriptor"):
        server.write(b"late")
    assert await client.receive_some() == b""


@pytest.mark.parametrize("version", VERSIONS)
async def test_who_comes_back_need_not_sign_again(
    certificate: tls.DevCertificate, connect: Connect, version: ssl.TLSVersion
) -> None:
    ours = tls.server_context(certificate.cert_file, certificate.key_file)
    ours.maximum_version = version
    theirs = trusting(certificate)
    session = None
    for is_back in (False, True):
        server, client = await shaken(*await connect(), ours, theirs, session)
        await server.send_all(b"hello")
        assert await read(client, 5) == b"hello"
        assert client.session_reused is is_back
        session = client.session
