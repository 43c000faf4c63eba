"""What waits to be recorded: merged by minute and app, bounded without losing anything."""

import random

import pytest

from broker.stats.counters import merged
from broker.stats.pending import MINUTES_MAX, Pending
from broker.stats.recording import MinuteCounts

COUNT = "messages.inbound.rest.messages.count"


def test_what_is_added_is_merged_and_taken_once() -> None:
    pending = Pending()
    for app, minute_ms, amount in (("a", 60_000, 1), ("b", 0, 2), ("a", 60_000, 4), ("a", 0, 8)):
        pending.add(app, minute_ms, {COUNT: amount})
    assert [minute.counters for minute in pending.of("a")] == [{COUNT: 5}, {COUNT: 8}]
    taken = pending.take()
    assert {(m.app, m.minute_ms, m.counters[COUNT]) for m in taken} == {
        ("a", 60_000, 5),
        ("b", 0, 2),
        ("a", 0, 8),
    }
    assert [minute.minute_ms for minute in taken] == [0, 0, 60_000]
    assert not pending
    assert pending.take() == ()


def test_what_is_given_back_joins_what_came_since() -> None:
    pending = Pending()
    pending.add("a", 0, {COUNT: 1})
    taken = pending.take()
    pending.add("a", 0, {COUNT: 2})
    pending.give_back(taken)
    assert pending.take() == (MinuteCounts("a", 0, {COUNT: 3}),)
    assert taken == (MinuteCounts("a", 0, {COUNT: 1}),)


def test_an_app_is_forgotten() -> None:
    pending = Pending()
    pending.add("a", 0, {COUNT: 1})
    pending.add("b", 0, {COUNT: 2})
    pending.forget("a")
    assert pending.apps(0) == ["b"]
    pending.forget("b")
    assert not pending


@pytest.mark.parametrize("order", ["forwards", "backwards", "shuffled"])
def test_minutes_are_bounded_and_amounts_are_not_lost(order: str) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    minutes = list(range(5 * MINUTES_MAX))
    if order == "backwards":
        minutes.reverse()
    elif order == "shuffled":
        random.Random(seed).shuffle(minutes)
    pending = Pending()
    for minute in minutes:
        for app in ("a", "b"):
            pending.add(app, minute * 60_000, {COUNT: 1, "channels.peak": minute})
    assert pending.is_full
    taken = pending.take()
    assert len({minute.minute_ms for minute in taken}) == MINUTES_MAX
    for app in ("a", "b"):
        total = merged(minute.counters for minute in taken if minute.app == app)
        assert total == {COUNT: len(minutes), "channels.peak": max(minutes)}
