"""LMDB, in one place: environments, transactions, tables, and what its errors mean.

Default flags only. The map is reserved once and never resized while open (a resize under a reader
kills the process). A data directory has one writing process: a lock file held with flock for as
long as the engine is open says so before LMDB is touched; readers need no lock.

Fault model: a failed commit is either `LogFull` (no room, nothing written, try again later) or
`LogFailed` (an I/O error; final). LMDB turns a short write on a full disk into EIO, so EIO counts
as a full disk only if the disk is full. A failed meta write makes LMDB refuse even reads until
`reopen_readonly`. Flipped bits come back without an error: records and rows carry checksums.
"""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Condition
from typing import cast

import lmdb

from storage.errors import Damaged, FormatError, LogClosed, LogFailed, LogFull, LogLocked, QueueFull
from storage.record import open_row, seal_row
from storage.settings import LogSettings
from storage.upgrade import FORMAT, META_DEFAULTS, upgrade

DATA_FILE = "data.mdb"
_LOST = b"lost"
_LOCK_FILE = "writer.lock"
ROWS = ("rows.0", "rows.1")
_TABLES = ("log", "index", "snapshots", "meta", *ROWS)
EngineError = lmdb.Error
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_ROOM_BYTES = 1 << 20
_PAST_KEYS = b"\xff" * 511  # as long as an LMDB key can be


