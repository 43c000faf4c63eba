"""Tidelog over the wire, by a real server: what it acknowledged is looked for, and missed."""

from pathlib import Path

import pytest

from bench.acknowledged import Wrong
from bench.realtime.frames import RESUMED
from bench.realtime.pipeline import Publishing
from bench.realtime.receivers import Receivers
from bench.realtime.server import serving
from bench.realtime.sessions import Session, open_sessions
from bench.realtime.tidelog import TidelogWire
from bench.realtime.wires import receive_until

SERVED = {"json": {}, "msgpack": {"binary": True}, "tls": {"tls": True}}


@pytest.fixture(params=SERVED)
def wire(request: pytest.FixtureRequest, tmp_path: Path):
    options = SERVED[request.param]
    with serving(tmp_path / "server", tls="tls" in options) as server:
        yield TidelogWire(server.port, server.pid, **options)


async def test_it_publishes_and_fans_out(wire: TidelogWire):
    sample = await Publishing(wire).turn(5, 0.02)
    assert sample.messages == len(sample.latencies) >= 5
    receivers = Receivers(wire.publisher("fan"), wire.subscribers("fan", 3))
    for window in (1, 50):
        receivers.keep_publishing(window)
        receivers.receive_all()
    assert receivers.deliveries == 3 * (1 + 50)
    await receivers.finish()


async def test_a_message_that_was_not_published_is_missed(tmp_path: Path):
    with serving(tmp_path / "server") as server:
        publisher = TidelogWire(server.port, server.pid).publisher("short")
        publisher.socket.sendall(publisher.frame(0))
        chunk = receive_until(publisher.socket, lambda said: publisher.acknowledged(said) == 1)
        await publisher.check(chunk, range(1))
        with pytest.raises(Wrong, match="1 of 2 messages"):
            await publisher.check(chunk, range(2))
        with pytest.raises(Wrong, match="never acknowledged"):
            await publisher.check(chunk, range(7, 8))
        publisher.socket.close()


async def test_a_refused_message_is_no_acknowledged_one(tmp_path: Path):
    with serving(tmp_path / "server") as server:
        publisher = TidelogWire(server.port, server.pid).publisher("[no such qualifier]")
        publisher.socket.sendall(publisher.frame(0))
        chunk = receive_until(publisher.socket, lambda received: b"error" in received)
        assert publisher.acknowledged(chunk) == 1
        with pytest.raises(Wrong, match="not the acknowledgement of message 0"):
            await publisher.check(chunk, range(1))
        publisher.socket.close()


async def test_sessions_are_resumed_by_a_killed_server(tmp_path: Path):
    with serving(tmp_path / "server") as server:
        sessions = [Session(f"idle-{number % 2}") for number in range(5)]
        assert len(open_sessions(server.port, sessions, at_once=2).after_s) == 5
        ids = [one.connection_id for one in sessions]
        assert not any(one.flags & RESUMED for one in sessions)
        server.kill()
        for one in sessions:
            assert one.socket is not None
            one.socket.close()
        server.start()
        open_sessions(server.port, sessions, at_once=5)
        assert [one.connection_id for one in sessions] == ids
        assert all(one.kept_id and one.flags & RESUMED for one in sessions)
        for one in sessions:
            assert one.socket is not None
            one.socket.close()
