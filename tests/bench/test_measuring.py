"""Turns, percentiles, ratios and bytes. Nothing here depends on how fast anything is."""

import sys
from pathlib import Path

import pytest
import trio

from bench.measuring import (
    Sample,
    busy_thread,
    handed_to_write,
    in_turn,
    percentile,
    ratio,
    switch_interval,
)
from bench.publishers import Disturbed
from bench.scale import TINY


class Fake:
    """Publishes nothing; notes whose turn it was, and under which switch interval."""

    def __init__(self, name: str, turns: list[tuple[str, float]]) -> None:
        self.name = name
        self._turns = turns

    async def turn(self, publishers: int, seconds: float) -> Sample:
        await trio.lowlevel.checkpoint()
        self._turns.append((self.name, sys.getswitchinterval()))
        return Sample(messages=10 * publishers, seconds=2.0, latencies=[seconds])


async def test_contenders_take_turns():
    turns: list[tuple[str, float]] = []
    samples = await in_turn([Fake("a", turns), Fake("b", turns)], 3, TINY)
    assert [name for name, _ in turns] == ["a", "b"] * (1 + TINY.rounds)
    assert samples["a"].messages == 30 * TINY.rounds
    assert samples["a"].per_second == 15
    assert samples["a"].latencies == [TINY.turn_s] * TINY.rounds  # the warm-up does not count


async def test_disturbed_sets_the_interval_for_its_turns_only():
    turns: list[tuple[str, float]] = []
    before = sys.getswitchinterval()
    for busy in (False, True):
        await Disturbed("a", Fake("a", turns), 3.0, busy=busy).turn(1, 0.0)
    assert [round(interval, 6) for _, interval in turns] == [0.003, 0.003]
    assert sys.getswitchinterval() == before


def test_nothing_disturbed_outlives_an_error():
    before = sys.getswitchinterval()
    with pytest.raises(ZeroDivisionError), switch_interval(0.001), busy_thread():
        raise ZeroDivisionError
    assert sys.getswitchinterval() == before


@pytest.mark.parametrize(
    ("values", "fraction", "expected"),
    [
        ([], 0.5, 0.0),
        ([7.0], 0.99, 7.0),
        ([3.0, 1.0, 2.0], 0.5, 2.0),
        ([float(value) for value in range(1, 101)], 0.99, 99.0),
        ([float(value) for value in range(1, 101)], 1.0, 100.0),
        ([float(value) for value in range(1, 201)], 0.5, 100.0),
    ],
)
def test_percentile_is_exact(values: list[float], fraction: float, expected: float):
    assert percentile(values, fraction) == expected


def test_ratio_is_the_median_over_rounds():
    assert ratio([1.0, 8.0, 3.0], [2.0, 2.0, 3.0]) == 1.0
    assert ratio([], []) is None
    assert ratio([1.0], [0.0]) is None


def test_bytes_handed_to_write_are_counted(tmp_path: Path):
    before = handed_to_write()
    (tmp_path / "file").write_bytes(bytes(100_000))
    assert 100_000 <= handed_to_write() - before < 200_000


def test_an_empty_sample_has_no_numbers():
    empty = Sample()
    assert (empty.per_second, empty.cpu_us, empty.bytes_per_message) == (0, 0, 0)
    assert empty.per_commit is None
