"""Reading records back: pages of a stream, and everything after a position.

A page costs one seek and one cursor step per record, wherever it lies. Every record is checked
before it is returned, and neighbours of a stream must be consecutive: a flipped bit or a lost index
entry raises Damaged, naming channel and serial, instead of a hole in the answer.
"""

from collections.abc import Iterator
from typing import NamedTuple

from storage.engine import Reader
from storage.errors import Damaged
from storage.record import Decode, Record, Stream, serial_key, stream_key, unpack
from storage.serial import SERIAL_MAX
from storage.settings import LogSettings


class Page(NamedTuple):
    """Records in the order asked for; `more` when others follow within the same bounds."""

    records: list[Record]
    more: bool


class Span(NamedTuple):
    """Which records of a stream: first <= serial <= last, newest first if `reverse`."""

    first: int = 0
    last: int = SERIAL_MAX
    reverse: bool = False


EVERYTHING = Span()


def fetch(reader: Reader, stream: Stream, serial: int, decode: Decode) -> Record:
    """The record that an index entry names. Raises Damaged."""
    value = reader.get("log", serial_key(serial))
    if value is None:
        raise Damaged(f"channel {stream.channel!r}: record {serial} is missing")
    try:
        record = unpack(serial, value, decode)
    except Damaged as error:
        raise Damaged(f"channel {stream.channel!r}: {error}") from None
    if record.stream != stream:
        raise Damaged(f"channel {stream.channel!r}: record {serial} belongs to {record.stream}")
    return record


def walk_stream(reader: Reader, stream: Stream, span: Span, decode: Decode) -> Iterator[Record]:
    """The records of a stream within a span, checked to be consecutive."""
    key = stream_key(stream)
    start = key + serial_key(span.first)
    stop = key + serial_key(span.last) + b"\0"
    expected = None
    for entry, _ in reader.walk("index", start, stop, reverse=span.reverse):
        record = fetch(reader, stream, int.from_bytes(entry[len(key) :], "big"), decode)
        if expected not in (None, record.link.sequence):
            raise Damaged(f"channel {stream.channel!r}: a record near {record.serial} is missing")
        expected = record.link.sequence + (-1 if span.reverse else 1)
        yield record


def read_page(
    reader: Reader, stream: Stream, span: Span, limit: int, decode: Decode, settings: LogSettings
) -> Page:
    """At most `limit` records, bounded by the settings too. Redacted records are passed over."""
    records: list[Record] = []
    bound = min(limit, settings.read_records_max)
    for record in walk_stream(reader, stream, span, decode):
        if record.redacted:
            continue
        if len(records) >= bound or _bytes_between(records, record) > settings.read_bytes_max:
            return Page(records, more=True)
        records.append(record)
    return Page(records, more=False)


def _bytes_between(records: list[Record], record: Record) -> int:
    """Running totals make the size of a page a subtraction."""
    return abs(record.link.total - records[0].link.total) if records else 0


def read_after(
    reader: Reader, position: int, limit: int, decode: Decode, settings: LogSettings
) -> list[Record]:
    """The records of all streams behind `position`, in commit order, redacted ones included."""
    records: list[Record] = []
    size = 0
    start, stop = serial_key(position + 1), serial_key(SERIAL_MAX)
    for key, value in reader.walk("log", start, stop):
        records.append(unpack(int.from_bytes(key, "big"), value, decode))
        size += len(value)
        if len(records) >= min(limit, settings.read_records_max) or size > settings.read_bytes_max:
            break
    return records
