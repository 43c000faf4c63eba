"""Intervals: where they begin and end, their ids, and ids that are none."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker import BadRequest
from broker.stats.intervals import LAST_MS, MINUTE_MS, Unit, floor, interval_id, last_of, parse_id

times = st.integers(0, LAST_MS)
units = st.sampled_from(Unit)


def ms(*moment: int) -> int:
    return int(datetime(*moment, tzinfo=UTC).timestamp() * 1000)  # type: ignore[arg-type, misc]


@pytest.mark.parametrize(
    ("unit", "start", "last", "text"),
    [
        (Unit.MINUTE, (2024, 2, 29, 15, 5), (2024, 2, 29, 15, 6), "2024-02-29:15:05"),
        (Unit.HOUR, (2024, 2, 29, 15), (2024, 2, 29, 16), "2024-02-29:15"),
        (Unit.DAY, (2024, 2, 29), (2024, 3, 1), "2024-02-29"),
        (Unit.MONTH, (2024, 2, 1), (2024, 3, 1), "2024-02"),
    ],
)
def test_the_interval_of_a_time(
    unit: Unit, start: tuple[int, ...], last: tuple[int, ...], text: str
) -> None:
    found = floor(ms(2024, 2, 29, 15, 5, 59) + 999, unit)
    assert found == ms(*start)
    assert last_of(found, unit) == ms(*last) - 1
    assert interval_id(found, unit) == text
    assert parse_id(text) == (found, unit)


@pytest.mark.parametrize("month", range(1, 13))
@pytest.mark.parametrize("year", [1970, 2000, 2023, 2024, 2100, 2999])
def test_months_follow_each_other(year: int, month: int) -> None:
    following = (year + 1, 1, 1) if month == 12 else (year, month + 1, 1)
    assert last_of(ms(year, month, 1), Unit.MONTH) + 1 == ms(*following)


@given(times, units)
def test_every_time_lies_in_one_interval(time: int, unit: Unit) -> None:
    start = floor(time, unit)
    last = last_of(start, unit)
    assert start <= time <= last
    assert floor(start, unit) == floor(last, unit) == start
    assert floor(last + 1, unit) == last + 1
    assert parse_id(interval_id(start, unit)) == (start, unit)
    for smaller in Unit:
        if list(Unit).index(smaller) < list(Unit).index(unit):
            assert floor(floor(time, smaller), unit) == start


@pytest.mark.parametrize(
    "text",
    [
        *("", "now", "2024", "2024-2", "2024-13", "2024-00", "24-02-01", "2024-02-30", "2024-2-30"),
        *(
            "2023-02-29",
            "2024-02-03:24",
            "2024-02-03:15:60",
            "2024-02-03:15:05:00",
            "2024-02-03T15",
        ),
        *("2024-02-03 15", "1969-12-31:23:59", "3000-01", "9999-12-31", "-024-02-03", " 2024-02"),
        *("2024-02-03:15:5 ", "\uff12\uff10\uff12\uff14-02", "2024-02-03:15:\u0665\u0660"),
    ],
)
def test_what_is_no_id(text: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parse_id(text)
    assert refused.value.code == 40003


@given(st.text(max_size=17) | st.from_regex(r"[0-9 ]{4}-[0-9 ]{2}(-[0-9 ]{2})?", fullmatch=True))
def test_whatever_is_no_id_is_refused(text: str) -> None:
    try:
        start, unit = parse_id(text)
    except BadRequest:
        return
    assert interval_id(start, unit) == text


def test_ids_are_as_long_as_their_unit_is_precise() -> None:
    assert len({len(interval_id(MINUTE_MS, unit)) for unit in Unit}) == len(Unit)
