"""Is everything there, and as it was written? `verify` answers for a whole data directory.

Structure: py-lmdb's checker walks every page, in a child process. Records: every checksum, every
chain from its snapshot (or its beginning) on, every index entry looked up and every record
indexed. Projections: folded again into a scratch environment and compared row by row. Beside a
running broker the structure is left out, for the pages move under the checker.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from storage.engine import Engine, Reader, create, lock_directory
from storage.errors import Damaged, LogLocked, StorageError
from storage.opening import compare, probe
from storage.projection import Domain
from storage.reading import Span, walk_stream
from storage.rebuild import ROWS_VERSION, Refold
from storage.record import NO_LINK, Stream
from storage.retention import streams
from storage.settings import LogSettings
from storage.sidefile import read_note
from storage.snapshot import decode_snapshot, read_snapshot
from storage.stage import Stage

Progress = Callable[[str, int, int], None]
"""(what, done, of how many)"""
_PIECE = 2_000
_LAST_KEY = b"\xff" * 600
_TABLES = ("log", "index", "snapshots", "meta")


def verify(path: Path, domain: Domain, settings: LogSettings, progress: Progress) -> list[str]:
    """What is not intact, one line each; an empty list when everything is. Blocks."""
    try:
        lock = lock_directory(path)
    except LogLocked:
        progress("structure (left out: the broker is running)", 1, 1)
        return _findings(lambda: _verify_live(path, domain, settings, progress))
    try:
        return _findings(lambda: _verify_at_rest(path, domain, settings, progress))
    finally:
        os.close(lock)


def _findings(check: Callable[[], list[str]]) -> list[str]:
    try:
        return check()
    except StorageError as error:
        return [str(error)]


def _verify_at_rest(
    path: Path, domain: Domain, settings: LogSettings, progress: Progress
) -> list[str]:
    progress("structure", 0, 1)
    probe(path, settings, thorough=True)
    progress("structure", 1, 1)
    engine = Engine(path, settings)
    try:
        compare(engine, read_note(path), accept_loss=False)
    finally:
        engine.close()
    return _verify_live(path, domain, settings, progress)


def _verify_live(
    path: Path, domain: Domain, settings: LogSettings, progress: Progress
) -> list[str]:
    engine = Engine(path, settings)
    try:
        with engine.read() as reader:
            findings = [*_check_keys(reader), *_check_chains(reader, progress)]
            return findings or list(_check_projections(reader, domain, settings, progress))
    finally:
        engine.close()


def _check_keys(reader: Reader) -> Iterator[str]:
    """Every key must be found by looking it up, not only by walking past it."""
    for table in (*_TABLES, reader.rows_table):
        for key, _ in reader.walk(table, b"", _LAST_KEY):
            if reader.get(table, key) is None:
                yield f"{table}: key {key.hex()} is there but cannot be found"
    if reader.entries("log") != reader.entries("index"):
        yield f"{reader.entries('log')} records, but {reader.entries('index')} index entries"


def _check_chains(reader: Reader, progress: Progress) -> Iterator[str]:
    total, done = reader.entries("log"), 0
    for key, sealed in reader.walk("snapshots", b"", _LAST_KEY):
        try:
            decode_snapshot(key, sealed)
        except Damaged as error:
            yield f"snapshot: {error}"
    after = b""
    while True:
        try:
            found = next(streams(reader, after), None)
        except Damaged as error:
            yield str(error)
            return
        if found is None:
            return
        after = found[0] + b"\xff" * 9
        try:
            done += _check_chain(reader, found[1])
        except StorageError as error:
            yield str(error)
        progress("records", done, total)


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


def _check_projections(
    reader: Reader, domain: Domain, settings: LogSettings, progress: Progress
) -> Iterator[str]:
    if reader.number(ROWS_VERSION) != domain.version:
        progress(
            "projections (left out: another version wrote them; the next start rebuilds)", 1, 1
        )
        return
    with tempfile.TemporaryDirectory(prefix="tidelog-verify-") as name:
        lock = lock_directory(Path(name))
        create(Path(name))
        scratch = Engine(Path(name), settings, lock=lock, sync=False)
        try:
            _refold(reader, scratch, domain, progress)
            with scratch.read() as rebuilt:
                yield from _compare(reader, rebuilt, domain)
        finally:
            scratch.close()


def _refold(reader: Reader, scratch: Engine, domain: Domain, progress: Progress) -> None:
    refold = Refold(domain)
    total = reader.entries("log")
    more = True
    while more:
        with scratch.write() as writer:
            stage = Stage(writer, domain)
            more = refold.piece(reader, stage, _PIECE)
            stage.write()
        progress("projections", refold.folded, total)


def _compare(live: Reader, rebuilt: Reader, domain: Domain) -> Iterator[str]:
    names = {projection.prefix: projection.name for projection in domain.projections}
    ours = live.walk(live.rows_table, b"", _LAST_KEY)
    theirs = rebuilt.walk(rebuilt.rows_table, b"", _LAST_KEY)
    mine, other = next(ours, None), next(theirs, None)
    while mine or other:
        if mine == other:
            mine, other = next(ours, None), next(theirs, None)
            continue
        extra = other is None or (mine is not None and mine[0] < other[0])
        missing = mine is None or (other is not None and other[0] < mine[0])
        row = other if missing else mine
        assert row is not None
        what = "should not exist" if extra else "is missing" if missing else "differs"
        yield f"projection {names.get(row[0][:1])}: row {row[0][1:].hex()} {what}"
        mine = mine if missing else next(ours, None)
        other = other if extra else next(theirs, None)
