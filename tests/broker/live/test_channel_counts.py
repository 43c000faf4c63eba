"""Counting by channel: only while somebody asks, and not without end."""

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

import broker
from broker import Broker
from broker.live import channel_counts
from broker.live.channel_counts import COUNTED_FOR_MS, Busiest
from broker.live.hub import ChannelKey
from tests.broker.acting import Acting
from tests.broker.conftest import FakeClock


async def asked(b: Broker, contains: str = "", limit: int = 100) -> Busiest:
    await Acting(b).settled()
    return await b.epoch.channel_counts.busiest(contains, limit)


def messages(found: Busiest) -> dict[str, tuple[int, int]]:
    return {one.channel: (one.messages_in, one.messages_out) for one in found.channels}


async def test_counting_ends_when_nobody_asks_any_more(
    path: Path, clock: FakeClock, mock_clock: MockClock
) -> None:
    async with broker.open(path, clock=clock) as b:
        counts, activity = b.epoch.channel_counts, b.epoch.activity
        for _ in range(3):
            await asked(b)
            assert counts.is_counting
            mock_clock.jump(COUNTED_FOR_MS / 1000 - 1)
            await trio.testing.wait_all_tasks_blocked()
        await b.channel("c").publish("n")
        assert messages(await asked(b)) == {"c": (1, 0)}
        for _ in range(2):  # once it is too early, for it was asked meanwhile
            mock_clock.jump(COUNTED_FOR_MS / 1000 + 1)
            await trio.testing.wait_all_tasks_blocked()
        assert not counts.is_counting
        assert activity.passed_on is None
        await b.channel("c").publish("n")
        assert messages(await asked(b)) == {}


async def test_the_busiest_come_first(path: Path, clock: FakeClock) -> None:
    async with broker.open(path, clock=clock) as b:
        app = b.default_app()
        await asked(b)
        for name, count in (("a", 1), ("b", 3), ("c", 2)):
            for _ in range(count):
                await b.channel(name).publish("n")
        assert b.epoch.activity.passed_on is not None
        b.epoch.activity.passed_on(ChannelKey(app, "a"), 7)
        found = await asked(b, limit=2)
        assert messages(found) == {"a": (1, 7), "b": (3, 0)}
        assert found.found == 3


async def test_no_more_channels_are_counted_than_the_bound(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_counts, "CHANNELS_MAX", 2)
    async with broker.open(path, clock=clock) as b:
        await asked(b)
        for name in ("a", "b", "c", "a"):
            await b.channel(name).publish("n")
        assert messages(await asked(b)) == {"a": (2, 0), "b": (1, 0)}
