"""A log as text: one JSON object per line, to read, to diff, to move between versions.

Lines are the snapshots of trimmed streams, then the records of all channels in commit order. Bytes
are written as {"$bytes": base64}; a user's own one-key "$…" map is wrapped in {"$map": …}. An
import rebuilds the same log: same serials, same chains; every hash is compared as it is written.
"""

import base64
import json
from collections.abc import Iterable, Iterator
from typing import Any

import msgpack

from storage.chain import last_link
from storage.engine import Reader, Writer
from storage.errors import StorageError
from storage.opening import position_of
from storage.projection import Domain
from storage.record import Link, Record, Stream, pack, redact, serial_key, stream_key, unpack
from storage.serial import SERIAL_MAX
from storage.snapshot import Snapshot, decode_snapshot, write_snapshot
from storage.stage import Stage
from storage.writer import Step

_UNREADABLE = (
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    StorageError,
)


def export_lines(reader: Reader) -> Iterator[str]:
    """The whole log, a line each."""
    for key, sealed in reader.walk("snapshots"):
        yield json.dumps(_snapshot_line(decode_snapshot(key, sealed)), ensure_ascii=False)
    for key, value in reader.walk("log"):
        record = unpack(int.from_bytes(key, "big"), value, msgpack.unpackb)
        yield json.dumps(_record_line(record), ensure_ascii=False)


def _snapshot_line(snapshot: Snapshot) -> dict[str, Any]:
    link = snapshot.link
    rows = [[row.hex(), value.hex()] for row, value in sorted(snapshot.rows.items())]
    chain = [link.serial, link.hash.hex(), link.sequence, link.total]
    return {"snapshot": list(snapshot.stream), "chain": chain, "rows": rows}


def _record_line(record: Record) -> dict[str, Any]:
    line: dict[str, Any] = {
        "serial": record.serial,
        "app": record.stream.app,
        "channel": record.stream.channel,
        "kind": record.stream.kind,
        "hash": record.link.hash.hex(),
    }
    if record.redacted:
        return line | {"redacted": [record.link.sequence, record.link.total]}
    return line | {"event": to_json(record.event)}


def to_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        plain = {key: to_json(item) for key, item in value.items()}
        return {"$map": plain} if _is_tag(value) else plain
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    return value


def from_json(value: Any) -> Any:
    if isinstance(value, dict):
        if "$bytes" in value and _is_tag(value):
            return base64.b64decode(value["$bytes"])
        inner = value["$map"] if "$map" in value and _is_tag(value) else value
        return {key: from_json(item) for key, item in inner.items()}
    if isinstance(value, list):
        return [from_json(item) for item in value]
    return value


def _is_tag(value: dict[str, Any]) -> bool:
    return len(value) == 1 and next(iter(value)).startswith("$")


def import_lines(domain: Domain, lines: Iterable[str], limit: int) -> Step:
    """Maintenance that writes exported lines into an empty log, `limit` lines in a commit."""
    numbered = enumerate(lines, start=1)
    started = False

    def step(writer: Writer) -> bool:
        nonlocal started
        if not started and (writer.ends("log") or writer.ends("snapshots")):
            raise StorageError("import needs an empty log: this one has records")
        started = True
        stage = Stage(writer, domain)
        written = 0
        for number, line in numbered:
            try:
                _import_line(stage, json.loads(line))
            except _UNREADABLE as error:
                raise StorageError(f"line {number} cannot be imported: {error}") from error
            written += 1
            if written == limit:
                break
        stage.write()
        if not written:
            writer.note_loss(position_of(writer))
        return written > 0

    return step


def _import_line(stage: Stage, line: dict[str, Any]) -> None:
    if "snapshot" in line:
        serial, digest, sequence, total = line["chain"]
        rows = {bytes.fromhex(row): bytes.fromhex(value) for row, value in line["rows"]}
        link = Link(serial, bytes.fromhex(digest), sequence, total)
        write_snapshot(stage.writer, Snapshot(Stream(*line["snapshot"]), link, rows))
        stage.writer.set_number(b"last", max(serial, stage.writer.number(b"last")))
        for row, value in rows.items():
            stage.overlay.put(row, value)
        return
    stream = Stream(line["app"], line["channel"], line["kind"])
    _import_record(stage, stream, line)


def _import_record(stage: Stage, stream: Stream, line: dict[str, Any]) -> None:
    writer, serial, digest = stage.writer, line["serial"], bytes.fromhex(line["hash"])
    previous = last_link(writer, stream)
    ends = writer.ends("log")
    newest = max(previous.serial, int.from_bytes(ends[1], "big") if ends else 0)
    if not newest < serial < SERIAL_MAX:
        raise StorageError(f"serial {serial} is not behind {newest}")
    if "redacted" in line:
        link = Link(serial, digest, *line["redacted"])
        if link.sequence != previous.sequence + 1 or link.total <= previous.total:
            raise StorageError(f"record {serial} does not continue its chain")
        value = redact(Record(serial, stream, None, link, previous.hash))
    else:
        for body in _encodings(stage.domain, from_json(line["event"])):
            value, link = pack(stream, serial, previous, body)
            if link.hash == digest:
                break
        else:
            raise StorageError(f"record {serial} does not have the hash it was exported with")
        record = Record(serial, stream, stage.domain.decode(body), link, previous.hash)
        for projection in stage.domain.by_kind.get(stream.kind, ()):
            projection.fold(stage.table(projection), record)
    writer.put("log", serial_key(serial), value)
    writer.put("index", stream_key(stream) + serial_key(serial), b"")


def _encodings(domain: Domain, event: Any) -> Iterator[bytes]:
    """What an event may have been written as. Most are as short as can be; but who encodes structs
    may give one with many fields the header of a longer map (msgspec does, where it omits some)."""
    shortest = msgpack.packb(event)
    yield shortest
    yield domain.encode(domain.decode(shortest))
