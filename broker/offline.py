"""What an operator does with a whole data directory: verify, back up, restore, export, import,
compact. All of it blocks; run it from a script or a thread.

`backup`, `export` and `verify` work beside a running broker; the others need the directory for
themselves and raise Unavailable while a broker has it open.
"""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import trio

from broker.clock import wall_clock
from broker.domain import broker_domain
from broker.storage_errors import mapped
from storage import LogSettings, StorageError, copies, open_log, transfer
from storage.copies import Manifest
from storage.engine import DATA_FILE, Engine
from storage.soundness import Progress, silent
from storage.verify import verify as verify_log


def holds_log(path: Path) -> bool:
    """Whether a directory holds a log. The functions below want one that does."""
    return (path / DATA_FILE).exists()


def verify(path: Path, settings: LogSettings, progress: Progress = silent) -> list[str]:
    """What is not intact, a line each; empty when everything is (see storage.verify)."""
    with mapped():
        return verify_log(path, broker_domain(), settings, progress)


def backup(path: Path, target: Path, settings: LogSettings, beside: Sequence[str] = ()) -> Manifest:
    """Copy the log of a data directory, in use or not, into the new directory `target`, with the
    keys of its devices. `beside`: more files there that belong in a copy."""
    with mapped():
        return copies.backup(path, target, settings, beside)


def restore(source: Path, path: Path, settings: LogSettings) -> Manifest:
    """Make a backup the data directory `path`, which must be empty or absent."""
    with mapped():
        return copies.restore(source, path, settings)


def compact(path: Path, settings: LogSettings) -> tuple[int, int]:
    """Give space back. Returns the size in bytes before and after."""
    with mapped():
        return copies.compact(path, settings)


def fingerprint(path: Path, settings: LogSettings) -> Manifest:
    """What a data directory holds, with a hash over all of it."""
    with mapped():
        return copies.describe(path, settings)


def export(path: Path, settings: LogSettings) -> Iterator[tuple[str, int]]:
    """The log as NDJSON (see storage.transfer): each line, and how many records there are."""
    with mapped():
        engine = Engine(path, settings)
        try:
            with engine.read() as reader:
                total = reader.entries("log")
                for line in transfer.export_lines(reader):
                    yield line, total
        finally:
            engine.close()


def import_lines(path: Path, lines: Iterable[str], settings: LogSettings) -> None:
    """Make exported lines the data directory `path`, which must be empty or absent: the same
    serials, the same chains, all of it or nothing. Raises Unavailable naming the line that cannot
    be imported."""
    with mapped():
        if path.exists() and any(path.iterdir()):
            raise StorageError(f"{path} is not empty: an import needs a directory of its own")
        staging = path.with_name(path.name + ".importing")
        shutil.rmtree(staging, ignore_errors=True)
        try:
            trio.run(_import, staging, lines, settings)
            copies.put_in_place(staging, path)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


async def _import(path: Path, lines: Iterable[str], settings: LogSettings) -> None:
    opened = open_log(path, broker_domain(), wall=wall_clock, settings=settings)
    async with opened as log:
        await log.import_lines(lines)
