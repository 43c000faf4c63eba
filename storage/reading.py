"""Reading records back: pages of a stream, and everything after a position.

A page costs one seek and one cursor step per record, wherever it lies. Every record is checked
before it is returned, and neighbours of a stream must be consecutive: a flipped bit or a lost index
entry raises Damaged, naming channel and serial, instead of a hole in the answer.
"""

import heapq
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from storage.engine import Reader
from storage.errors import Damaged
from storage.record import (
    SERIAL_BYTES,
    Decode,
    Record,
    Stream,
    serial_key,
    stream_key,
    unpack,
)
from storage.serial import SERIAL_MAX
from storage.settings import LogSettings
from storage.snapshot import read_snapshot


class Page(NamedTuple):
    """Records in the order asked for.

    more: whether others follow within the same bounds. last: the serial of the last record looked
    at, redacted ones included; what follows lies behind it, even if `records` is empty.
    """

    records: list[Record]
    more: bool
    last: int


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
    expected = _first_sequence(reader, stream, span)
    for entry, _ in reader.walk("index", start, stop, reverse=span.reverse):
        if len(entry) != len(key) + SERIAL_BYTES:
            raise Damaged(f"channel {stream.channel!r}: the index entry {entry.hex()} is no serial")
        record = fetch(reader, stream, int.from_bytes(entry[len(key) :], "big"), decode)
        if expected not in (None, record.link.sequence):
            raise Damaged(f"channel {stream.channel!r}: a record near {record.serial} is missing")
        expected = record.link.sequence + (-1 if span.reverse else 1)
        yield record


def _first_sequence(reader: Reader, stream: Stream, span: Span) -> int | None:
    """The number of a walk's first record, if the walk starts where the stream does."""
    if span.reverse or span.first > 0:
        return None
    snapshot = read_snapshot(reader, stream)
    return snapshot.link.sequence + 1 if snapshot else 1


def read_page(
    reader: Reader, stream: Stream, span: Span, limit: int, decode: Decode, settings: LogSettings
) -> Page:
    """At most `limit` records, bounded by the settings too. Redacted records are passed over."""
    walk = walk_stream(reader, stream, span, decode)
    return _page(walk, limit, settings.read_bytes_max, settings)


def read_merged(
    reader: Reader,
    spans: Mapping[Stream, Span],
    limit: int,
    size: int,
    decode: Decode,
    settings: LogSettings,
) -> Page:
    """Like `read_page`, of several streams in one serial order. No span may be reversed. `size`:
    bytes of each stream after which the page ends."""
    walks = [walk_stream(reader, stream, span, decode) for stream, span in spans.items()]
    merged = heapq.merge(*walks, key=lambda record: record.serial)
    return _page(merged, limit, min(size, settings.read_bytes_max), settings)


def _page(walk: Iterator[Record], limit: int, size_max: int, settings: LogSettings) -> Page:
    records: list[Record] = []
    bound = min(limit, settings.read_records_max)
    firsts: dict[Stream, Record] = {}
    looked_at, last = 0, 0
    for record in walk:
        first = firsts.setdefault(record.stream, record)
        size = abs(record.link.total - first.link.total)  # running totals: no need to add up
        full = len(records) >= bound or size > size_max
        if looked_at >= settings.read_records_max or (full and not record.redacted):
            return Page(records, True, last)
        looked_at, last = looked_at + 1, record.serial
        if not record.redacted:
            records.append(record)
    return Page(records, False, last)


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
