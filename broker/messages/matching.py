"""Where a target repeats its source: the bytes that a delta copies instead of carrying them.

A message mostly repeats the one before it, in the same order, with some values changed. So a search
walks both in step. What they begin and end with in common is taken first. After each difference it
looks close by, with `bytes.find`, for where they agree again. Only if that finds nothing, or time
and again too little to be more than chance, does it look everywhere, in an index of the source's
blocks. The index holds blocks that occur once: in a list of like records a block that recurs does
not say which record this is, and a wrong guess puts everything after it out of step.

Why few and large steps: a step costs the same in CPython whether it compares 8 bytes or 8 KiB.

Invariants: matches are in the target's order, do not overlap, and are at least MATCH_MIN long; the
source holds the same bytes there. The same input gives the same matches.

Fault model: input may be hostile. A search takes STEPS_MIN + len(target) / STEP_BYTES steps, and at
most STEPS_OVER more to end. A step is a look-up, a `find` in a bounded window, or a comparison that
is no longer than what it finds. What is left when they are used up is not searched. So time is
linear in the input, and what hostile input costs is size.

Refuses to do: find the best matches, find what the target repeats of itself, or know a format.
"""

from functools import cached_property
from struct import iter_unpack
from typing import Literal, NamedTuple

# A match this long is shorter as a copy than as itself, however the copy is written.
MATCH_MIN = 16
# Bytes that are looked for close by: how many, how far apart, and from how far behind a difference.
SEED = 12
STRIDE = 8
NEAR = 64
# How far beyond where it is expected a seed is looked for, in bytes.
WINDOW = 256
# Bytes of a block of the index. What is moved and at least twice as long is found.
BLOCK = 32
# A match this long is no chance.
TRUSTED = 64
STEPS_MIN = 1024
STEP_BYTES = 8
STEPS_OVER = 64
# So many misses in a row make the steps through the target longer.
_MISSES = 128
# So many doubtful matches in a row have the index asked; more, each time it knew no better.
_DOUBTS_MIN, _DOUBTS_MAX = 2, 64
# Sizes of what is compared at once: first, how much it grows, and when to look for the one byte.
_SLICE, _GROWTH, _CLOSE = 64, 4, 128


class Match(NamedTuple):
    """`length` bytes that are the same in both, and where they begin."""

    target: int
    source: int
    length: int


