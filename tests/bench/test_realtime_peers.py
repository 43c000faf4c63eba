"""The peers of the realtime benchmarks check themselves, and that check can fail."""

from pathlib import Path

import pytest

from bench import redis_peer
from bench.acknowledged import Wrong
from bench.realtime import nats_peer
from bench.realtime.nats_peer import NatsFailed, _api, nats_wire
from bench.realtime.pipeline import Publishing
from bench.realtime.receivers import Receivers
from bench.realtime.redis import redis_wire
from bench.realtime.wires import Wire, receive_until

TURN_S = 0.02
WIRES = [
    pytest.param(
        redis_wire,
        marks=pytest.mark.skipif(not redis_peer.installed(), reason="no redis-server"),
        id="redis",
    ),
    pytest.param(
        nats_wire,
        marks=pytest.mark.skipif(not nats_peer.installed(), reason="no nats-server"),
        id="nats",
    ),
]


@pytest.fixture(params=WIRES)
def wire(request: pytest.FixtureRequest, tmp_path: Path):
    with request.param(tmp_path / "peer") as made:
        yield made


async def test_a_peer_publishes_and_checks_itself(wire: Wire):
    for in_flight in (1, 7):
        sample = await Publishing(wire).turn(in_flight, TURN_S)
        assert sample.messages == len(sample.latencies) >= in_flight


async def test_what_a_peer_did_not_keep_is_found(wire: Wire):
    publisher = wire.durable_publisher("short")
    publisher.socket.sendall(publisher.frame(0))
    chunk = receive_until(publisher.socket, lambda received: publisher.acknowledged(received) == 1)
    await publisher.check(chunk, range(1))
    with pytest.raises(Wrong, match="of 2 messages"):
        await publisher.check(chunk, range(2))
    publisher.socket.close()


async def test_a_peer_fans_out(wire: Wire):
    receivers = Receivers(wire.publisher("fan"), wire.subscribers("fan", 3))
    for window in (1, 50):
        receivers.keep_publishing(window)
        receivers.receive_all()
    assert receivers.deliveries == 3 * (1 + 50)
    await receivers.finish()


@pytest.mark.skipif(not nats_peer.installed(), reason="no nats-server")
def test_a_refused_request_is_an_error(tmp_path: Path):
    with nats_wire(tmp_path / "nats") as wire, pytest.raises(NatsFailed, match="not found"):
        _api(wire, "STREAM.INFO.none", {})
