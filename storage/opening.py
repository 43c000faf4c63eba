"""Opening a data directory without trusting it.

Before LMDB maps the file in this process, a child process checks it: all of the structure for a
small log, the ends for a large one (`verify` does the rest at leisure). Whatever a damaged page
makes LMDB do, it happens in the child. Then the side file is held against what LMDB found: a log
that is behind it has lost commits that were acknowledged, and is refused unless the caller accepts
the loss.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from storage.engine import DATA_FILE, Engine, Reader, create, lock_directory
from storage.errors import Damaged, FormatError, LogBehind
from storage.record import unpack
from storage.settings import LogSettings
from storage.sidefile import Note, forget_notes, meta_crc, read_note

_PROBE_TIMEOUT_S = 600
_FORMAT_EXIT = 3


class Opened(NamedTuple):
    """`position`: no serial at or below it may be given again, even if its record was lost."""

    engine: Engine
    position: int


def open_engine(
    path: Path,
    settings: LogSettings,
    accept_loss: bool,
    *,
    sync: bool = True,
    metasync: bool = True,
) -> Opened:
    """The writing engine of a data directory. Raises as `open_log` says. Blocks."""
    lock = lock_directory(path)
    try:
        note = read_note(path)
        if (path / DATA_FILE).exists():
            probe(path, settings)
        elif note is not None and not accept_loss:
            raise LogBehind(f"{path / DATA_FILE} is gone: restore a backup, or accept the loss")
        else:
            create(path)
        engine = Engine(path, settings, lock=lock, sync=sync, metasync=metasync)
    except BaseException:
        os.close(lock)
        raise
    try:
        position = compare(engine, note, accept_loss)
    except BaseException:
        engine.close()
        raise
    return Opened(engine, position)


def probe(path: Path, settings: LogSettings, *, thorough: bool = False) -> None:
    """Check a data file in a child process. Raises Damaged or FormatError with what it found."""
    whole = thorough or (path / DATA_FILE).stat().st_size <= settings.check_bytes_max
    # -P: a storage.py where we were started would be found before ours
    arguments = [str(path), "whole" if whole else "ends"]
    command = [sys.executable, "-P", "-m", "storage.probe", *arguments]
    paths = (str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    child = subprocess.run(  # noqa: S603 - our own module on our own path
        command,
        capture_output=True,
        text=True,
        timeout=_PROBE_TIMEOUT_S,
        env=environment,
        check=False,
    )
    if child.returncode == 0:
        return
    found = child.stdout.strip() or f"reading it ended the process ({child.returncode})"
    if child.returncode == _FORMAT_EXIT:
        raise FormatError(found)
    raise Damaged(f"{path}: {found}")


def position_of(reader: Reader) -> int:
    """The last serial that the log ever assigned, trimmed or not."""
    ends = reader.ends("log")
    kept = int.from_bytes(ends[1], "big") if ends else 0
    return max(kept, reader.number(b"last"))


def compare(engine: Engine, note: Note | None, accept_loss: bool) -> int:
    """Hold the side file against the log; returns the position to go on from."""
    with engine.read() as reader:
        committed, position = reader.id, position_of(reader)
        value = reader.get("log", note.serial.to_bytes(8, "big")) if note else None
    if note is None:
        return position
    if note.txn == committed:
        _check_meta(engine, note)
    behind = committed < note.txn or position < note.serial
    replaced = value is not None and unpack(note.serial, value, bytes).link.hash != note.hash
    if not (behind or replaced):
        return position
    if not accept_loss:
        raise LogBehind(
            f"{engine.path} ends at serial {position} (transaction {committed}), but serial "
            f"{note.serial} (transaction {note.txn}) was acknowledged: restore a backup, or accept "
            "the loss of what is missing"
        )
    with engine.write() as writer:  # the log itself must know it, once the note is gone
        if position < note.serial or replaced:
            writer.note_loss(min(position, note.serial - 1))
        position = max(position, note.serial)
        writer.set_number(b"last", position)
    forget_notes(engine.path)
    return position


def _check_meta(engine: Engine, note: Note) -> None:
    with (engine.path / DATA_FILE).open("rb") as data:
        if meta_crc(data.fileno(), note.txn) != note.meta_crc:
            raise Damaged(f"{engine.path}: the meta page of the last commit is damaged")
