"""Serials on the wire: `<14-digit ms>-<3-digit counter>@<series>:<3-digit index>` (reference 3.8).

Sorting them as strings sorts them as the log does. The series names the log, so that a serial of
another log is recognised as foreign instead of pointing somewhere.
"""

import re

from broker.errors import BadRequest
from storage import serial as clock

INVALID_VALUE = 40003
_SERIAL = re.compile(r"(\d{14})-(\d{3})@([\w-]+)(?::(\d{3}))?")
# Every acknowledgement and every delivery carries serials: a look-up is cheaper than a format.
_THREE_DIGITS = tuple(f"{number:03d}" for number in range(clock.INDEX_MASK + 1))


def render(serial: int, series: str) -> str:
    ms, counter, index = clock.unpack(serial)
    return f"{ms:014d}-{_THREE_DIGITS[counter]}@{series}:{_THREE_DIGITS[index]}"


def before(serial: int) -> int:
    """A serial that could have come right before this one: where to stand to see it next."""
    ms, counter, index = clock.unpack(serial)
    if index:
        return serial - 1
    if counter:
        return clock.pack(ms, counter - 1, clock.INDEX_MAX)
    return clock.pack(ms - 1, clock.COUNTER_MAX, clock.INDEX_MAX)


def parse(text: str, series: str) -> int:
    """The log's serial. Without an index it is the last of its publish, as channel serials are.
    Raises BadRequest 40003 for anything that is not a serial of this log."""
    match = _SERIAL.fullmatch(text)
    if match is None or match[3] != series or int(match[1]) > clock.MS_MAX:
        raise BadRequest("not a serial of this log", INVALID_VALUE)
    index = clock.INDEX_MAX if match[4] is None else int(match[4])
    return clock.pack(int(match[1]), int(match[2]), index)
