"""`layouts`: what the key layout of the log was chosen by, measured on LMDB itself.

    by stream     the record under (stream, serial), a reference under its position
    by position   the record under its position, an empty entry (stream, serial): ours
    duplicates    the record under its position, the serial as a duplicate value of the stream
                  (MDB_DUPSORT, fixed size)

All three can page through a stream and tail everything. The only module of bench that knows LMDB.
"""

import os
import random
import shutil
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from time import perf_counter

import lmdb
import trio

from bench.acknowledged import Wrong
from bench.measuring import Sample, handed_to_write, percentile, ratio
from bench.scale import Scale
from bench.tables import Cell, Table

TITLE = "which key layout the log has"
CAVEATS = """\
- LMDB alone: no record is packed, hashed or folded, nobody waits on a queue. Each item of a
  commit is of a random channel.
- A page is read as the log reads it: a cursor over the stream, and a get per record where the
  record is elsewhere; from a warm cache.
- Each layout starts with an empty file in every row; the trees of a grown log are deeper.
"""
LAYOUTS = ("by stream", "by position", "duplicates")
OURS = "by position"
_BODY_BYTES = 330
_SERIAL_BYTES = 8
_DEDUP_ROW_BYTES = 12
_MAP_BYTES = 1 << 38
_PAGE = 100
_PAGES = 50

Items = list[tuple[bytes, bytes]]


class Layout:
    """An empty environment with one of the layouts."""

    def __init__(self, name: str, path: Path, channels: int, *, dedup: bool) -> None:
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        self.name = name
        self.written = 0
        self._dedup = dedup
        self._random = random.Random(1)
        self._env = lmdb.open(str(path), map_size=_MAP_BYTES, max_dbs=3, readahead=False)
        duplicates = name == "duplicates"
        self._log = self._env.open_db(b"log")
        self._index = self._env.open_db(b"index", dupsort=duplicates, dupfixed=duplicates)
        self._rows = self._env.open_db(b"rows")
        self._streams = [_stream(number) for number in range(channels)]
        self._body = os.urandom(_BODY_BYTES)

    def close(self) -> None:
        self._env.close()

    def turn(self, commits: int, records: int) -> Sample:
        latencies: list[float] = []
        written, began = handed_to_write(), perf_counter()
        for _ in range(commits):
            start = perf_counter()
            self._commit(records)
            latencies.append(perf_counter() - start)
        return Sample(
            messages=commits * records,
            seconds=perf_counter() - began,
            written_bytes=handed_to_write() - written,
            commits=commits,
            latencies=latencies,
        )

    def _commit(self, records: int) -> None:
        log, index, rows = self._items(records)
        with self._env.begin(write=True) as txn:
            with txn.cursor(self._log) as cursor:
                cursor.putmulti(log, append=True)
            index.sort()
            with txn.cursor(self._index) as cursor:
                cursor.putmulti(index)
            if rows:
                rows.sort()
                with txn.cursor(self._rows) as cursor:
                    cursor.putmulti(rows)
        self.written += records

    def _items(self, records: int) -> tuple[Items, Items, Items]:
        log: Items = []
        index: Items = []
        rows: Items = []
        for number in range(self.written + 1, self.written + 1 + records):
            stream = self._random.choice(self._streams)
            serial = number.to_bytes(_SERIAL_BYTES, "big")
            body = serial + self._body
            log.append((serial, stream if self.name == "by stream" else body))
            index.append(self._entry(stream, serial, body))
            if self._dedup:
                rows.append((b"d" + stream + os.urandom(16), bytes(_DEDUP_ROW_BYTES)))
        return log, index, rows

    def _entry(self, stream: bytes, serial: bytes, body: bytes) -> tuple[bytes, bytes]:
        if self.name == "duplicates":
            return stream, serial
        return stream + serial, body if self.name == "by stream" else b""

    def page(self, stream: bytes, limit: int) -> list[bytes]:
        """The last records of a stream, newest first."""
        with self._env.begin() as txn, txn.cursor(self._index) as cursor:
            found: list[bytes] = []
            more = self._seek_end(cursor, stream)
            while more and len(found) < limit and bytes(cursor.key()[: len(stream)]) == stream:
                found.append(self._record(txn, cursor, stream))
                more = cursor.prev()
            return found

    def _seek_end(self, cursor: "lmdb.Cursor", stream: bytes) -> bool:
        if self.name == "duplicates":
            return bool(cursor.set_key(stream) and cursor.last_dup())
        behind = cursor.set_range(stream + b"\xff" * _SERIAL_BYTES)
        return bool(cursor.prev() if behind else cursor.last())

    def _record(self, txn: "lmdb.Transaction", cursor: "lmdb.Cursor", stream: bytes) -> bytes:
        if self.name == "by stream":
            return bytes(cursor.value())
        duplicate = self.name == "duplicates"
        serial = bytes(cursor.value()) if duplicate else bytes(cursor.key()[len(stream) :])
        return bytes(txn.get(serial, db=self._log) or b"")

    def page_us(self) -> float:
        """The time of a page."""
        taken: list[float] = []
        for _ in range(_PAGES):
            stream = self._random.choice(self._streams)
            began = perf_counter()
            self.page(stream, _PAGE)
            taken.append(perf_counter() - began)
        return percentile(taken, 0.5) * 1e6

    def check(self) -> None:
        """Every record is in the log once, and its stream finds it. Raises Wrong."""
        found = [body for stream in self._streams for body in self.page(stream, self.written)]
        serials = sorted(int.from_bytes(body[:_SERIAL_BYTES], "big") for body in found)
        if serials != list(range(1, self.written + 1)):
            raise Wrong(f"{self.name}: {len(set(serials))} of {self.written} records are found")
        with self._env.begin() as txn:
            entries = txn.stat(self._log)["entries"]
        if entries != self.written:
            raise Wrong(f"{self.name}: the log has {entries} of {self.written} records")


