"""The side file remembers the last commit, so that a log that forgot it is refused."""

import shutil
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from storage import Cut, Log, LogBehind, StorageError, open_log
from storage.sidefile import NAME, SideFile, read_note
from tests.storage.contract_base import NOTES_OF_C, POSTS_OF_C, numbered, post, texts
from tests.storage.ledger import NOTES, ledger
from tests.storage.surgery import flip
from tests.storage.wall import Wall

SLOT_BYTES = 64


def opened(path: Path, wall: Wall, accept_loss: bool = False) -> AbstractAsyncContextManager[Log]:
    return open_log(path, ledger(), wall=wall, accept_loss=accept_loss)


@pytest.fixture
async def log_of_five(path: Path, wall: Wall) -> Path:
    async with opened(path, wall) as log:
        for text in numbered(5):
            await post(log, text)
    return path


async def forget_a_commit(path: Path, wall: Wall) -> int:
    """Append once more, then put the older data file back; returns the lost serial."""
    shutil.copyfile(path / "data.mdb", path / "older")
    async with opened(path, wall) as log:
        (serial,) = await post(log, "lost")
    (path / "older").rename(path / "data.mdb")
    (path / "lock.mdb").unlink()
    return serial


def write_notes(path: Path, *notes: tuple[int, int]) -> None:
    side = SideFile(path)
    for txn, serial in notes:
        side.note(txn, (serial, serial.to_bytes(16, "big")))
    side.close()


def noted(path: Path) -> tuple[int, int] | None:
    note = read_note(path)
    return (note.txn, note.serial) if note else None


async def test_it_notes_the_last_commit(log_of_five: Path, wall: Wall) -> None:
    note = read_note(log_of_five)
    async with opened(log_of_five, wall) as log:
        (last,) = (await log.read(POSTS_OF_C, limit=9)).records[-1:]
        assert note is not None
        assert (note.serial, note.hash) == (last.serial, last.link.hash)
        assert note.txn == log.engine.committed()


async def test_the_newest_note_counts(log_of_five: Path) -> None:
    write_notes(log_of_five, (100, 7), (101, 8))
    assert noted(log_of_five) == (101, 8)
    write_notes(log_of_five, (102, 9))
    assert noted(log_of_five) == (102, 9)


async def test_a_torn_note_leaves_the_one_before(log_of_five: Path) -> None:
    write_notes(log_of_five, (100, 7), (101, 8))
    whole = (log_of_five / NAME).read_bytes()
    for at in range(SLOT_BYTES, SLOT_BYTES + 48):
        (log_of_five / NAME).write_bytes(flip(whole, at))
        assert noted(log_of_five) == (100, 7)
    for length in (SLOT_BYTES, SLOT_BYTES + 20):
        (log_of_five / NAME).write_bytes(whole[:length])
        assert noted(log_of_five) == (100, 7)


@pytest.mark.parametrize("content", [None, b"", b"\0" * 128, b"garbage" * 30])
async def test_without_a_note_a_log_opens(
    log_of_five: Path, wall: Wall, content: bytes | None
) -> None:
    (log_of_five / NAME).unlink()
    if content is not None:
        (log_of_five / NAME).write_bytes(content)
    assert read_note(log_of_five) is None
    async with opened(log_of_five, wall) as log:
        assert await texts(log) == numbered(5)
        await post(log, "next")
    assert read_note(log_of_five) is not None


async def test_an_older_note_is_fine(log_of_five: Path, wall: Wall) -> None:
    """A kill between the commit and its note."""
    older = (log_of_five / NAME).read_bytes()
    async with opened(log_of_five, wall) as log:
        await post(log, *numbered(3))
    (log_of_five / NAME).write_bytes(older)
    async with opened(log_of_five, wall) as log:
        assert len(await texts(log)) == 8


async def test_a_log_behind_its_note_is_refused(log_of_five: Path, wall: Wall) -> None:
    serial = await forget_a_commit(log_of_five, wall)
    for _ in range(2):
        with pytest.raises(LogBehind, match=str(serial)):
            async with opened(log_of_five, wall):
                pass


async def test_an_accepted_loss_gives_no_serial_twice(log_of_five: Path, wall: Wall) -> None:
    lost = await forget_a_commit(log_of_five, wall)
    wall.step(-1_000)
    async with opened(log_of_five, wall, accept_loss=True) as log:
        assert await texts(log) == numbered(5)
        assert (await post(log, "next"))[0] > lost
    async with opened(log_of_five, wall) as log:
        assert await texts(log) == [*numbered(5), "next"]


async def test_a_lost_commit_is_missed_after_maintenance_too(log_of_five: Path, wall: Wall) -> None:
    """The first commit of a process may be a trim: what was noted before is still known."""
    before = noted(log_of_five)
    async with opened(log_of_five, wall) as log:
        await log.rebuild()
    after = noted(log_of_five)
    assert before
    assert after
    assert after[0] > before[0]
    assert after[1] == before[1]


async def test_a_data_file_that_is_gone_is_a_loss(log_of_five: Path, wall: Wall) -> None:
    (log_of_five / "data.mdb").unlink()
    with pytest.raises(LogBehind, match="gone"):
        async with opened(log_of_five, wall):
            pass
    async with opened(log_of_five, wall, accept_loss=True) as log:
        assert await texts(log) == []


async def test_another_logs_data_file_is_refused(log_of_five: Path, path: Path, wall: Wall) -> None:
    """As many commits, the same serials, but not the same records."""
    other = path.with_name("other")
    async with opened(other, wall) as log:
        for text in numbered(5, 100):
            await post(log, text)
    shutil.copyfile(other / "data.mdb", path / "data.mdb")
    with pytest.raises(StorageError):
        async with opened(path, wall):
            pass


async def test_trims_and_redactions_are_no_loss(path: Path, wall: Wall) -> None:
    async with opened(path, wall) as log:
        await post(log, *numbered(5))
        notes = await post(log, *numbered(5), kind=NOTES)
        await log.redact(NOTES_OF_C, notes[-1], lambda _: True)
    async with opened(path, wall) as log:
        await log.trim([Cut(POSTS_OF_C, sequence=5), Cut(NOTES_OF_C, sequence=5)])
    async with opened(path, wall) as log:
        assert log.position == notes[-1]
