"""Serials only grow, run ahead by a bound, and a time that was read separates before from after."""

from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import ClockBehind
from storage.serial import (
    COUNTER_MAX,
    INDEX_MAX,
    SERIAL_MAX,
    HybridClock,
    first_at,
    last_at,
    ms_of,
    pack,
    unpack,
)
from tests.storage.wall import START_MS, Wall

LEAD_MS = 10_000
MILLISECONDS = st.integers(0, (1 << 44) - 2)
DIGITS = st.integers(0, 999)


def clock_at(wall: Wall, last: int = 0, lead_ms: int = LEAD_MS) -> HybridClock:
    return HybridClock(wall, last, lead_ms)


@given(MILLISECONDS, DIGITS, DIGITS)
def test_a_serial_is_its_parts(ms: int, counter: int, index: int) -> None:
    serial = pack(ms, counter, index)
    assert unpack(serial) == (ms, counter, index)
    assert ms_of(serial) == ms
    assert first_at(ms) <= serial <= last_at(ms) <= SERIAL_MAX
    assert last_at(ms) + 1 == first_at(ms + 1)


@given(st.tuples(MILLISECONDS, DIGITS, DIGITS), st.tuples(MILLISECONDS, DIGITS, DIGITS))
def test_serials_sort_as_their_parts(a: tuple[int, int, int], b: tuple[int, int, int]) -> None:
    assert (pack(*a) < pack(*b)) == (a < b)


def test_a_still_clock_counts(wall: Wall) -> None:
    clock = clock_at(wall)
    assert [clock.next() for _ in range(3)] == [pack(START_MS, n) for n in range(3)]
    wall.step(1)
    assert clock.next() == pack(START_MS + 1)


def test_the_counter_overflows_into_the_next_millisecond(wall: Wall) -> None:
    clock = clock_at(wall)
    given = [clock.next() for _ in range(2 * (COUNTER_MAX + 1) + 1)]
    assert given[COUNTER_MAX] == pack(START_MS, COUNTER_MAX)
    assert given[COUNTER_MAX + 1] == pack(START_MS + 1)
    assert given[-1] == pack(START_MS + 2)
    wall.step(1)  # still behind the serials
    assert clock.next() == pack(START_MS + 2, 1)


def test_it_goes_on_behind_the_last_serial(wall: Wall) -> None:
    last = pack(START_MS + 5, 7, INDEX_MAX)
    assert clock_at(wall, last).next() == pack(START_MS + 5, 8)
    assert clock_at(wall, pack(START_MS + 5, COUNTER_MAX, 3)).next() == pack(START_MS + 6)
    assert clock_at(wall, pack(START_MS - 5, 7, 3)).next() == pack(START_MS)


def test_the_lead_is_bounded(wall: Wall) -> None:
    clock = clock_at(wall)
    first = clock.next()
    wall.step(-LEAD_MS)
    assert clock.next() > first  # exactly the bound
    wall.step(-1)
    for _ in range(3):
        with pytest.raises(ClockBehind, match="serial_lead_ms_max=10000"):
            clock.next()
    wall.step(1)
    assert clock.next() == pack(START_MS, 2)  # the refused ones took nothing


def test_a_burst_meets_the_bound_too(wall: Wall) -> None:
    clock = clock_at(wall, lead_ms=1)
    for _ in range(2 * (COUNTER_MAX + 1)):
        clock.next()
    with pytest.raises(ClockBehind):
        clock.next()
    wall.step(1)
    assert clock.next() == pack(START_MS + 2)


def test_advance_only_goes_forward(wall: Wall) -> None:
    clock = clock_at(wall)
    clock.advance(pack(START_MS + 50, 3, 9))
    assert clock.next() == pack(START_MS + 50, 4)
    clock.advance(pack(START_MS + 10, 999, 9))
    assert clock.next() == pack(START_MS + 50, 5)


STEPS = st.lists(st.one_of(st.none(), st.just("read"), st.integers(-400, 400)), max_size=80)


@given(STEPS)
def test_time_read_is_a_boundary(steps: list[int | str | None]) -> None:
    """Whatever the clock does: serials grow, and each lies before every later reading and after
    every earlier one."""
    wall = Wall()
    clock = clock_at(wall, lead_ms=1 << 40)
    last, boundary = 0, 0
    for step in steps:
        if step is None:
            serial = clock.next()
            assert serial > last
            assert ms_of(serial) > boundary
            last = serial
        elif step == "read":
            earlier, boundary = boundary, clock.read()
            assert boundary >= max(earlier, wall.ms)
            assert boundary > ms_of(last)
        else:
            wall.step(int(step))


def test_readings_do_not_run_away(wall: Wall) -> None:
    clock = clock_at(wall)
    assert [clock.read() for _ in range(100)] == [START_MS] * 100
    clock.next()
    assert {clock.read() for _ in range(100)} == {START_MS + 2}


def test_readers_on_other_threads(wall: Wall) -> None:
    clock = clock_at(wall, lead_ms=1 << 40)
    readings: list[list[int]] = [[] for _ in range(3)]

    def read(into: list[int]) -> None:
        into.extend(clock.read() for _ in range(500))

    threads = [Thread(target=read, args=[into]) for into in readings]
    for thread in threads:
        thread.start()
    serials = [clock.next() for _ in range(2_000)]
    for thread in threads:
        thread.join()
    assert serials == sorted(set(serials))
    assert all(into == sorted(into) for into in readings)
