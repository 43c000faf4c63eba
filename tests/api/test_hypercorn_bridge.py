"""The stream that Hypercorn gets: replay, and writes that end."""

import pytest
import trio
from trio.testing import MockClock, lockstep_stream_pair

from api.connection import Connection
from api.hypercorn_bridge import ReplayStream
from api.settings import ServerSettings


async def _pair(replay: bytes) -> tuple[ReplayStream, trio.abc.Stream, Connection]:
    ours, theirs = lockstep_stream_pair()
    listener = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener[0]:
        transport = await trio.open_tcp_stream(*listener[0].socket.getsockname())
    connection = Connection(transport, "")
    settings = ServerSettings(write_timeout_ms=10_000)
    return ReplayStream(ours, connection, replay, settings), theirs, connection  # type: ignore[arg-type]


async def test_replayed_bytes_come_first_and_in_the_pieces_asked_for() -> None:
    stream, theirs, connection = await _pair(b"replayed")
    assert [await stream.receive_some(5), await stream.receive_some(5)] == [b"repla", b"yed"]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(theirs.send_all, b"live")
        assert await stream.receive_some() == b"live"
    connection.transport.socket.close()


async def test_taking_replayed_bytes_may_be_cancelled_without_losing_them() -> None:
    stream, _, connection = await _pair(b"replayed")
    with trio.CancelScope() as scope:
        scope.cancel()
        await stream.receive_some()
    assert await stream.receive_some() == b"replayed"
    connection.transport.socket.close()


@pytest.fixture
def clock() -> MockClock:
    return MockClock(autojump_threshold=0.01)


async def test_a_shielded_write_to_a_client_that_does_not_read_ends(clock: MockClock) -> None:
    """HTTP/2 answers pings without the guard: only the stream itself can bound such a write."""
    stream, _, connection = await _pair(b"")
    with trio.CancelScope(shield=True):
        began = trio.current_time()
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(b"pong")
    assert trio.current_time() - began == pytest.approx(10)
    assert connection.scope.cancel_called
    connection.transport.socket.close()
