"""Intervals of time that usage is counted in: minutes, hours, days and months of UTC.

An interval is known by its first millisecond. Its id says the same as text, as precisely as its
unit is (reference 1.14): `2024-02-03:15:05`, `2024-02-03:15`, `2024-02-03`, `2024-02`.

Knows the times from 1970 to 2999, and refuses ids of others.
"""

from datetime import UTC, datetime, timedelta
from enum import StrEnum

from broker.errors import BadRequest

INVALID_VALUE = 40003
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
LAST_MS = 32_503_679_999_999  # of the year 2999
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MONTH_DAYS_MAX = 31


class Unit(StrEnum):
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


_LENGTHS_MS = {Unit.MINUTE: MINUTE_MS, Unit.HOUR: HOUR_MS, Unit.DAY: DAY_MS}
_FORMATS = {
    Unit.MINUTE: "%Y-%m-%d:%H:%M",
    Unit.HOUR: "%Y-%m-%d:%H",
    Unit.DAY: "%Y-%m-%d",
    Unit.MONTH: "%Y-%m",
}
# Every field of an id has all its digits, so its length says which unit it is of.
_BY_CHARS = {16: Unit.MINUTE, 13: Unit.HOUR, 10: Unit.DAY, 7: Unit.MONTH}


def floor(ms: int, unit: Unit) -> int:
    """The start of the interval that a time lies in."""
    if unit is not Unit.MONTH:
        return ms - ms % _LENGTHS_MS[unit]
    return _ms(_datetime(ms).replace(day=1, hour=0, minute=0, second=0, microsecond=0))


def last_of(start_ms: int, unit: Unit) -> int:
    """The last millisecond of the interval that begins at `start_ms`."""
    if unit is not Unit.MONTH:
        return start_ms + _LENGTHS_MS[unit] - 1
    return floor(start_ms + _MONTH_DAYS_MAX * DAY_MS, Unit.MONTH) - 1


def interval_id(start_ms: int, unit: Unit) -> str:
    return _datetime(start_ms).strftime(_FORMATS[unit])


def parse_id(text: str) -> tuple[int, Unit]:
    """The start of the interval that an id names, and its unit. Raises BadRequest 40003."""
    unit = _BY_CHARS.get(len(text))
    if unit is None or not text.isascii():
        raise _invalid(text)
    try:
        ms = _ms(datetime.strptime(text, _FORMATS[unit]).replace(tzinfo=UTC))
    except ValueError:
        raise _invalid(text) from None
    if not 0 <= ms <= LAST_MS or interval_id(ms, unit) != text:
        raise _invalid(text)
    return ms, unit


def _invalid(text: str) -> BadRequest:
    return BadRequest(
        f"{text[:40]!r} is no interval: expected yyyy-mm-dd:hh:mm, or less of it down to yyyy-mm",
        INVALID_VALUE,
    )


def _datetime(ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=ms)


def _ms(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)
