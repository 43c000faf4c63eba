"""The snapshot of a trimmed stream: what its trimmed records leave behind.

One sealed row per stream: the link that the first kept record's `previous` names, and, for each
KEEP projection, the rows that the trimmed records fold to. A rebuild starts from it, so a trimmed
log folds to the same rows as the whole one did.
"""

from typing import NamedTuple

import msgpack
from msgspec.structs import astuple

from storage.engine import Reader, Writer
from storage.record import Link, Stream, open_row, seal_row, stream_key


class Snapshot(NamedTuple):
    stream: Stream
    link: Link
    rows: dict[bytes, bytes]


def read_snapshot(reader: Reader, stream: Stream) -> Snapshot | None:
    key = stream_key(stream)
    sealed = reader.get("snapshots", key)
    return None if sealed is None else decode_snapshot(key, sealed)


def decode_snapshot(key: bytes, sealed: bytes) -> Snapshot:
    """Raises Damaged when the bytes are not those that were written."""
    stream, link, rows = msgpack.unpackb(open_row(key, sealed))
    return Snapshot(Stream(*stream), Link(*link), dict(rows))


def write_snapshot(writer: Writer, snapshot: Snapshot) -> None:
    key = stream_key(snapshot.stream)
    rows = sorted(snapshot.rows.items())
    body = msgpack.packb((tuple(snapshot.stream), astuple(snapshot.link), rows))
    writer.put("snapshots", key, seal_row(key, body))
