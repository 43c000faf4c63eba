"""Whole copies of a log: back up a live one, restore one, give space back.

A backup is one consistent transaction, copied without its free pages while the broker goes on, with
a manifest that says what it holds. `fingerprint` hashes records, snapshots and projections, so that
a restored log can be shown to be the same. A purge does not reach into backups made before it.

Keys are copied after the log, so that there is one for all that the copy holds; what was erased
in between cannot be read there either.
"""

import fcntl
import os
import shutil
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import msgspec

from storage.engine import DATA_FILE, Engine, Reader, lock_directory, sync_path
from storage.errors import LogLocked, StorageError
from storage.keyfile import NAME as KEY_FILE
from storage.opening import position_of, probe
from storage.settings import LogSettings
from storage.sidefile import forget_notes
from storage.upgrade import FORMAT

MANIFEST = "manifest.json"
LOCK_FILE = "lock.mdb"
_OWN_FILES = frozenset({MANIFEST, DATA_FILE, LOCK_FILE})


class Manifest(msgspec.Struct, frozen=True):
    """What a backup holds. `position`: its last serial; `fingerprint`: hash of its contents;
    `beside`: hashes of the files beside the log, by name."""

    format: int
    position: int
    records: int
    fingerprint: str
    beside: dict[str, str] = {}


def fingerprint(reader: Reader) -> str:
    """A hash over every record, snapshot and projection row: equal logs, equal hash."""
    digest = blake2b(digest_size=16)
    for table in ("log", "index", "snapshots", reader.rows_table):
        for key, value in reader.walk(table):
            digest.update(len(key).to_bytes(2, "big") + key + len(value).to_bytes(4, "big") + value)
        digest.update(b"\0\0")
    return digest.hexdigest()


def backup(
    source: Path, target: Path, settings: LogSettings, beside: Sequence[str] = ()
) -> Manifest:
    """Copy a log, in use or not, into the new directory `target`, with its keys. `beside`: more
    files of the directory that belong to it, where there are any. Blocks."""
    if target.exists() and any(target.iterdir()):
        raise StorageError(f"{target} is not empty: a backup needs a directory of its own")
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine = Engine(source, settings)
    try:
        engine.copy(target)
    finally:
        engine.close()
    (target / DATA_FILE).chmod(0o600)
    sync_path(target / DATA_FILE)
    found = [name for name in (KEY_FILE, *beside) if (source / name).exists()]
    copied = {name: _copy_file(source / name, target / name) for name in found}
    manifest = msgspec.structs.replace(describe(target, settings), beside=copied)
    (target / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
    for path in (target / MANIFEST, target, target.parent):
        sync_path(path)
    return manifest


def _copy_file(source: Path, target: Path) -> str:
    """Returns the hash of what was copied."""
    with open(target, "xb", opener=_private) as file:
        data = source.read_bytes()
        file.write(data)
    sync_path(target)
    return blake2b(data, digest_size=16).hexdigest()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def describe(path: Path, settings: LogSettings) -> Manifest:
    """What the log in a directory holds. Reads all of it."""
    engine = Engine(path, settings)
    try:
        with engine.read() as reader:
            records = reader.entries("log")
            return Manifest(FORMAT, position_of(reader), records, fingerprint(reader))
    finally:
        engine.close()


def restore(source: Path, target: Path, settings: LogSettings) -> Manifest:
    """Put a backup in place as a data directory. Refuses a damaged backup, and a target that holds
    anything. Blocks."""
    for name in (MANIFEST, DATA_FILE):
        if not (source / name).exists():
            raise StorageError(f"{source} is not a backup: it has no {name}")
    if target.exists() and any(target.iterdir()):
        raise StorageError(f"{target} is not empty: move it away first")
    promised = _read_manifest(source / MANIFEST)
    staging = target.with_name(target.name + ".restoring")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(mode=0o700, parents=True)
    shutil.copyfile(source / DATA_FILE, staging / DATA_FILE)
    probe(staging, settings, thorough=True)
    copied = {name: _copy_beside(source, staging, name) for name in promised.beside}
    found = msgspec.structs.replace(describe(staging, settings), beside=copied)
    if found != promised:
        raise StorageError(f"the backup does not hold what its manifest says: {found}")
    _note_loss(staging, found.position, settings)
    (staging / DATA_FILE).chmod(0o600)
    sync_path(staging / DATA_FILE)
    sync_path(staging)
    put_in_place(staging, target)
    return found


def _note_loss(path: Path, position: int, settings: LogSettings) -> None:
    """Whoever had this log before may have gone on after the backup."""
    engine = Engine(path, settings, lock=lock_directory(path))
    try:
        with engine.write() as writer:
            writer.note_loss(position)
    finally:
        engine.close()


def _copy_beside(source: Path, staging: Path, name: str) -> str:
    if name in _OWN_FILES or Path(name).name != name:
        raise StorageError(f"the manifest names a file that no backup has: {name!r}")
    try:
        return _copy_file(source / name, staging / name)
    except FileNotFoundError:
        raise StorageError(f"{source} is not whole: it has no {name}") from None


def put_in_place(staging: Path, target: Path) -> None:
    """Make a finished directory the empty or absent one that it was made for."""
    if target.exists():
        target.rmdir()
    staging.rename(target)
    sync_path(target.parent)


def _read_manifest(path: Path) -> Manifest:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise StorageError(f"{path} is not a manifest: {error}") from None


def _lock_out_readers(path: Path) -> int:
    """LMDB processes share a lock on the first byte of its lock file: take it for ourselves, for a
    reader that kept the old lock file would misread the new data. Closing the returned file
    descriptor lets it go. Raises LogLocked."""
    handle = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 0)
    except OSError:
        os.close(handle)
        raise LogLocked(f"{path} is being read by another process: wait for it to end") from None
    return handle


def compact(path: Path, settings: LogSettings) -> tuple[int, int]:
    """Rewrite a log that no process uses without its free pages, which may hold trimmed or purged
    bytes. Returns its size in bytes before and after. Raises LogLocked. Blocks."""
    lock = lock_directory(path)
    fresh = path / "compacting"
    try:
        before = (path / DATA_FILE).stat().st_size
        _copy(path, fresh, settings)
        readers = _lock_out_readers(path)
        try:
            _replace(path, fresh)
        finally:
            os.close(readers)
        return before, (path / DATA_FILE).stat().st_size
    finally:
        try:
            shutil.rmtree(fresh, ignore_errors=True)
        finally:
            os.close(lock)


def _copy(path: Path, fresh: Path, settings: LogSettings) -> None:
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    engine = Engine(path, settings)
    try:
        engine.copy(fresh)
    finally:
        engine.close()
    (fresh / DATA_FILE).chmod(0o600)
    sync_path(fresh / DATA_FILE)
    probe(fresh, settings, thorough=True)


def _replace(path: Path, fresh: Path) -> None:
    # Without its side file the log is only checked less; with an old one it would be refused.
    forget_notes(path)
    (path / LOCK_FILE).unlink()  # it belongs to the file that is replaced
    (fresh / DATA_FILE).rename(path / DATA_FILE)
    sync_path(path)
