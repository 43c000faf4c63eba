"""What the contenders measure is checked by themselves, and that check can fail."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import broker
from bench.acknowledged import Wrong
from bench.history import _check
from bench.layouts import LAYOUTS, Layout
from bench.publishers import Bare, Tidelog, bare, tidelog
from bench.redis_peer import Redis, RedisConnections, RedisFailed, redis
from broker import HistoryPage, StoredMessage
from broker.stats.counters import Counters
from storage import Log, Outcome

TURN_S = 0.02
needs_redis = pytest.mark.skipif(not shutil.which("redis-server"), reason="no redis-server")


async def test_tidelog_publishes_and_checks_itself(tmp_path: Path):
    async with tidelog(tmp_path, channels=3) as contenders:
        for contender in contenders * 2:
            sample = await contender.turn(4, TURN_S)
            assert sample.messages == len(sample.latencies) >= 4
            assert sample.written_bytes > sample.messages * 256
            assert sample.commits >= 1
    assert [contender.name for contender in contenders] == ["tidelog", "tidelog, ids"]


class _AtTheFullMinute(Tidelog):
    """Usage is written down while it publishes, as it is when a minute ends within a turn."""

    async def publish(self, numbers: Sequence[int]) -> Sequence[Any]:
        minute = (0, Counters({"messages.inbound.all.messages.count": 1}))
        await self._broker.add_stats(self._app, [minute])
        return await super().publish(numbers)


async def test_what_the_broker_writes_itself_is_nobodys_message(tmp_path: Path):
    async with broker.open(tmp_path) as opened:
        contender = _AtTheFullMinute("tidelog", opened, 1, keyed=False)
        sample = await contender.turn(1, TURN_S)
    assert sample.messages >= 1


async def test_bare_submits_in_batches(tmp_path: Path):
    async with bare(tmp_path, "bare", 10) as contender:
        sample = await contender.turn(1, TURN_S)
    assert sample.messages == 10 * len(sample.latencies)
    assert sample.per_commit == 10


class _Liar(Bare):
    """Acknowledges a message that it never submitted."""

    def __init__(self, log: Log) -> None:
        super().__init__("liar", log)

    async def publish(self, numbers: Sequence[int]) -> Sequence[Any]:
        return await super().publish(numbers) if numbers[0] else [Outcome((self.log.position + 1,))]


async def test_a_lost_message_is_found(tmp_path: Path):
    async with bare(tmp_path, "bare", 1) as honest:
        with pytest.raises(Wrong, match="1 acknowledged messages are not in the log"):
            await _Liar(honest.log).turn(1, TURN_S)


class _Forgetful(Bare):
    """Reports only every other message that it published."""

    async def publish(self, numbers: Sequence[int]) -> Sequence[Any]:
        await super().publish([numbers[0] + 1_000_000])
        return await super().publish(numbers)


async def test_an_unacknowledged_message_is_found(tmp_path: Path):
    async with bare(tmp_path, "bare", 1) as honest:
        with pytest.raises(Wrong, match="never acknowledged"):
            await _Forgetful("forgetful", honest.log).turn(1, TURN_S)


@pytest.fixture
def peers(tmp_path: Path) -> Iterator[tuple[Redis, RedisConnections]]:
    with redis(tmp_path / "redis", channels=2) as contenders:
        yield contenders


@pytest.fixture
def peer(peers: tuple[Redis, RedisConnections]) -> Redis:
    return peers[0]


@needs_redis
async def test_redis_connections_count_what_they_published(
    peers: tuple[Redis, RedisConnections],
):
    _, peer = peers
    sample = await peer.turn(5, TURN_S)
    assert sample.messages >= 5
    assert sample.written_bytes > sample.messages * 256
    peer._connection.ask(b"SET", b"many:000000000000", b"not a stream")
    peer._connection.ask(b"SET", b"many:000000000001", b"not a stream")
    with pytest.raises((Wrong, RedisFailed)):
        await peer.turn(5, TURN_S)


@needs_redis
async def test_redis_publishes_and_checks_itself(peer: Redis):
    sample = await peer.turn(5, TURN_S)
    assert sample.messages == len(sample.latencies) >= 5
    assert sample.written_bytes > sample.messages * 256
    assert (await peer.turn(1, TURN_S)).messages >= 1


@needs_redis
async def test_what_redis_lost_is_found(peer: Redis):
    await peer.turn(5, TURN_S)
    peer._connection.ask(b"XTRIM", b"bench:0", b"MAXLEN", b"1")
    with pytest.raises(Wrong, match="redis holds"):
        await peer.turn(5, TURN_S)


@needs_redis
async def test_an_error_of_redis_is_no_acknowledgement(peer: Redis):
    peer._connection.ask(b"SET", b"bench:0", b"not a stream")
    with pytest.raises(RedisFailed, match="WRONGTYPE"):
        await peer.turn(5, TURN_S)


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_find_every_record(tmp_path: Path, name: str):
    layout = Layout(name, tmp_path, 3, dedup=True)
    sample = layout.turn(commits=4, records=25)
    assert (sample.messages, sample.commits) == (100, 4)
    layout.check()
    layout.written += 1
    with pytest.raises(Wrong, match="100 of 101"):
        layout.check()
    layout.close()


def _page(*numbers: int) -> HistoryPage:
    found = [StoredMessage(serial="", timestamp=0, data=f"{n:012d}…") for n in numbers]
    return HistoryPage(tuple(found), None)


def test_a_page_with_a_hole_is_found():
    _check(_page(9, 8, 7))
    for numbers in ((), (9, 7), (7, 8), (9, 9)):
        with pytest.raises(Wrong):
            _check(_page(*numbers))