class Searched:
    """A source, with what is worth keeping from one search to the next."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    @cached_property
    def index(self) -> dict[bytes, int]:
        """Where each block is that occurs once, of those that begin at a multiple of BLOCK."""
        size = len(self.data) // BLOCK * BLOCK
        blocks = [block for (block,) in iter_unpack(f"{BLOCK}s", memoryview(self.data)[:size])]
        last = dict(zip(blocks, range(0, size, BLOCK), strict=True))
        if len(last) == len(blocks):
            return last
        backwards = zip(reversed(blocks), range(size - BLOCK, -1, -BLOCK), strict=True)
        return {block: at for block, at in dict(backwards).items() if last[block] == at}


class Search:
    """One search of a source for one target. `steps`: how many it took."""

    def __init__(self, searched: Searched, target: bytes) -> None:
        self._searched = searched
        self._source = searched.data
        self._target = target
        self._end = len(target)
        self._doubts = 0
        self._doubts_max = _DOUBTS_MIN
        self._steps_max = STEPS_MIN + len(target) // STEP_BYTES
        self.steps = 0

    def matches(self) -> list[Match]:
        source, target = self._source, self._target
        shorter = min(len(source), len(target))
        head = same_after(source, 0, target, 0, shorter)
        tail = same_before(source, len(source), target, len(target), shorter - head)
        self._end = len(target) - tail
        last = Match(self._end, len(source) - tail, tail)
        found = [Match(0, 0, head), *self._between(head), last]
        return [match for match in found if match.length >= MATCH_MIN]

    def _between(self, at: int) -> list[Match]:
        """From where both begin to differ to where the target's end is the source's."""
        found = []
        source = at
        while self._end - at >= MATCH_MIN and self.steps < self._steps_max:
            match = self._next(at, source)
            if match is None:
                break
            found.append(match)
            at, source = match.target + match.length, match.source + match.length
        return found

    def _next(self, at: int, source: int) -> Match | None:
        near = self._near(at, source)
        if near is None:
            return self._far(at, self._end)
        if near.length >= TRUSTED:
            self._doubts = 0
            return near
        self._doubts += 1
        return near if self._doubts < self._doubts_max else self._better(near, at)

    def _better(self, near: Match, at: int) -> Match:
        """Matches are short: perhaps both are out of step."""
        self._doubts = 0
        far = self._far(at, min(at + 3 * BLOCK, self._end))
        if far is not None and far.length > near.length:
            self._doubts_max = _DOUBTS_MIN
            return far
        self._doubts_max = min(2 * self._doubts_max, _DOUBTS_MAX)
        return near

    def _near(self, at: int, source: int) -> Match | None:
        """`source`: where `at` is expected, were nothing put in or left out."""
        for probe in range(at, min(at + NEAR, self._end - SEED), STRIDE):
            self.steps += 1
            seed = self._target[probe : probe + SEED]
            place = expected = source + probe - at
            if not self._source.startswith(seed, expected):
                place = self._source.find(seed, source, expected + WINDOW)
            if place >= 0:
                match = self._around(probe, place, at)
                if match.length >= MATCH_MIN:
                    return match
        return None

    def _far(self, at: int, end: int) -> Match | None:
        """The longer nothing is found, the longer the steps: odd ones, which meet every block of
        the index sooner or later."""
        index, target = self._searched.index, self._target
        probe, misses, last = at, 0, end - BLOCK if self._searched.index else -1
        while probe <= last and self.steps < self._steps_max:
            self.steps += 1
            place = index.get(target[probe : probe + BLOCK])
            if place is not None:
                return self._around(probe, place, at)
            misses += 1
            probe += 1 + 2 * (misses // _MISSES)
        return None

    def _around(self, probe: int, place: int, at: int) -> Match:
        """All that is the same around two places, in the target not before `at`."""
        self.steps += 2
        source, target = self._source, self._target
        before = same_before(source, place, target, probe, min(probe - at, place))
        limit = min(len(source) - place, self._end - probe)
        length = before + same_after(source, place, target, probe, limit)
        return Match(probe - before, place - before, length)


def same_after(left: bytes, i: int, right: bytes, j: int, limit: int) -> int:
    """How many bytes, `limit` at most, are the same from `i` and from `j` on."""
    same, size = 0, min(_SLICE, limit)
    while size and right.startswith(left[i + same : i + same + size], j + same):
        same += size
        size = min(size * _GROWTH, limit - same)
    while size > _CLOSE:
        half = size // 2
        if right.startswith(left[i + same : i + same + half], j + same):
            same += half
            size -= half
        else:
            size = half
    i, j = i + same, j + same
    return same + _agreeing(left[i : i + size], right[j : j + size], "big")


def same_before(left: bytes, i: int, right: bytes, j: int, limit: int) -> int:
    """How many bytes, `limit` at most, are the same right before `i` and before `j`."""
    same, size = 0, min(_SLICE, limit)
    while size and right.startswith(left[i - same - size : i - same], j - same - size):
        same += size
        size = min(size * _GROWTH, limit - same)
    while size > _CLOSE:
        half = size // 2
        if right.startswith(left[i - same - half : i - same], j - same - half):
            same += half
            size -= half
        else:
            size = half
    i, j = i - same, j - same
    return same + _agreeing(left[i - size : i], right[j - size : j], "little")


def _agreeing(left: bytes, right: bytes, order: Literal["big", "little"]) -> int:
    """How many bytes are the same, the most significant first."""
    differing = int.from_bytes(left, order) ^ int.from_bytes(right, order)
    return len(left) - (differing.bit_length() + 7) // 8
