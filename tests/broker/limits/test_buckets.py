"""How much each of many may have."""

import random

import pytest

from broker.limits.buckets import ROUNDING_S, Buckets


def minute() -> Buckets:
    return Buckets(burst_s=60, buckets_max=10)


def test_what_was_taken_comes_back_one_by_one() -> None:
    buckets = minute()
    taken = [buckets.try_take("ann", 1, 1, 100.0) for _ in range(61)]
    assert taken == [0.0] * 60 + [pytest.approx(1.0)]
    assert buckets.try_take("bob", 1, 1, 100.0) == 0.0
    assert buckets.try_take("ann", 1, 1, 100.5) == pytest.approx(0.5)
    assert buckets.try_take("ann", 1, 1, 101.0) == 0.0
    assert buckets.try_take("ann", 1, 1, 101.0) == pytest.approx(1.0)


def test_a_bucket_holds_what_is_for_its_burst() -> None:
    buckets = Buckets(burst_s=1, buckets_max=10)
    buckets.try_take("ann", 1, 5, 0.0)
    waits = [buckets.try_take("ann", 1, 5, 9_000.0) for _ in range(6)]
    assert waits == [0.0] * 5 + [pytest.approx(0.2)]


def test_what_is_bigger_than_a_bucket_passes_when_it_is_full_and_is_paid_for() -> None:
    buckets = Buckets(burst_s=1, buckets_max=10)
    assert buckets.try_take("ann", 1_000, 50, 0.0) == 0.0
    assert buckets.try_take("ann", 1, 50, 0.0) == pytest.approx(19 + 1 / 50)
    assert buckets.try_take("ann", 1_000, 50, 19.0) == pytest.approx(1.0)
    assert buckets.try_take("ann", 1_000, 50, 20.0) == 0.0


def test_what_is_refused_takes_nothing() -> None:
    buckets = Buckets(burst_s=1, buckets_max=10)
    assert buckets.try_take("ann", 8, 10, 0.0) == 0.0
    waits = [buckets.try_take("ann", 5, 10, 0.0) for _ in range(100)]
    assert waits == [pytest.approx(0.3)] * 100
    assert buckets.try_take("ann", 2, 10, 0.0) == 0.0


def test_full_ones_are_forgotten_and_never_too_many_are_kept() -> None:
    buckets = Buckets(burst_s=1, buckets_max=10)
    for number in range(100):
        assert buckets.try_take(number, 1, 1, 1.0) == 0.0
    assert len(buckets) == 10
    assert buckets.try_take(99, 1, 1, 1.0) == pytest.approx(1.0)
    assert buckets.try_take(0, 1, 1, 1.0) == 0.0
    for number in range(4):
        buckets.try_take(f"later {number}", 1, 1, 5.0)
    assert len(buckets) == 4


@pytest.mark.parametrize("seed", [random.randrange(1 << 32) for _ in range(5)])
def test_over_time_the_rate_holds_and_no_wait_is_in_vain(seed: int) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    per_s, burst_s = chance.choice([1, 7, 50, 1_000]), chance.choice([0.1, 1.0, 10.0])
    buckets, now_s, taken, largest = Buckets(burst_s, 10), 1e6, 0, 0
    for _ in range(1_000):
        now_s += chance.expovariate(per_s)
        amount = chance.randint(1, 2 * per_s)
        wait_s = buckets.try_take("ann", amount, per_s, now_s)
        if wait_s:
            now_s += wait_s
            assert buckets.try_take("ann", amount, per_s, now_s) <= ROUNDING_S
        taken, largest = taken + amount, max(largest, amount)
    allowed = (now_s - 1e6 + burst_s) * per_s + largest
    assert taken <= allowed + 1
