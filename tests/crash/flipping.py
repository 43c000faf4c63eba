"""Opens damaged copies of a log, one after another, and says what became of each. A program, for
whatever a damaged page makes LMDB do must not happen to the tests.

The job comes in on standard input: {"pristine": …, "scratch": …, "flips": [[file, offset, bit]]}.
One line per flip goes out: its number and a verdict, as JSON.

    refused     opening raised a StorageError (or the check that opening runs in a child found it)
    damaged     a read raised Damaged
    identical   every read gave what it gives undamaged
    wrong       a read gave something else, and no error; `verify` says whether that finds it
    crashed     the process that serves died

"served" is what a server does: open as `open_log` does, then read. The check before it runs in a
fork here instead of in a new interpreter.
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import msgpack

from storage import LogSettings, Span, StorageError, opening, probe
from storage import verify as verification
from storage.engine import Engine, Reader
from storage.reading import read_after, read_page
from storage.retention import streams
from storage.rows import AllRows, StoredRows
from storage.verify import verify
from tests.storage.ledger import POSTS, Stream, ledger

CHANNELS = 7
SETTINGS = LogSettings()


def _no_probe(*_: object, **__: object) -> None:
    """The check was made before, in a fork."""


def in_fork(work: Callable[[], str]) -> str:
    """What `work` returns in a process of its own; "" if that died."""
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reader)
        said = work().encode()
        with os.fdopen(writer, "wb") as answer:
            answer.write(said)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    return said.decode() if os.waitpid(process, 0)[1] == 0 else ""


def check(path: Path) -> str:
    """The whole check that opening makes, with what it prints left out."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    code = probe.main(path, "whole")
    return f"refused by the check, exit {code}" if code else "fine"


def pages(reader: Reader, stream: Stream, reverse: bool) -> list[object]:
    """History, page by page, as a client reads it."""
    found: list[object] = []
    span, more = Span(reverse=reverse), True
    while more:
        page = read_page(reader, stream, span, 100, msgpack.unpackb, SETTINGS)
        records, more = page.records, page.more
        found += records
        if records and reverse:
            span = Span(last=records[-1].serial - 1, reverse=True)
        elif records:
            span = Span(records[-1].serial + 1)
    return found


def all_reads(engine: Engine, known: list[bytes]) -> str:
    """A digest of what every kind of read gives."""
    found: list[object] = []
    with engine.read() as reader:
        for number in range(CHANNELS):
            stream = Stream("app", f"channel-{number}", POSTS)
            found += [pages(reader, stream, reverse) for reverse in (False, True)]
        position, records = 0, [None]
        while records:
            records = read_after(reader, position, 500, msgpack.unpackb, SETTINGS)
            position = records[-1].serial if records else position
            found.append(records)
        rows = AllRows(StoredRows(reader, reader.rows_table), ledger().projections)
        found += [sorted(rows.scan(table)) for table in ("ids", "tallies")]
        found += [rows.get("ids", key) for key in known]
        found.append([stream for _, stream in streams(reader)])
    return hashlib.blake2b(repr(found).encode(), digest_size=16).hexdigest()


def serve(path: Path, known: list[bytes], digest: str) -> str:
    """Open and read; then, if nobody complained, verify."""
    opening.probe = verification.probe = _no_probe
    try:
        engine = opening.open_engine(path, SETTINGS, accept_loss=False).engine
    except StorageError as error:
        return f"refused {type(error).__name__}: {error}"
    try:
        found = all_reads(engine, known)
    except StorageError as error:
        return f"damaged {type(error).__name__}: {error}"
    finally:
        engine.close()
    if found == digest:
        return "identical"
    findings = verify(path, ledger(), SETTINGS, lambda *_: None)
    return f"wrong verify: {findings[:2]}" if findings else "wrong and verify finds nothing"


def verdict(path: Path, known: list[bytes], digest: str) -> str:
    checked = in_fork(lambda: check(path))
    if checked != "fine":
        return checked or "refused, the check died"
    return in_fork(lambda: serve(path, known, digest)) or "crashed"


def known_ids(path: Path) -> tuple[list[bytes], str]:
    """Of the undamaged log: which ids it holds, and the digest of all reads."""
    engine = Engine(path, SETTINGS)
    try:
        with engine.read() as reader:
            rows = AllRows(StoredRows(reader, reader.rows_table), ledger().projections)
            known = [key for key, _ in rows.scan("ids")]
        return known, all_reads(engine, known)
    finally:
        engine.close()


def main(pristine: Path, scratch: Path, flips: list[tuple[str, int, int]]) -> None:
    known, digest = json.loads(in_fork(lambda: _as_json(*known_ids(pristine))))
    keys = [bytes.fromhex(key) for key in known]
    for number, (file, offset, bit) in enumerate(flips):
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.copytree(pristine, scratch, ignore=shutil.ignore_patterns("lock.mdb"))
        content = bytearray((scratch / file).read_bytes())
        content[offset] ^= 1 << bit
        (scratch / file).write_bytes(content)
        print(json.dumps([number, verdict(scratch, keys, digest)]), flush=True)


def _as_json(known: list[bytes], digest: str) -> str:
    return json.dumps([[key.hex() for key in known], digest])


if __name__ == "__main__":
    job = json.loads(sys.stdin.read())
    main(Path(job["pristine"]), Path(job["scratch"]), job["flips"])
