"""The search for the highest rate, and how memory is judged flat: on results that are made up."""

import pytest

from bench.load.result import Checked, Generator, Latency, Result
from bench.load.searching import Step, Wrong, search
from bench.load.soaking import Sample, quartered


def result(rate: float, p99_ms: float, *, done: float = 1.0, is_limit: bool = False, **checked):
    us = p99_ms * 1e3
    latency = Latency(count=1, p50_us=us, p90_us=us, p99_us=us, p999_us=us, max_us=us, encoded="")
    generator = Generator(
        busy=0.1, cpu_us=1.0, late_p99_us=1.0, limit_per_s=None, is_limit=is_limit
    )
    return Result(
        workload="publish",
        driver="made up",
        promise="none",
        version="0",
        options={"duration_s": 1.0},
        began="",
        seconds=1 / done,
        offered_per_s=rate,
        achieved_per_s=rate * done,
        delivered_per_s=0.0,
        latencies={"acknowledged": latency},
        server_cpu_us=None,
        server_rss_kib=None,
        generator=generator,
        checked=Checked(**checked),
    )


def searched(attempt, start: float = 100.0):
    steps: list[Step] = []
    found = search(attempt, start=start, budget_ms=20, precision=0.1, say=steps.append)
    return found, steps


@pytest.mark.parametrize("limit", [30.0, 100.0, 950.0, 4_321.0])
def test_it_comes_close_to_the_highest_rate_from_below(limit: float) -> None:
    found, steps = searched(lambda rate: result(rate, 10 if rate <= limit else 30))
    assert found.best is not None
    assert 0.9 * limit <= found.best.rate <= limit
    assert not found.is_generator
    assert all("p99 is over 20 ms" in step.too_high for step in steps if step.rate > limit)


def test_a_rate_that_is_not_done_is_too_high() -> None:
    found, steps = searched(lambda rate: result(rate, 1, done=min(1.0, 500 / rate)))
    assert found.best is not None
    assert 450 <= found.best.rate <= 530
    assert any(step.too_high.startswith("only ") for step in steps)


def test_a_run_in_which_nothing_was_done_proves_no_rate() -> None:
    found, steps = searched(lambda rate: result(0.0, 0.0))
    assert found.best is None
    assert all(step.too_high.startswith("nothing was done") for step in steps)


def test_one_bad_moment_is_tried_again() -> None:
    bad = {800.0}

    def attempt(rate: float) -> Result:
        if rate in bad:
            bad.discard(rate)
            return result(rate, 500)
        return result(rate, 10 if rate <= 1_000 else 30)

    found, steps = searched(attempt)
    assert found.best is not None
    assert found.best.rate >= 900
    assert [step.rate for step in steps].count(800.0) == 2


def test_a_violation_ends_it() -> None:
    def attempt(rate: float) -> Result:
        return result(rate, 1, violations={"lost": 1} if rate > 300 else {})

    with pytest.raises(Wrong) as raised:
        searched(attempt)
    assert raised.value.step.rate == 400


def test_it_ends_where_the_generator_does() -> None:
    found, _ = searched(lambda rate: result(rate, 1, is_limit=rate >= 1_600))
    assert found.is_generator
    assert found.best is not None
    assert found.best.rate == 1_600


def test_even_the_lowest_rate_may_be_too_high() -> None:
    found, steps = searched(lambda rate: result(rate, 1_000))
    assert found.best is None
    assert steps[-1].rate < 2


def sampled(*kib: int) -> list[Sample]:
    return [Sample(at, one) for at, one in enumerate(kib)]


FLAT = [100_000] * 80


@pytest.mark.parametrize(
    ("samples", "flat"),
    [
        (FLAT, [True] * 4),
        ([50_000] * 10 + FLAT[10:], [True] * 4),  # the warm-up may grow
        (FLAT[:25] + [130_000] * 15 + FLAT[40:], [True, False, True, True]),
        (FLAT[:65] + [130_000] * 15, [True, True, True, False]),
        (FLAT[:65] + [111_000] * 15, [True] * 4),
        (FLAT[:65] + [90_000] * 15, [True] * 4),
    ],
)
def test_memory_is_flat_or_not(samples: list[int], flat: list[bool]) -> None:
    quarters = quartered(sampled(*samples), 40, 40, tolerance=0.1)
    assert [one.is_flat for one in quarters] == flat
    assert [one.process for one in quarters] == [1, 1, 2, 2]


def test_what_was_not_sampled_is_not_flat() -> None:
    quarters = quartered(sampled(*FLAT), 40, 200, tolerance=0.1)
    assert [one.is_flat for one in quarters] == [True, True, False, False]