class Reader:
    """One read transaction. `steps` counts cursor moves, so tests can hold a page to its cost."""

    def __init__(self, engine: "Engine", txn: lmdb.Transaction) -> None:
        self._engine = engine
        self.txn = txn
        self.steps = 0

    def get(self, table: str, key: bytes) -> bytes | None:
        return cast("bytes | None", self.txn.get(key, db=self._engine.handle(table)))

    def walk(
        self, table: str, start: bytes = b"", stop: bytes = _PAST_KEYS, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Entries with start <= key < stop (default: all), in key order or against it."""
        with self.txn.cursor(self._engine.handle(table)) as cursor:
            if reverse:
                found = cursor.prev() if cursor.set_range(stop) else cursor.last()
            else:
                found = cursor.set_range(start)
            self.steps += 1
            while found:
                key, value = cast("tuple[bytes, bytes]", cursor.item())
                if key < start or key >= stop:
                    return
                yield key, value
                found = cursor.prev() if reverse else cursor.next()
                self.steps += 1

    def entries(self, table: str) -> int:
        return int(self.txn.stat(self._engine.handle(table))["entries"])

    def ends(self, table: str) -> tuple[bytes, bytes] | None:
        """The first and the last key of a table, None when it is empty."""
        with self.txn.cursor(self._engine.handle(table)) as cursor:
            if not cursor.first():
                return None
            first = bytes(cursor.key())
            cursor.last()
            return first, bytes(cursor.key())

    @property
    def rows_table(self) -> str:
        """Which of the two row tables this transaction's projections are in (see rebuild)."""
        return ROWS[self.number(b"rows")]

    @property
    def lost_behind(self) -> int | None:
        """What `Writer.note_loss` noted last."""
        return None if self.get("meta", _LOST) is None else self.number(_LOST)

    def number(self, name: bytes) -> int:
        """A number of the meta table. In format 1 they are not sealed, and 0 when never set."""
        value = self.get("meta", name)
        if self.get("meta", b"format") == b"1":
            return int(value or b"0")
        if value is None:
            raise Damaged(f"the log lacks its meta row {name.decode()!r}")
        return int(open_row(name, value))

    def used_bytes(self) -> int:
        """What live pages take, free pages not counted."""
        return self._engine.used_bytes(self.txn)

    @property
    def id(self) -> int:
        return int(self.txn.id())


class Writer(Reader):
    """One write transaction; only ever used on the writer thread."""

    def put(self, table: str, key: bytes, value: bytes) -> None:
        self.txn.put(key, value, db=self._engine.handle(table))

    def put_many(self, table: str, items: list[tuple[bytes, bytes]], append: bool = False) -> None:
        with self.txn.cursor(self._engine.handle(table)) as cursor:
            written = cursor.putmulti(items, append=append)
        assert written == (len(items), len(items)), f"{table}: {written} of {len(items)} written"

    def delete(self, table: str, key: bytes) -> None:
        self.txn.delete(key, db=self._engine.handle(table))

    def clear(self, table: str) -> None:
        self.txn.drop(self._engine.handle(table), delete=False)

    def use_rows(self, table: str) -> None:
        """From this commit on the projections are in `table`."""
        self.set_number(b"rows", ROWS.index(table))

    def note_loss(self, behind: int) -> None:
        """Serials behind this one were given out by a log that has gone, or may have been."""
        self.set_number(_LOST, behind)

    def set_number(self, name: bytes, value: int) -> None:
        self.put("meta", name, seal_row(name, b"%d" % value))

    def free_bytes(self) -> int:
        """What the file could hold before it has to grow."""
        return self._engine.file_bytes() - self.used_bytes()


class Engine:
    """An open LMDB environment with this log's tables."""

    def __init__(
        self,
        path: Path,
        settings: LogSettings,
        *,
        lock: int | None = None,
        sync: bool = True,
        metasync: bool = True,
    ) -> None:
        """`lock` is `lock_directory`'s; without it the engine only reads, beside any writer.
        `sync` and `metasync` exist so that tests can prove that they matter."""
        self.path = path
        self._settings = settings
        self._options = {"sync": sync, "metasync": metasync}
        self._env: lmdb.Environment | None = None
        self._handles: dict[str, lmdb._Database] = {}
        self._readonly = lock is None
        self._users = 0
        self._closed = False
        self._broken = False
        self._idle = Condition()
        self._lock = lock
        self._open()

    def _open(self) -> None:
        with map_errors(self.path):
            env = lmdb.open(
                str(self.path),
                map_size=self._settings.map_bytes,
                max_dbs=len(_TABLES),
                max_readers=self._settings.readers_max,
                readonly=self._readonly,
                create=False,
                mode=0o600,
                readahead=False,
                **self._options,
            )
            try:
                if not self._readonly:
                    env.reader_check()
                self._handles = {name: env.open_db(name.encode(), create=False) for name in _TABLES}
                self._env = env
                self._check_format()
            except BaseException as error:
                self._env = None
                env.close()
                if isinstance(error, lmdb.NotFoundError):
                    raise FormatError(f"{self.path} lacks a table of a Tidelog log") from None
                raise

    def handle(self, table: str) -> "lmdb._Database":
        return self._handles[table]

    def _check_format(self) -> None:
        with self.read() as reader:
            marked = reader.get("meta", b"format") is not None
            found = reader.number(b"format") if marked else 0
        if found > FORMAT:
            raise FormatError(
                f"{self.path} has format {found}, this version reads up to {FORMAT}: "
                "use the version of Tidelog that wrote it, or a newer one"
            )
        if found < 1:
            raise FormatError(f"{self.path} is not a Tidelog data directory")
        if found < FORMAT and not self._readonly:
            with self.write() as writer:
                upgrade(writer, found)

    @property
    def _live(self) -> lmdb.Environment:
        if self._env is None:
            raise LogClosed("the log is closed")
        return self._env

    @contextmanager
    def read(self) -> Iterator[Reader]:
        """A read transaction. Never hold one across an await."""
        with self._idle:
            self._idle.wait_for(lambda: self._env or self._closed or self._broken)
            if self._broken:
                raise LogFailed(f"{self.path} cannot be read any more")
            if self._closed:
                raise LogClosed("the log is closed")
            self._users += 1
        try:
            with map_errors(self.path), self._live.begin() as txn:
                reader = Reader(self, txn)
                try:
                    yield reader
                finally:
                    # py-lmdb frees a reader slot when the object dies, and the caller's frame may
                    # hold the reader across a whole commit (`with broker.rows() as rows`).
                    del reader.txn
        finally:
            with self._idle:
                self._users -= 1
                self._idle.notify_all()

    @contextmanager
    def write(self) -> Iterator[Writer]:
        """A write transaction: commits (and syncs) at the end, aborts on any exception."""
        with map_errors(self.path), self._live.begin(write=True) as txn:
            yield Writer(self, txn)

    def used_bytes(self, txn: lmdb.Transaction) -> int:
        stats = [txn.stat(handle) for handle in self._handles.values()]
        pages = sum(s["branch_pages"] + s["leaf_pages"] + s["overflow_pages"] for s in stats)
        return int(pages * stats[0]["psize"])

    def file_bytes(self) -> int:
        return (self.path / DATA_FILE).stat().st_size

    def committed(self) -> int:
        """The id of the last committed transaction."""
        return int(self._live.info()["last_txnid"])

    def clear_dead_readers(self) -> None:
        """A process that was killed keeps its reader slot, and with it the pages it was reading."""
        with map_errors(self.path):
            self._live.reader_check()

    def copy(self, target: Path) -> None:
        """A consistent, compacted copy of the live environment."""
        with map_errors(self.path):
            self._live.copy(str(target), compact=True)

    def reopen_readonly(self) -> None:
        """After a failed commit: LMDB may refuse every transaction until the file is reopened."""
        with self._idle:
            env, self._env = self._env, None
            self._idle.wait_for(lambda: self._users == 0)
            if env is not None:
                env.close()
            self._readonly = True
            try:
                self._open()
            finally:
                self._broken = self._env is None
                self._idle.notify_all()

    def close(self) -> None:
        with self._idle:
            self._closed = True
            self._idle.notify_all()
            self._idle.wait_for(lambda: self._users == 0)
            env, self._env = self._env, None
        if env is not None:
            env.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def create(path: Path) -> None:
    """Make an empty log, whole or not at all: a crash on the way leaves no data file.

    The caller holds the directory's lock."""
    fresh = path / "creating"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    env = lmdb.open(str(fresh), max_dbs=len(_TABLES), mode=0o600)
    with env.begin(write=True) as txn:
        for name in _TABLES:
            table = env.open_db(name.encode(), txn=txn)
            if name == "meta":
                for row, value in {b"format": FORMAT, **META_DEFAULTS}.items():
                    txn.put(row, seal_row(row, b"%d" % value), db=table)
    env.close()
    (fresh / DATA_FILE).rename(path / DATA_FILE)
    shutil.rmtree(fresh)
    sync_path(path)
    sync_path(path.parent)


def lock_directory(path: Path) -> int:
    """Become the one writing process of a data directory, creating it if need be; closing the
    returned file descriptor ends that. Raises LogLocked."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    _keep_private(path)
    handle = os.open(path / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise LogLocked(f"{path} is open in another process") from None
    return handle


def _keep_private(path: Path) -> None:
    """Nobody else reads a data directory, also one that was made by hand with other permissions."""
    ours = (path / DATA_FILE).exists() or not any(path.iterdir())
    if ours and path.stat().st_mode & 0o077:
        path.chmod(0o700)


def sync_path(path: Path) -> None:
    """Put a file's contents, or a directory's names, on disk."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def free_disk_bytes(path: Path) -> tuple[int, int]:
    """(free to us, size) of the file system that holds `path`."""
    stat = os.statvfs(path)
    return stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize


@contextmanager
def map_errors(path: Path) -> Iterator[None]:
    """Say what an LMDB error means for the log."""
    try:
        yield
    except lmdb.ReadersFullError:
        raise QueueFull("all reader slots are taken: raise readers_max") from None
    except lmdb.MapFullError:
        raise LogFull("the reserved map is full: raise map_bytes") from None
    except (lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.InvalidError) as error:
        raise Damaged(f"{path}: {error}") from error
    except lmdb.VersionMismatchError as error:
        raise FormatError(f"{path} was written by another LMDB format: {error}") from error
    except lmdb.Error as error:
        code = getattr(error, "code", None)
        if code in _NO_ROOM or (code == errno.EIO and free_disk_bytes(path)[0] < _NO_ROOM_BYTES):
            raise LogFull(f"no room on the disk that holds {path}") from error
        raise LogFailed(f"{path}: {error}") from error
