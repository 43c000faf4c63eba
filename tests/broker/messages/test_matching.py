"""Matches are true, of the order that is promised, and found at a bounded cost."""

import random
import sys
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.messages import matching
from broker.messages.matching import (
    BLOCK,
    MATCH_MIN,
    STEP_BYTES,
    STEPS_MIN,
    STEPS_OVER,
    Match,
    Search,
    Searched,
    same_after,
    same_before,
)
from broker.messages.vcdiff import Source
from tests.broker.messages.documents import HOSTILE_BYTES, changed, document, hostile, records

HOSTILE = hostile()
# Of one search, by lines of Python: for every byte of the target, and besides.
LINES_PER_BYTE = 3
LINES_BESIDES = 4_000


def found(source: bytes, target: bytes) -> list[Match]:
    return Search(Searched(source), target).matches()


def check(source: bytes, target: bytes) -> list[Match]:
    matches = found(source, target)
    at = 0
    for match in matches:
        assert match.length >= MATCH_MIN
        assert match.target >= at
        at = match.target + match.length
        assert target[match.target : at] == source[match.source : match.source + match.length]
        assert at <= len(target)
    assert found(source, target) == matches
    return matches


pieces = st.lists(st.sampled_from([b"a" * 40, b"ab" * 30, bytes(range(64)), b"x", b'","id":"']))


@given(pieces, pieces, st.binary(max_size=100))
def test_matches_are_what_they_say(one: list[bytes], other: list[bytes], noise: bytes) -> None:
    check(b"".join(one), noise.join(other))


@pytest.mark.parametrize("name", HOSTILE)
def test_matches_of_hostile_input_are_what_they_say(name: str) -> None:
    check(*HOSTILE[name])


def test_equal_payloads_are_one_match() -> None:
    base = document(records(random.Random(1), 5_000))
    assert check(base, base) == [Match(0, 0, len(base))]


def test_what_is_shorter_than_a_copy_is_not_matched() -> None:
    same = b"0123456789abcde"
    assert check(same, same) == []


def test_one_change_is_found_without_an_index() -> None:
    base = document(records(random.Random(2), 20_000))
    searched = Searched(base)
    at = base.index(b'"status":', 9_000) + 10
    target = base[:at] + b"somewhere else" + base[at + 4 :]
    matches = Search(searched, target).matches()
    assert len(matches) == 2
    assert sum(match.length for match in matches) >= len(base) - 10
    assert "index" not in vars(searched)


@pytest.mark.parametrize("begins", [0, 1, 9, 40])
def test_a_record_put_in_leaves_what_follows_whole(begins: int) -> None:
    chance = random.Random(3)
    before = records(chance, 20_000)
    after = [*before[:begins], *records(chance, 1), *before[begins:]]
    matches = check(document(before), document(after))
    assert sum(match.length for match in matches) > 0.98 * len(document(before))
    assert len(matches) < 20


@pytest.mark.parametrize("gone", [1, 7])
def test_a_list_that_slides_is_in_step_again(gone: int) -> None:
    chance = random.Random(4)
    before = records(chance, 20_000)
    after = before[gone:] + [records(chance, 1)[0] for _ in range(gone)]
    matches = check(document(before), document(after))
    assert max(match.length for match in matches) > 0.9 * len(document(before[gone:]))


@given(st.integers(0, 300), st.integers(0, 90))
def test_a_block_that_was_moved_is_found(front: int, back: int) -> None:
    """Twice a block is enough, before steps become longer."""
    block = random.Random(5).randbytes(2 * BLOCK)
    noise = random.Random(6).randbytes(1_000)
    matches = check(noise[:front] + block, b"." * back + block + b"-" * 40)
    assert sum(match.length for match in matches) >= 2 * BLOCK


def test_the_index_knows_only_what_occurs_once() -> None:
    one, two, three = (bytes([number]) * BLOCK for number in range(3))
    assert Searched(one + two + one + three + b"rest").index == {two: BLOCK, three: 3 * BLOCK}
    assert Searched(one + two).index == {one: 0, two: BLOCK}
    assert Searched(b"short").index == {}


@given(st.binary(max_size=600), st.integers(0, 700), st.binary(max_size=20), st.integers(0, 20))
def test_how_much_is_the_same(common: bytes, limit: int, noise: bytes, shift: int) -> None:
    left, right = b"-" * shift + common + b"<" + noise, common + b">" + noise
    limit = min(limit, len(right), len(left) - shift)
    assert same_after(left, shift, right, 0, limit) == min(limit, len(common))
    left, right = noise + b"<" + common + b"-" * shift, noise + b">" + common
    limit = min(limit, len(right))
    assert same_before(left, len(left) - shift, right, len(right), limit) == min(limit, len(common))


@pytest.mark.parametrize("name", HOSTILE)
def test_steps_are_bounded(name: str) -> None:
    source, target = HOSTILE[name]
    search = Search(Searched(source), target)
    search.matches()
    assert search.steps <= STEPS_MIN + len(target) // STEP_BYTES + STEPS_OVER


def lines(source: bytes, target: bytes) -> int:
    """How many lines of Python run for a delta: what it costs, on any machine."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        Source(source).encode(target)
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_input_costs_so_many_lines_a_byte(name: str) -> None:
    source, target = HOSTILE[name]
    assert lines(source, target) <= LINES_PER_BYTE * len(target) + LINES_BESIDES


@pytest.mark.parametrize("name", HOSTILE)
def test_twice_the_input_costs_about_twice_as_much(name: str) -> None:
    once, twice = HOSTILE[name], hostile(2 * HOSTILE_BYTES)[name]
    assert lines(*twice) <= 2.2 * lines(*once) + LINES_BESIDES


def test_an_ordinary_change_is_far_from_the_bounds() -> None:
    chance = random.Random(7)
    before = records(chance, 64 * 1024)
    source, target = document(before), document(changed(before, 0.05, chance))
    assert lines(source, target) < 0.5 * len(target)
    search = Search(Searched(source), target)
    search.matches()
    assert search.steps < (STEPS_MIN + len(target) // STEP_BYTES) // 4


def test_nothing_is_compared_beyond_what_it_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes that comparisons find the same are those of matches, or few."""
    compared = 0

    def counting(function: Any) -> Any:
        def count(*arguments: Any) -> int:
            nonlocal compared
            same: int = function(*arguments)
            compared += same
            return same

        return count

    for name in ("same_after", "same_before"):
        monkeypatch.setattr(matching, name, counting(getattr(matching, name)))
    for source, target in HOSTILE.values():
        compared = 0
        found(source, target)
        assert compared <= 4 * len(target)
