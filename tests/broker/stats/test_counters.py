"""How amounts merge, and what an answer makes of them."""

import random

import pytest

from broker.stats.counters import Counters, merge, merged
from broker.stats.families import entries


@pytest.mark.parametrize(
    ("name", "amounts", "expected"),
    [
        ("messages.inbound.rest.messages.count", (1, 2, 3), 6),
        ("messages.inbound.rest.messages.data", (1, 0, 3), 4),
        ("apiRequests.other.succeeded", (1, 2), 3),
        ("apiRequests.other.failed", (1, 2), 3),
        ("apiRequests.other.refused", (1, 2), 3),
        ("channels.opened", (1, 2), 3),
        ("channels.peak", (1, 7, 3), 7),
        ("channels.min", (4, 2, 3), 2),
        ("channels.min", (4, 0, 3), 0),
        ("channels.total", (4, 2), 6),
        ("channels.samples", (1, 1), 2),
    ],
)
def test_the_last_component_is_the_rule(name: str, amounts: tuple[int, ...], expected: int) -> None:
    assert merged({name: amount} for amount in amounts) == {name: expected}


def test_what_only_one_side_has_is_kept() -> None:
    into: Counters = {"channels.min": 3, "channels.opened": 1}
    merge(into, {"channels.peak": 0, "channels.opened": 2})
    assert into == {"channels.min": 3, "channels.opened": 3, "channels.peak": 0}


def test_the_order_does_not_matter() -> None:
    names = ("a.count", "a.peak", "a.min", "b.total", "b.samples")
    parts = [{name: random.randrange(5) for name in random.sample(names, 3)} for _ in range(20)]
    whole = merged(parts)
    random.shuffle(parts)
    assert merged([merged(parts[:7]), merged(parts[7:])]) == whole, parts


def test_a_message_is_part_of_six_families() -> None:
    found = entries({"messages.inbound.realtime.messages.count": 5})
    assert found == dict.fromkeys(
        (
            "messages.inbound.realtime.messages.count",
            "messages.inbound.realtime.all.count",
            "messages.inbound.all.messages.count",
            "messages.inbound.all.all.count",
            "messages.all.messages.count",
            "messages.all.all.count",
        ),
        5,
    )


def test_families_add_up() -> None:
    found = entries(
        {
            "messages.inbound.realtime.messages.data": 1,
            "messages.inbound.realtime.presence.data": 10,
            "messages.inbound.rest.messages.data": 100,
            "messages.outbound.realtime.messages.data": 1_000,
            "messages.persisted.messages.count": 2,
            "messages.persisted.presence.count": 20,
            "apiRequests.other.failed": 3,
            "apiRequests.tokenRequests.failed": 30,
        }
    )
    assert found["messages.inbound.realtime.all.data"] == 11
    assert found["messages.inbound.all.messages.data"] == 101
    assert found["messages.inbound.all.all.data"] == 111
    assert found["messages.outbound.all.all.data"] == 1_000
    assert found["messages.all.messages.data"] == 1_101
    assert found["messages.all.presence.data"] == 10
    assert found["messages.all.all.data"] == 1_111
    assert found["messages.persisted.all.count"] == 22
    assert found["apiRequests.all.failed"] == 33


@pytest.mark.parametrize(
    ("total", "samples", "mean"), [(6, 3, 2), (1, 3, 0.333), (0, 4, None), (None, 4, None)]
)
def test_a_mean_is_of_its_samples(total: int | None, samples: int, mean: float | None) -> None:
    counters: Counters = {"connections.all.samples": samples, "connections.all.min": 0}
    if total is not None:
        counters["connections.all.total"] = total
    assert entries(counters) == ({} if mean is None else {"connections.all.mean": mean})


def test_a_whole_mean_is_a_whole_number() -> None:
    found = entries({"channels.total": 6, "channels.samples": 3})
    assert isinstance(found["channels.mean"], int)


def test_zeros_are_left_out() -> None:
    assert entries({"messages.inbound.rest.messages.count": 0, "channels.min": 0}) == {}
