"""`python -m storage.probe PATH whole|ends`: look at a data file where a crash does no harm.

Runs in a process of its own (see storage.opening). `whole` first walks every page with py-lmdb's
offline checker, which never hands the file to LMDB, then opens it and reads all of it; `ends` opens
it and reads the ends of every table. Exit 0: fine; 1: damaged, said on standard output; 3: a format
this version cannot read.
"""

import sys
from itertools import islice
from pathlib import Path

from lmdb import verify

from storage.engine import DATA_FILE, ROWS, Engine
from storage.errors import FormatError, StorageError
from storage.record import unpack
from storage.settings import LogSettings
from storage.soundness import unsound

_FINDINGS_MAX = 5


def structure(path: Path) -> list[str]:
    """What py-lmdb's checker finds wrong with the pages of a data file."""
    try:
        findings: list[str] = verify.verify(str(path / DATA_FILE))  # type: ignore[no-untyped-call]
    except verify.VerifyError as error:
        return [str(error)]
    return findings


def read_through(path: Path) -> list[str]:
    """Open the log as a server would, and read all of it."""
    engine = Engine(path, LogSettings())
    with engine.read() as reader:
        findings = list(islice(unsound(reader), _FINDINGS_MAX))
    engine.close()
    return findings


def read_ends(path: Path) -> list[str]:
    """Open the log as a server would, and read where each table begins and ends."""
    engine = Engine(path, LogSettings())
    with engine.read() as reader:
        for table in ("index", "snapshots", "meta", *ROWS):
            reader.ends(table)
        ends = reader.ends("log")
        for key in ends or ():
            value = reader.get("log", key)
            if value is not None:
                unpack(int.from_bytes(key, "big"), value, bytes)
    engine.close()
    return []


def read_whole(path: Path) -> list[str]:
    return structure(path) or read_through(path)


CHECKS = {"whole": read_whole, "ends": read_ends}


def main(path: Path, mode: str) -> int:
    try:
        findings = CHECKS[mode](path)
    except FormatError as error:
        print(error)
        return 3
    except StorageError as error:
        findings = [str(error)]
    print("; ".join(findings[:_FINDINGS_MAX]))
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
