"""Is everything where a reader will look for it, with the bytes that were written?

py-lmdb's checker proves that the pages form trees, not that a key can be found: it does not hold
branch keys against the leaves below them, and a flipped bit in a key may keep the order. So every
key is looked up and has its table's length, every row and record matches its checksum, every
stream's chain is whole from its snapshot (or its beginning) on, and there are as many records as
index entries. Part of `verify`, and of opening a log small enough to check whole.
"""

from collections.abc import Callable, Iterator

from storage.engine import ROWS, Reader
from storage.errors import Damaged, StorageError
from storage.reading import Span, walk_stream
from storage.record import NO_LINK, Stream, open_row
from storage.retention import streams
from storage.snapshot import decode_snapshot, read_snapshot

Progress = Callable[[str, int, int], None]
"""(what, done, of how many)"""
_KEY_BYTES = {"log": 8, "index": 25, "snapshots": 17}


def silent(what: str, done: int, total: int) -> None:
    """No progress wanted."""


def unsound(reader: Reader, progress: Progress = silent) -> Iterator[str]:
    """What is not as it was written, one line each."""
    for table in (*_KEY_BYTES, "meta", *ROWS):
        yield from _misplaced(reader, table)
    for table in ROWS:
        yield from _mismatched(reader, table)
    yield from _broken_chains(reader, progress)


def _misplaced(reader: Reader, table: str) -> Iterator[str]:
    """Every key must be found by looking it up, not only by walking past it."""
    for key, _ in reader.walk(table):
        if reader.get(table, key) is None:
            yield f"{table}: key {key.hex()} is there but cannot be found"
        if len(key) != _KEY_BYTES.get(table, len(key)):
            yield f"{table}: key {key.hex()} has the wrong length"


def _mismatched(reader: Reader, table: str) -> Iterator[str]:
    for key, sealed in reader.walk(table):
        try:
            open_row(key, sealed)
        except Damaged as error:
            yield f"{table}: {error}"


def _broken_chains(reader: Reader, progress: Progress) -> Iterator[str]:
    for key, sealed in reader.walk("snapshots"):
        try:
            decode_snapshot(key, sealed)
        except Damaged as error:
            yield f"snapshot: {error}"
    total, entries = reader.entries("log"), reader.entries("index")
    if total != entries:
        yield f"{total} records, but {entries} index entries"
    done = 0
    try:
        for _, stream in streams(reader):
            try:
                done += _check_chain(reader, stream)
            except StorageError as error:
                yield str(error)
            progress("records", done, total)
    except Damaged as error:
        yield str(error)


def _check_chain(reader: Reader, stream: Stream) -> int:
    """Walk one chain; returns its length. Raises Damaged at the first broken link."""
    snapshot = read_snapshot(reader, stream)
    previous = snapshot.link if snapshot else NO_LINK
    count = 0
    for record in walk_stream(reader, stream, Span(), bytes):
        linked = record.previous == previous.hash
        if not linked or record.link.sequence != previous.sequence + 1:
            raise Damaged(
                f"channel {stream.channel!r}: record {record.serial} does not continue the chain"
            )
        previous = record.link
        count += 1
    return count
