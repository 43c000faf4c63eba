"""Is everything there, and as it was written? `verify` answers for a whole data directory.

Structure: py-lmdb's checker walks every page, in a child process. Contents: storage.soundness looks
up every key and checks every checksum and chain. Projections: folded again into a scratch
environment and compared row by row. Beside a running broker the structure is left out, for the
pages move under the checker.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from storage.engine import Engine, Reader, create, lock_directory
from storage.errors import LogLocked, StorageError
from storage.opening import compare, probe
from storage.projection import Domain
from storage.rebuild import ROWS_VERSION, Refold
from storage.settings import LogSettings
from storage.sidefile import read_note
from storage.soundness import Progress, unsound
from storage.stage import Stage

_PIECE = 2_000


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
            findings = list(unsound(reader, progress))
            return findings or list(_check_projections(reader, domain, settings, progress))
    finally:
        engine.close()


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
    ours = live.walk(live.rows_table)
    theirs = rebuilt.walk(rebuilt.rows_table)
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
