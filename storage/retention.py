"""Trimming: the one way records leave the log, besides redaction.

A trim takes records from the old end of a stream and leaves a snapshot that carries the chain and
what must stay (see storage.snapshot), so that a rebuild from a trimmed log gives the same rows.
It runs as maintenance: a bounded number of records per commit, between the writer's batches.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from storage.chain import last_link
from storage.engine import Reader, Writer
from storage.errors import Damaged
from storage.projection import Domain, OnTrim
from storage.reading import Span, walk_stream
from storage.record import NO_LINK, Record, Stream, redact, serial_key, stream_key, unpack
from storage.rows import Overlay, ProjectionTable
from storage.serial import first_at
from storage.snapshot import Snapshot, read_snapshot, write_snapshot
from storage.stage import Stage
from storage.view import View
from storage.writer import Step

_KEY_BYTES = len(stream_key(Stream("", "", 0)))
_PAST_SERIALS = b"\xff" * 9


class Retention(NamedTuple):
    """What a stream keeps: what is younger than `age_ms`, at most so many `records`, at most `size`
    bytes of them (the record that crosses the bound stays). None is no bound. `before`: what lies
    before this serial goes, for a stream that is about the records of another."""

    age_ms: int | None = None
    records: int | None = None
    size: int | None = None
    before: int | None = None


class Cut(NamedTuple):
    """Where to trim a stream: every record at or below any of these goes."""

    stream: Stream
    serial: int = 0
    sequence: int = 0
    total: int = 0

    def covers(self, record: Record) -> bool:
        link = record.link
        return (
            record.serial <= self.serial
            or link.sequence <= self.sequence
            or link.total <= self.total
        )


Policy = Callable[[View, Stream], Retention]


def streams(reader: Reader, after: bytes = b"") -> Iterator[tuple[bytes, Stream]]:
    """Every stream that has records, with its key: one seek each, however long the stream."""
    while True:
        entry = next(reader.walk("index", after, b"\xff" * (_KEY_BYTES + 9)), None)
        if entry is None:
            return
        key, serial = entry[0][:_KEY_BYTES], entry[0][_KEY_BYTES:]
        yield key, _stream_of(reader, serial)
        after = key + _PAST_SERIALS


def _stream_of(reader: Reader, serial: bytes) -> Stream:
    value = reader.get("log", serial)
    number = int.from_bytes(serial, "big")
    if value is None:
        raise Damaged(f"record {number} is missing")
    return unpack(number, value, bytes).stream


def due(
    reader: Reader, view: View, policy: Policy, now_ms: int, after: bytes, limit: int
) -> tuple[list[Cut], bytes]:
    """The cuts that a policy asks for among the next `limit` streams, and where to go on; b"" when
    these were the last."""
    cuts: list[Cut] = []
    for number, (key, stream) in enumerate(streams(reader, after)):
        if number == limit:
            return cuts, after
        after = key + _PAST_SERIALS
        cut = _cut(reader, stream, policy(view, stream), now_ms)
        if cut is not None:
            cuts.append(cut)
    return cuts, b""


def _cut(reader: Reader, stream: Stream, keep: Retention, now_ms: int) -> Cut | None:
    last = last_link(reader, stream)
    by_age = first_at(max(0, now_ms - keep.age_ms)) if keep.age_ms is not None else 0
    cut = Cut(
        stream,
        max(by_age, keep.before - 1 if keep.before else 0),
        last.sequence - keep.records if keep.records is not None else 0,
        last.total - keep.size if keep.size is not None else 0,
    )
    first = next(walk_stream(reader, stream, Span(), bytes), None)
    return cut if first is not None and cut.covers(first) else None


def trim(domain: Domain, cuts: Sequence[Cut], records_max: int) -> Step:
    """Maintenance that applies cuts, at most `records_max` records in a commit."""
    pending = list(cuts)

    def step(writer: Writer) -> bool:
        room = records_max
        while pending and room > 0:
            removed = _trim_stream(Stage(writer, domain), pending[-1], room)
            room -= removed
            if room > 0:
                pending.pop()
        return bool(pending)

    return step


def _trim_stream(stage: Stage, cut: Cut, limit: int) -> int:
    """Remove up to `limit` records; returns how many went."""
    writer, stream = stage.writer, cut.stream
    snapshot = read_snapshot(writer, stream) or Snapshot(stream, NO_LINK, {})
    kept = Overlay(None)
    for key, value in snapshot.rows.items():
        kept.put(key, value)
    gone: list[Record] = []
    for record in walk_stream(writer, stream, Span(), stage.domain.decode):
        if len(gone) == limit or not cut.covers(record):
            break
        gone.append(record)
        _leave_behind(stage, kept, record)
    if not gone:
        return 0
    rows = dict(kept.scan(b""))
    write_snapshot(writer, Snapshot(stream, gone[-1].link, rows))
    _remember_position(writer)
    for record in gone:
        writer.delete("index", stream_key(stream) + serial_key(record.serial))
        writer.delete("log", serial_key(record.serial))
    stage.write()
    return len(gone)


def _leave_behind(stage: Stage, kept: Overlay, record: Record) -> None:
    if record.redacted:
        return
    for projection in stage.domain.by_kind.get(record.stream.kind, ()):
        if projection.on_trim is OnTrim.DROP:
            projection.unfold(stage.table(projection), record)
        else:
            projection.fold(ProjectionTable(kept, projection.prefix), record)


def _remember_position(writer: Writer) -> None:
    """Serials must not start again when the newest record is trimmed."""
    ends = writer.ends("log")
    newest = int.from_bytes(ends[1], "big") if ends else 0
    writer.set_number(b"last", max(newest, writer.number(b"last")))


def redact_stream(
    domain: Domain, stream: Stream, last: int, matches: Callable[[object], bool], records_max: int
) -> Step:
    """Maintenance that takes the bodies of matching events out of a stream up to serial `last`, for
    good (LMDB may keep the bytes in free pages until `compact`). Chain and sequence stay whole; the
    rows that the events left are unfolded, so only kinds without KEEP projections can be redacted.
    """
    projections = domain.by_kind.get(stream.kind, ())
    assert all(projection.on_trim is OnTrim.DROP for projection in projections)
    position = 0

    def step(writer: Writer) -> bool:
        nonlocal position
        stage = Stage(writer, domain)
        records = walk_stream(writer, stream, Span(position, last), domain.decode)
        for number, record in enumerate(records):
            if number == records_max:
                stage.write()
                return True
            position = record.serial + 1
            if not record.redacted and matches(record.event):
                for projection in projections:
                    projection.unfold(stage.table(projection), record)
                writer.put("log", serial_key(record.serial), redact(record))
        stage.write()
        return False

    return step
