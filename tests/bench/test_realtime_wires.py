"""Counting marks is counting messages, wherever a stream is cut; what is wrong does not pass."""

import random
import select
import socket
from itertools import pairwise

import pytest

from bench.acknowledged import MESSAGE_BYTES, Wrong, number_of
from bench.realtime.receivers import Receivers, _Subscriber
from bench.realtime.wires import MARK, InOrder, body


def frame(payload: bytes) -> bytes:
    """As a server sends it."""
    return b"\x81\x7e" + len(payload).to_bytes(2) + payload


def delivery(number: int, size: int = MESSAGE_BYTES) -> bytes:
    return frame(b'{"action":15,"messages":[{"data":"%b"}]}' % body(number, size))


def chunks(stream: bytes, chance: random.Random) -> list[bytes]:
    cuts = sorted(chance.randrange(1, len(stream)) for _ in range(len(stream) // 40))
    edges = [0, *cuts, len(stream)]
    return [stream[a:b] for a, b in pairwise(edges) if a < b]


@pytest.mark.parametrize("size", [MESSAGE_BYTES, 17, 5_000])
def test_a_body_has_its_size_its_number_and_one_mark_at_its_end(size: int):
    made = body(123, size)
    assert (len(made), number_of(made), made.count(MARK)) == (size, 123, 1)
    assert made.endswith(MARK)


@pytest.mark.parametrize("seed", range(20))
def test_marks_are_counted_wherever_the_stream_is_cut(seed: int):
    chance = random.Random(seed)
    # lengths whose two bytes are pieces of MARK: 0x28 0x7e and 0x7e 0x29
    sizes = [0x287E - 40, 0x7E29 - 40, *(chance.randrange(20, 400) for _ in range(40))]
    chance.shuffle(sizes)
    stream = b"".join(delivery(number, size) for number, size in enumerate(sizes))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        counting = _Subscriber(ours, InOrder(), is_timed=False, is_kept=False)
        buffer = bytearray(1 << 20)
        for chunk in [*chunks(stream, chance), stream[:1], stream[1:]]:
            buffer[: len(chunk)] = chunk
            counting.received += counting.count(buffer, len(chunk))
    assert counting.received == 2 * len(sizes)


@pytest.mark.parametrize("seed", range(5))
def test_in_order_accepts_what_is_complete(seed: int):
    chance = random.Random(seed)
    order = InOrder()
    for chunk in chunks(b"".join(map(delivery, range(30))), chance):
        order.feed(chunk)
    order.check(30)
    with pytest.raises(Wrong, match="30 of 31"):
        order.check(31)


@pytest.mark.parametrize("numbers", [[0, 2], [1], [0, 0], [0, 1, 3, 2]])
def test_in_order_refuses_holes_repeats_and_another_order(numbers: list[int]):
    order = InOrder()
    with pytest.raises(Wrong, match="instead of"):
        order.feed(b"".join(map(delivery, numbers)))


class Broker:
    """Two subscribers over socket pairs, and a publisher whose frames are what they receive."""

    acknowledges = False

    def __init__(self) -> None:
        self.socket, self._published = socket.socketpair()
        self._pairs = [socket.socketpair() for _ in range(2)]
        self.subscribers = [ours for ours, _ in self._pairs]
        self.checked = range(0)

    def frame(self, number: int, size: int = MESSAGE_BYTES) -> bytes:
        return delivery(number, size)

    def acknowledged(self, chunk: bytes) -> int:
        return 0

    async def check(self, received: bytes, numbers: range) -> None:
        self.checked = numbers

    def relay(self, to: int) -> None:
        """What was published, to the first subscribers."""
        published = self._published.recv(1 << 20)
        for _, theirs in self._pairs[:to]:
            theirs.sendall(published)

    def close(self) -> None:
        for one in (self._published, *(theirs for _, theirs in self._pairs)):
            one.close()


@pytest.fixture
def broker():
    made = Broker()
    yield made
    made.close()
    made.socket.close()
    for one in made.subscribers:
        one.close()


async def test_receivers_count_and_time_everyone(broker: Broker):
    receivers = Receivers(broker, broker.subscribers)
    for _ in range(3):
        receivers.publish(5)
        broker.relay(2)
        receivers.receive_all()
    assert (receivers.published, receivers.deliveries) == (15, 30)
    assert len(receivers.take_latencies()) == 30
    assert receivers.take_latencies() == []
    await receivers.finish()
    assert broker.checked == range(15)


async def test_a_subscriber_that_missed_something_is_found(broker: Broker):
    receivers = Receivers(broker, broker.subscribers)
    receivers.publish(2)
    broker.relay(1)
    receivers.receive_some()
    with pytest.raises(Wrong, match="received 0 messages instead of 2"):
        receivers.check()


async def test_a_window_bounds_what_is_published(broker: Broker):
    receivers = Receivers(broker, broker.subscribers)
    for _ in range(3):
        receivers.keep_publishing(4)
    assert receivers.published == 4
    broker.relay(2)
    receivers.receive_all()
    receivers.keep_publishing(4)
    assert receivers.published == 8


async def test_the_stalled_read_nothing_until_they_wake_and_are_not_timed(broker: Broker):
    receivers = Receivers(broker, broker.subscribers, broker.subscribers[1:])
    receivers.stall()
    receivers.publish(3)
    broker.relay(2)
    receivers.receive_some()
    assert (receivers.deliveries, receivers.received_at_least()) == (3, 0)
    receivers.wake()
    receivers.receive_all()
    assert len(receivers.take_latencies()) == 3
    await receivers.finish()


async def test_a_disconnected_subscriber_is_an_error(broker: Broker):
    receivers = Receivers(broker, broker.subscribers)
    broker._pairs[0][1].shutdown(socket.SHUT_WR)
    with pytest.raises(Wrong, match="disconnected a subscriber"):
        receivers.receive(1.0)
    assert select.select([broker.subscribers[0]], [], [], 0)[0]
