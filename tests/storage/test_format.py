"""A directory of a newer format, or of something else, is refused and left as it is."""

from pathlib import Path

import lmdb
import pytest

from storage import FormatError, LogSettings, StorageError, open_log
from storage.copies import backup
from storage.engine import DATA_FILE, FORMAT, Engine
from storage.record import seal_row
from storage.verify import verify
from tests.storage.contract_base import numbered, post, texts
from tests.storage.ledger import ledger
from tests.storage.surgery import flip, operate
from tests.storage.wall import Wall


async def refused(
    path: Path, wall: Wall, error: type[StorageError], match: str | None = None
) -> None:
    before = (path / DATA_FILE).read_bytes()
    with pytest.raises(error, match=match):
        async with open_log(path, ledger(), wall=wall):
            pass
    assert (path / DATA_FILE).read_bytes() == before


async def write(path: Path, wall: Wall) -> None:
    async with open_log(path, ledger(), wall=wall) as log:
        await post(log, *numbered(3))


def set_format(path: Path, value: int) -> None:
    with operate(path) as patient:
        patient.put("meta", b"format", seal_row(b"format", b"%d" % value))


@pytest.mark.usefixtures("child_probe")
async def test_a_newer_format_is_refused(path: Path, wall: Wall) -> None:
    await write(path, wall)
    set_format(path, FORMAT + 1)
    await refused(
        path, wall, FormatError, f"format {FORMAT + 1}, this version reads up to {FORMAT}"
    )
    set_format(path, FORMAT)
    async with open_log(path, ledger(), wall=wall) as log:
        assert await texts(log) == numbered(3)


async def test_nobody_reads_a_newer_format(path: Path, wall: Wall) -> None:
    await write(path, wall)
    set_format(path, FORMAT + 1)
    with pytest.raises(FormatError):
        Engine(path, LogSettings())
    with pytest.raises(FormatError):
        backup(path, path.with_name("backup"), LogSettings())
    (finding,) = verify(path, ledger(), LogSettings(), lambda *_: None)
    assert f"format {FORMAT + 1}" in finding


async def test_a_damaged_format_row_is_refused(path: Path, wall: Wall) -> None:
    await write(path, wall)
    with operate(path) as patient:
        patient.put("meta", b"format", flip(patient.get("meta", b"format"), -1))
    await refused(path, wall, StorageError)
    with operate(path) as patient:
        patient.delete("meta", b"format")
    await refused(path, wall, FormatError, "not a Tidelog data directory")


@pytest.mark.parametrize("names", [[], ["log"], ["log", "index", "snapshots", "meta", "other"]])
async def test_another_lmdb_environment_is_refused(
    path: Path, wall: Wall, names: list[str]
) -> None:
    path.mkdir()
    with lmdb.open(str(path), max_dbs=8) as env:
        for name in names:
            env.open_db(name.encode())
    await refused(path, wall, FormatError, "lacks a table")


@pytest.mark.usefixtures("child_probe")
@pytest.mark.parametrize("content", [b"", b"not a database", b"\0" * 65_536])
async def test_a_file_that_is_no_database_is_refused(
    path: Path, wall: Wall, content: bytes
) -> None:
    path.mkdir()
    (path / DATA_FILE).write_bytes(content)
    await refused(path, wall, StorageError)
