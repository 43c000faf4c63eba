"""Usage as rows: what was recorded of a minute, of an hour, of a day, and how far was counted.

Two projections fold the same events, for they treat a trim differently: minutes go with their
records (`stats_retention_ms`), hours and days stay. Months are added up from days when somebody
asks. A row's key is its app, its unit and its start, so that a time range is a key range. A minute
has a row per record that adds to it, keyed by the record's serial: forgetting one of them
leaves what a rebuild without it would give.

Every day of an app has a stream of its own (`day_stream`). So no row is folded from two streams,
and the snapshot of a trimmed one carries 25 rows at most.
"""

from collections.abc import Iterator

import msgspec

from broker.channels.registry import app_prefix
from broker.event import Kind
from broker.events import StatsCounted, StatsRecorded, StatsRemoved
from broker.stats.counters import Counters, merge
from broker.stats.intervals import DAY_MS, HOUR_MS, LAST_MS, Unit, floor, interval_id, parse_id
from storage import OnTrim, Record, Rows, Stream, Table

MINUTES, TOTALS = "stats_minutes", "stats"
CURSOR_STREAM = Stream("", "", Kind.STATS)
_CURSOR = b"cursor"
_UNITS = {Unit.MINUTE: b"m", Unit.HOUR: b"h", Unit.DAY: b"d"}
_KEPT = (Unit.HOUR, Unit.DAY)
_MS_BYTES = 8
_START = slice(9, 9 + _MS_BYTES)  # behind the app and the unit

_encode = msgspec.msgpack.Encoder().encode
_read = msgspec.msgpack.Decoder(Counters).decode


class Cursor(msgspec.Struct, frozen=True):
    """Everything up to serial `through` was counted, by the recordings up to `number`."""

    through: int
    number: int


_read_cursor = msgspec.msgpack.Decoder(Cursor).decode


def day_stream(app: str, ms: int) -> Stream:
    return Stream(app, interval_id(floor(ms, Unit.DAY), Unit.DAY), Kind.STATS)


def _key(app: str, unit: Unit, start_ms: int) -> bytes:
    return app_prefix(app) + _UNITS[unit] + start_ms.to_bytes(_MS_BYTES, "big")


class StatsMinutes:
    """The projection: one row per StatsRecorded."""

    name = MINUTES
    prefix = b"i"
    kinds = frozenset({int(Kind.STATS)})
    on_trim = OnTrim.DROP

    def fold(self, table: Table, record: Record) -> None:
        if isinstance(record.event, StatsRecorded):
            table.put(_minute_key(record), _encode(record.event.counters))

    def unfold(self, table: Table, record: Record) -> None:
        if isinstance(record.event, StatsRecorded):
            table.delete(_minute_key(record))


def _minute_key(record: Record) -> bytes:
    key = _key(record.stream.app, Unit.MINUTE, record.event.minute_ms)
    return key + record.serial.to_bytes(8, "big")


class Stats:
    """The projection: one row per hour and per day of an app, and one that says how far was
    counted."""

    name = TOTALS
    prefix = b"s"
    kinds = frozenset({int(Kind.STATS)})
    on_trim = OnTrim.KEEP

    def fold(self, table: Table, record: Record) -> None:
        app = record.stream.app
        match record.event:
            case StatsRecorded(minute_ms, counters):
                for unit in _KEPT:
                    _add(table, _key(app, unit, floor(minute_ms, unit)), counters)
            case StatsCounted(through, number):
                table.put(_CURSOR, _encode(Cursor(through, number)))
            case StatsRemoved():
                _remove_day(table, record.stream)

    def unfold(self, table: Table, record: Record) -> None:
        raise AssertionError("hours and days are kept when their records are trimmed")


def _add(table: Table, key: bytes, counters: Counters) -> None:
    row = table.get(key)
    total = _read(row) if row is not None else {}
    merge(total, counters)
    table.put(key, _encode(total))


def _remove_day(table: Table, stream: Stream) -> None:
    start_ms, _ = parse_id(stream.channel)
    for hour_ms in range(start_ms, start_ms + DAY_MS, HOUR_MS):
        table.delete(_key(stream.app, Unit.HOUR, hour_ms))
    table.delete(_key(stream.app, Unit.DAY, start_ms))


def cursor(rows: Rows) -> Cursor | None:
    """How far was counted; None where nothing ever was."""
    row = rows.get(TOTALS, _CURSOR)
    return None if row is None else _read_cursor(row)


def recorded(
    rows: Rows, app: str, unit: Unit, first_ms: int, last_ms: int, reverse: bool = False
) -> Iterator[tuple[int, Counters]]:
    """(start, counters) of what begins in a time range, in its order or against it. A minute may
    come several times in a row."""
    table = MINUTES if unit is Unit.MINUTE else TOTALS
    bounds = _key(app, unit, first_ms), _key(app, unit, last_ms + 1)
    for key, row in rows.between(table, *bounds, reverse):
        yield int.from_bytes(key[_START], "big"), _read(row)


def days(rows: Rows, app: str) -> list[Stream]:
    """The streams in which usage of an app was recorded."""
    return [day_stream(app, start_ms) for start_ms, _ in recorded(rows, app, Unit.DAY, 0, LAST_MS)]
