"""Retention through the façade: what a sweep takes, by age, count, bytes, kind and namespace."""

from pathlib import Path

import pytest

import broker
from broker import Broker, BrokerSettings, Message, offline
from broker.channels.registry import channels
from broker.event import Kind
from broker.settings import HOUR_MS
from broker.tenancy import NamespaceRules
from storage import LogSettings, Stream
from tests.broker.conftest import FakeClock


async def names(b: Broker, channel: str) -> list[str | None]:
    return [m.name for m in (await b.channel(channel).history(direction="forwards")).messages]


async def test_messages_go_when_they_are_older_than_the_default(
    path: Path, clock: FakeClock
) -> None:
    async with broker.open(path, clock=clock) as b:
        await b.channel("c").publish("old", id="i")
        clock.advance(HOUR_MS)
        await b.channel("c").publish("young")
        clock.advance(71 * HOUR_MS - 1)
        await b.sweep()
        assert await names(b, "c") == ["old", "young"]
        clock.advance(2)
        assert await b.sweep() == 1
        assert await names(b, "c") == ["young"]
        assert not (await b.channel("c").publish("again", id="i")).duplicate
    assert offline.verify(path, LogSettings()) == []
    async with broker.open(path, clock=clock) as b:
        await b.rebuild()
        assert await names(b, "c") == ["young", "again"]
        clock.advance(1000 * HOUR_MS)
        await b.sweep()
        assert await names(b, "c") == []
        with b.rows() as rows:
            assert [info.name for info in channels(rows, b.default_app())] == ["c"]
        await b.channel("c").publish("the chain goes on")
    assert offline.verify(path, LogSettings()) == []


async def test_each_namespace_has_its_own_rules(opened: Broker, clock: FakeClock) -> None:
    rules = {
        "forever": NamespaceRules(retention_ms=0),
        "hour": NamespaceRules(retention_ms=HOUR_MS),
        "three": NamespaceRules(messages_max=3),
        "small": NamespaceRules(bytes_max=5_000),
    }
    for namespace, rule in rules.items():
        await opened.apps.set_namespace(opened.default_app(), namespace, rule)
    for channel in (*rules, "forever:x", "hours", "none"):
        batch = [Message(name=str(n), data="x" * 1_000) for n in range(10)]
        await opened.channel(channel).publish_all(batch)
    await opened.sweep()
    everything = [str(n) for n in range(10)]
    assert await names(opened, "three") == everything[-3:]
    assert len(await names(opened, "small")) in (4, 5)  # the one that crosses the bound may stay
    clock.advance(HOUR_MS + 1)
    await opened.sweep()
    assert await names(opened, "hour") == []
    assert await names(opened, "hours") == everything
    clock.advance(10_000 * HOUR_MS)
    await opened.sweep()
    assert await names(opened, "none") == []
    assert await names(opened, "forever") == await names(opened, "forever:x") == everything


async def test_a_broker_may_keep_everything(path: Path, clock: FakeClock) -> None:
    settings = BrokerSettings(message_retention_ms=0)
    async with broker.open(path, clock=clock, settings=settings) as b:
        await b.channel("c").publish("kept")
        clock.advance(100_000 * HOUR_MS)
        await b.sweep()
        assert await names(b, "c") == ["kept"]


async def test_a_rule_that_changes_counts_at_the_next_sweep(
    opened: Broker, clock: FakeClock
) -> None:
    app = opened.default_app()
    await opened.channel("n:c").publish("kept")
    await opened.apps.set_namespace(app, "n", NamespaceRules(retention_ms=0))
    clock.advance(1_000 * HOUR_MS)
    await opened.sweep()
    assert await names(opened, "n:c") == ["kept"]
    await opened.apps.remove_namespace(app, "n")
    await opened.sweep()
    assert await names(opened, "n:c") == []


async def test_ephemeral_messages_go_after_two_minutes(opened: Broker, clock: FakeClock) -> None:
    stream = Stream(opened.default_app(), "c", Kind.EPHEMERAL)
    await opened.channel("c").publish("kept")
    await opened.channel("c").publish("gone", extras={"ephemeral": True})
    for minutes, left in ((1, 1), (2, 0)):
        clock.advance(60_000 + 1)
        await opened.sweep()
        assert len((await opened.log.read(stream, limit=10)).records) == left, minutes
    assert await names(opened, "c") == ["kept"]


async def test_the_system_log_is_never_trimmed(path: Path, clock: FakeClock) -> None:
    async with broker.open(path, clock=clock) as b:
        keys = [key.string for key in b.apps.keys(b.default_app())]
        clock.advance(1_000_000 * HOUR_MS)
        await b.sweep()
    async with broker.open(path, clock=clock) as b:
        assert [key.string for key in b.apps.keys(b.default_app())] == keys


async def test_the_broker_sweeps_by_itself(path: Path, clock: FakeClock) -> None:
    settings = BrokerSettings(sweep_interval_ms=10)
    async with broker.open(path, clock=clock, settings=settings) as b:
        await b.channel("c").publish("old")
        clock.advance(73 * HOUR_MS)
        while b.metrics.streams_trimmed == 0:
            await b.channel("c").history()  # a thread's work: this yields
        assert await names(b, "c") == []


@pytest.mark.parametrize("direction", ["forwards", "backwards"])
async def test_a_page_cursor_survives_a_trim(
    opened: Broker, clock: FakeClock, direction: str
) -> None:
    """What is gone is skipped; what is left comes once."""
    for number in range(6):
        await opened.channel("c").publish(str(number))
        clock.advance(HOUR_MS)
    query = broker.HistoryQuery(direction=direction, limit=2)  # type: ignore[arg-type]
    page = await opened.channel("c").history_page(query)
    clock.advance(68 * HOUR_MS - 1)  # 0 and 1 are older than 72 hours now
    await opened.sweep()
    found = [m.name for m in page.messages]
    while page.next:
        page = await opened.channel("c").history_page(page.next)
        found += [m.name for m in page.messages]
    expected = ["0", "1", "2", "3", "4", "5"] if direction == "forwards" else ["5", "4", "3", "2"]
    assert found == expected