def _stream(number: int) -> bytes:
    return blake2b(b"bench:%d" % number, digest_size=16).digest() + b"\1"


async def run(work: Path, scale: Scale) -> list[Table]:
    return await trio.to_thread.run_sync(lambda: [_table(work, scale)])


def _table(work: Path, scale: Scale) -> Table:
    rows: list[list[Cell]] = []
    for channels in scale.layout_channels:
        for records, commits in scale.layout_commits:
            for dedup in (False, True):
                layouts = [
                    Layout(name, work / "layouts" / name, channels, dedup=dedup) for name in LAYOUTS
                ]
                samples = _in_turn(layouts, commits, records, scale.rounds)
                key = [channels, records, "yes" if dedup else "no"]
                rows += [[*key, layout.name, *_measures(samples, layout)] for layout in layouts]
                for layout in layouts:
                    layout.close()
    columns = ("channels", "per commit", "dedup row", "layout", "records/s", "p50 ms", "p99 ms")
    more = ("bytes/record", "page of 100, us", f"x {OURS}")
    return Table("Three layouts on LMDB, fsynced", columns + more, rows)


def _in_turn(
    layouts: Sequence[Layout], commits: int, records: int, rounds: int
) -> dict[str, Sample]:
    samples = {layout.name: Sample() for layout in layouts}
    for _ in range(rounds):
        for layout in layouts:
            samples[layout.name].add(layout.turn(commits, records))
    for layout in layouts:
        layout.check()
    return samples


def _measures(samples: dict[str, Sample], layout: Layout) -> list[Cell]:
    sample = samples[layout.name]
    return [
        sample.per_second,
        sample.latency_ms(0.5),
        sample.latency_ms(0.99),
        sample.bytes_per_message,
        layout.page_us(),
        ratio(sample.turns, samples[OURS].turns),
    ]
