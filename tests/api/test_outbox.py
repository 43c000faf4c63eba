"""Outboxes over real sockets: order, bounds, what is dropped and what never is, and dead peers."""

import contextlib
import os
import random
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from api import tls
from api.realtime.outbox import CHUNK_BYTES, Budget, Outbox
from api.settings import ServerSettings
from api.tls_stream import Stream
from tests.api.stream_pairs import secured, streams

IDLE_S = 0.05  # nothing moves on a loopback connection for this long: it is full
MARK = bytes(range(256))


@dataclass(eq=False)
class Channel:
    """A source that notes when it is told to read from the log."""

    name: str = ""
    behind: list[int] = field(default_factory=list)

    def fall_behind(self, position: int) -> None:
        self.behind.append(position)


@dataclass
class Pair:
    """An outbox and the stream of its client."""

    outbox: Outbox
    stream: Stream
    client: trio.abc.Stream
    budget: Budget
    broken: trio.Event

    async def read(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            more = await self.client.receive_some()
            assert more, f"closed after {len(data)} bytes"
            data += more
        assert len(data) == length
        return data

    async def read_at_least(self, length: int) -> None:
        while length > 0:
            length -= len(await self.client.receive_some())

    async def read_drained(self) -> bytes:
        """Everything that was sent up to now."""
        self.outbox.send(MARK)
        data = b""
        while not data.endswith(MARK):
            data += await self.client.receive_some()
        return data.removesuffix(MARK)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tls.DevCertificate:
    return tls.dev_certificate(tmp_path_factory.mktemp("tls"))


@contextlib.asynccontextmanager
async def paired(
    certificate: tls.DevCertificate | None = None, budget: Budget | None = None, **limits: Any
) -> AsyncIterator[Pair]:
    sockets = await streams()
    ends: tuple[Stream, trio.abc.Stream] = sockets
    if certificate is not None:
        ends = await secured(*sockets, certificate)
    budget = budget or Budget(2**30)
    broken = trio.Event()
    try:
        async with trio.open_nursery() as nursery:
            outbox = Outbox(ends[0], ServerSettings(**limits), budget, nursery, broken.set)
            yield Pair(outbox, *ends, budget, broken)
            nursery.cancel_scope.cancel()
    finally:
        for end in ends:
            await trio.aclose_forcefully(end)


@pytest.fixture(params=["plain", "tls"])
async def pair(
    request: pytest.FixtureRequest, certificate: tls.DevCertificate
) -> AsyncIterator[Pair]:
    async with paired(certificate if request.param == "tls" else None) as made:
        yield made


def numbered(number: int, size: int) -> bytes:
    return struct.pack("!I", number) * (size // 4)


async def test_it_is_written_at_once(pair: Pair) -> None:
    pair.outbox.send(b"reply")
    pair.outbox.deliver(b"delivery", Channel(), 1)
    assert (pair.outbox.queued_bytes, pair.budget.used_bytes) == (0, 0)
    assert await pair.read(13) == b"replydelivery"


async def test_what_was_encrypted_and_not_sent_counts_until_it_is(
    certificate: tls.DevCertificate,
) -> None:
    """And is not dropped: TLS would not go on without it."""
    async with paired(certificate, outbox_bytes_max=100) as pair:
        channel, data = Channel(), random.randbytes(500_000)
        pair.outbox.deliver(data, channel, 1)
        counts = (pair.outbox.queued_bytes, pair.outbox.control_bytes, pair.budget.used_bytes)
        assert len(set(counts)) == 1
        assert 0 < counts[0] < len(data) * 1.01
        pair.outbox.deliver(b"dropped", channel, 2)
        assert channel.behind == [2]
        pair.outbox.send(b"reply")
        assert await pair.read(len(data) + 5) == data + b"reply"
        await pair.outbox.wait_below(1)
        assert (pair.outbox.control_bytes, pair.budget.used_bytes) == (0, 0)


async def test_order_survives_a_full_socket(pair: Pair) -> None:
    channel, sent = Channel(), b""
    for number in range(200):
        data = numbered(number, 4 * random.randrange(1, 1000))
        if number % 3:
            pair.outbox.deliver(data, channel, number)
        else:
            pair.outbox.send(data)
        sent += data
    await wait_all_tasks_blocked(IDLE_S)
    assert pair.outbox.queued_bytes == pair.budget.used_bytes > 0
    assert await pair.read(len(sent)) == sent
    await pair.outbox.wait_below(1)
    assert (pair.outbox.queued_bytes, pair.outbox.control_bytes, pair.budget.used_bytes) == (
        0,
        0,
        0,
    )
    assert channel.behind == []
    pair.outbox.send(b"and on")
    assert await pair.read(6) == b"and on"


@pytest.mark.parametrize("is_tls", [False, True])
async def test_overflow_drops_deliveries_and_says_from_where(
    certificate: tls.DevCertificate, is_tls: bool
) -> None:
    async with paired(certificate if is_tls else None, outbox_bytes_max=300_000) as pair:
        one, other, size = Channel(), Channel(), 1000
        await _fill(pair, size)
        position = 1000
        while not one.behind:
            pair.outbox.send(b"R" * size)
            pair.outbox.deliver(b"1" * size, one, position)
            if not one.behind:
                pair.outbox.deliver(b"2" * size, other, position + 500)
            position += 1
        assert (one.behind, other.behind) == ([1000], [1500])
        replies = position - 1000
        pair.outbox.deliver(b"3" * size, other, 9999)
        received = await pair.read_drained()
        messages = [received[at : at + size] for at in range(0, len(received), size)]
        assert all(len(set(message)) == 1 for message in messages)
        assert messages.count(b"R" * size) == replies
        assert messages.count(b"1" * size) == messages.count(b"2" * size) == 0
        assert messages[-1] == b"3" * size
        assert (pair.budget.overflows, pair.budget.used_bytes) == (1, 0)


async def _fill(pair: Pair, size: int) -> None:
    """With replies, until what follows can only be queued, and nothing of it is being written."""
    while pair.outbox.queued_bytes < 2 * CHUNK_BYTES:
        pair.outbox.send(b"F" * size)
        await wait_all_tasks_blocked()


@pytest.mark.parametrize("is_tls", [False, True])
async def test_what_arrives_is_what_was_sent_less_what_was_reported(
    certificate: tls.DevCertificate, is_tls: bool
) -> None:
    """Random sends, deliveries and reads; every position is received, or was reported dropped."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    async with paired(certificate if is_tls else None, outbox_bytes_max=50_000) as pair:
        model = _Model(chance, pair)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(model.read)
            for position in range(1, 4000):
                model.step(position)
                if chance.random() < 0.05:
                    await trio.lowlevel.checkpoint()
            pair.outbox.send(MARK)
        await pair.outbox.wait_below(1)
        model.check()


class _Model:
    """Messages are (source, position, length) and padding; source 0 is the replies."""

    def __init__(self, chance: random.Random, pair: Pair) -> None:
        self._chance = chance
        self._pair = pair
        self._channels = [Channel(str(number)) for number in range(1, 4)]
        self._expected: dict[int, list[int]] = {number: [] for number in range(4)}
        self._received = b""

    def step(self, position: int) -> None:
        number = self._chance.randrange(4)
        size = self._chance.choice([12, 100, 5000])
        message = struct.pack("!III", number, position, size).ljust(size, b".")
        self._expected[number].append(position)
        if number == 0:
            self._pair.outbox.send(message)
        else:
            self._pair.outbox.deliver(message, self._channels[number - 1], position)
        for index, channel in enumerate(self._channels, 1):
            for behind in channel.behind:
                assert behind in self._expected[index]
                self._expected[index] = [p for p in self._expected[index] if p < behind]
            assert len(channel.behind) <= 1
            channel.behind.clear()

    async def read(self) -> None:
        while not self._received.endswith(MARK):
            size = self._chance.choice([100, 20_000])
            self._received += await self._pair.client.receive_some(size)

    def check(self) -> None:
        got: dict[int, list[int]] = {number: [] for number in range(4)}
        at = 0
        while at < len(self._received) - len(MARK):
            number, position, size = struct.unpack_from("!III", self._received, at)
            assert self._received[at + 12 : at + size].strip(b".") == b""
            got[number].append(position)
            at += size
        assert got == self._expected
        assert self._pair.budget.overflows > 0
        assert (self._pair.budget.used_bytes, self._pair.outbox.control_bytes) == (0, 0)


async def test_a_large_frame_goes_through_a_small_outbox(certificate: tls.DevCertificate) -> None:
    for is_tls in (False, True):
        async with paired(certificate if is_tls else None, outbox_bytes_max=1000) as pair:
            channel, data = Channel(), random.randbytes(500_000)
            pair.outbox.deliver(data, channel, 1)
            assert await pair.read(len(data)) == data
            assert channel.behind == []


async def test_all_outboxes_share_a_budget() -> None:
    budget = Budget(150_000)
    async with paired(budget=budget) as first, paired(budget=budget) as second:
        one, other = Channel(), Channel()
        await _fill(first, 1000)
        while not other.behind:
            first.outbox.deliver(b"1" * 1000, one, 1)
            second.outbox.deliver(b"2" * 1000, other, 2)
        assert budget.used_bytes <= 150_000
        assert second.outbox.queued_bytes < 2000  # what was partly written
        if not one.behind:
            first.outbox.deliver(b"1" * 100_000, one, 1)
        await first.read_drained()
        await second.read_drained()
        assert budget.used_bytes == 0


async def test_a_peer_that_is_gone_breaks_the_outbox_and_nobody_else() -> None:
    async with paired() as pair:
        pair.client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await pair.client.aclose()
        channel = Channel()
        while not pair.broken.is_set():  # as soon as the reset is here
            pair.outbox.deliver(b"x", channel, 1)
            await trio.lowlevel.checkpoint()
        pair.outbox.deliver(b"x", channel, 2)
        pair.outbox.send(b"x")
        await pair.outbox.wait_below(1)
        assert (pair.outbox.is_broken, pair.outbox.queued_bytes, channel.behind) == (True, 0, [])


async def test_a_peer_that_goes_while_it_is_owed_frees_the_queue(pair: Pair) -> None:
    channel = Channel()
    for position in range(100):
        pair.outbox.deliver(bytes(5000), channel, position)
    await wait_all_tasks_blocked(IDLE_S)
    assert pair.budget.used_bytes > 0
    await trio.aclose_forcefully(pair.client)
    await pair.broken.wait()
    await pair.outbox.wait_below(1)
    assert pair.budget.used_bytes == 0


async def test_closing_the_stream_under_it_ends_its_task(pair: Pair) -> None:
    for _ in range(100):
        pair.outbox.send(bytes(5000))
    await wait_all_tasks_blocked(IDLE_S)
    await trio.aclose_forcefully(pair.stream)
    await pair.broken.wait()
    assert pair.budget.used_bytes == 0


async def test_closing_the_stream_before_its_task_runs_ends_it_too(pair: Pair) -> None:
    while not pair.outbox.queued_bytes:
        pair.outbox.send(bytes(5000))
    await trio.aclose_forcefully(pair.stream)
    await pair.broken.wait()
    assert pair.budget.used_bytes == 0


async def test_a_descriptor_that_belongs_to_another_connection_by_now_is_not_written_to() -> None:
    async with paired() as pair:
        number = pair.stream.socket.fileno()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            await trio.aclose_forcefully(pair.stream)
            os.dup2(ours.fileno(), number)
            pair.outbox.deliver(b"not for you", Channel(), 1)
            theirs.setblocking(False)
            with pytest.raises(BlockingIOError):
                theirs.recv(1)
            os.close(number)
        assert pair.broken.is_set()


@pytest.mark.parametrize("is_tls", [False, True])
async def test_a_stalled_peer_is_aborted_and_a_slow_one_is_not(
    certificate: tls.DevCertificate, mock_clock: MockClock, is_tls: bool
) -> None:
    chosen = certificate if is_tls else None
    async with paired(chosen, stalled_timeout_ms=1000) as pair:
        for _ in range(300):
            pair.outbox.send(bytes(5000))
        await wait_all_tasks_blocked(IDLE_S)
        for _ in range(5):
            mock_clock.jump(0.9)
            await pair.read_at_least(3 * CHUNK_BYTES)
            await wait_all_tasks_blocked(IDLE_S)
        assert not pair.outbox.is_broken
        mock_clock.jump(1)
        await pair.broken.wait()
        assert pair.budget.used_bytes == 0


async def test_wait_below_is_woken_by_progress(pair: Pair) -> None:
    for _ in range(100):
        pair.outbox.send(bytes(5000))
    await wait_all_tasks_blocked(IDLE_S)
    sizes: list[int] = []

    async def wait(size: int) -> None:
        await pair.outbox.wait_below(size)
        sizes.append(size)
        assert pair.outbox.queued_bytes < size

    async with trio.open_nursery() as nursery:
        for size in (1, 100_000, 200_000, 10_000_000):
            nursery.start_soon(wait, size)
        await pair.read(500_000)
    assert sizes == [10_000_000, 200_000, 100_000, 1]


async def test_sealed_means_that_nothing_follows(pair: Pair) -> None:
    for _ in range(20):
        pair.outbox.send(bytes(5000))
    pair.outbox.seal()
    pair.outbox.send(b"late")
    pair.outbox.deliver(b"late", Channel(), 1)
    assert await pair.read(100_000) == bytes(100_000)
    await pair.outbox.wait_below(1)
    pair.outbox.send(b"late")
    assert not pair.broken.is_set()
    await trio.aclose_forcefully(pair.stream)
    with contextlib.suppress(trio.BrokenResourceError):  # TLS that ends without a goodbye
        assert await pair.client.receive_some() == b""
