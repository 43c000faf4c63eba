"""Every kind of damage that a direct edit can do is found, and an intact log has no findings."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import msgpack
import pytest
import trio
from msgspec.structs import astuple, replace

from storage import Cut, LogSettings, Stream, open_log
from storage.engine import DATA_FILE, lock_directory
from storage.record import NO_LINK, seal_row, serial_key, stream_key
from storage.snapshot import Snapshot, decode_snapshot
from storage.verify import verify
from tests.storage.contract_base import NOTES_OF_C, POSTS_OF_C, numbered, post
from tests.storage.ledger import NOTES, Post, ledger
from tests.storage.surgery import Patient, flip, index_key, operate
from tests.storage.wall import Wall

Damage = Callable[[Patient], None]
TRIMMED = Stream("app", "trimmed", 1)
ROWS = "rows.0"


async def _write(path: Path, wall: Wall) -> None:
    async with open_log(path, ledger(), wall=wall) as log:
        await log.submit_all([Post("c", t, id=t) for t in numbered(6)], app="app")
        await post(log, *numbered(6), kind=NOTES)
        await post(log, *numbered(6), channel="trimmed")
        await log.trim([Cut(TRIMMED, sequence=3)])
        await post(log, "last")


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log with posts, notes and a snapshot; tests damage copies of it."""
    path = tmp_path_factory.mktemp("intact") / "log"
    trio.run(_write, path, Wall())
    return path


@pytest.fixture
def log(intact: Path, path: Path) -> Path:
    shutil.copytree(intact, path)
    return path


def findings(path: Path) -> list[str]:
    return verify(path, ledger(), LogSettings(), lambda *_: None)


DAMAGES: list[tuple[Damage, str]] = []


def reported_as(pattern: str) -> Callable[[Damage], Damage]:
    def register(damage: Damage) -> Damage:
        DAMAGES.append((damage, pattern))
        return damage

    return register


@reported_as("16 records, but 15 index entries")
def a_missing_index_entry(log: Patient) -> None:
    log.delete("index", index_key(log.records(NOTES_OF_C)[-1]))


@reported_as("record near .* is missing")
def a_missing_index_entry_in_the_middle(log: Patient) -> None:
    log.delete("index", index_key(log.records(POSTS_OF_C)[2]))


@reported_as("record [0-9]+ is missing")
def an_index_entry_without_a_record(log: Patient) -> None:
    log.delete("log", serial_key(log.records(NOTES_OF_C)[3].serial))


@reported_as("17 records, but 16 index entries")
def an_extra_record(log: Patient) -> None:
    last = log.records(NOTES_OF_C)[-1]
    log.rewrite(replace(last, serial=last.serial + 1), last.link, {"text": "", "id": ""})


@reported_as("belongs to")
def an_index_entry_of_another_stream(log: Patient) -> None:
    serial = log.records(NOTES_OF_C)[-1].serial
    log.put("index", stream_key(POSTS_OF_C) + serial_key(serial), b"")


@reported_as("does not match its checksum")
def a_flipped_record(log: Patient) -> None:
    key = serial_key(log.records(NOTES_OF_C)[3].serial)
    log.put("log", key, flip(log.get("log", key), -3))


@reported_as("does not match its checksum")
def swapped_records(log: Patient) -> None:
    one, two = (serial_key(r.serial) for r in log.records(NOTES_OF_C)[2:4])
    first, second = log.get("log", one), log.get("log", two)
    log.put("log", one, second)
    log.put("log", two, first)


@reported_as("does not continue the chain|a record near .* is missing")
def a_rewritten_record(log: Patient) -> None:
    before, record = log.records(NOTES_OF_C)[1:3]
    log.rewrite(record, before.link, {"text": "forged", "id": ""})


@reported_as("record near .* is missing")
def a_record_with_another_sequence(log: Patient) -> None:
    before, record = log.records(NOTES_OF_C)[1:3]
    log.rewrite(record, replace(before.link, sequence=9), record.event)


@reported_as("record near .* is missing")
def a_record_gone_from_the_middle(log: Patient) -> None:
    log.forget(log.records(NOTES_OF_C)[3])


@reported_as("does not continue the chain|a record near .* is missing")
def a_record_gone_from_the_beginning(log: Patient) -> None:
    log.forget(log.records(NOTES_OF_C)[0])


@reported_as("does not continue the chain|a record near .* is missing")
def a_record_gone_behind_the_snapshot(log: Patient) -> None:
    log.forget(log.records(TRIMMED)[0])


@reported_as("was acknowledged")
def the_last_record_gone(log: Patient) -> None:
    log.forget(log.records(POSTS_OF_C)[-1])


@reported_as("was acknowledged")
def the_last_record_forged(log: Patient) -> None:
    before, record = log.records(POSTS_OF_C)[-2:]
    log.rewrite(record, before.link, record.event | {"text": "forged"})


@reported_as("rows.0: row .* does not match its checksum")
def a_changed_row(log: Patient) -> None:
    key, sealed = next(row for row in log.items(ROWS) if row[0][:1] == b"i")
    log.put(ROWS, key, flip(sealed, -1))


@reported_as("projection ids: row .* differs")
def a_changed_row_with_a_good_checksum(log: Patient) -> None:
    key, _ = next(row for row in log.items(ROWS) if row[0][:1] == b"i")
    log.put(ROWS, key, seal_row(key, b"12345678"))


@reported_as("projection tallies: row .* is missing")
def a_missing_row(log: Patient) -> None:
    log.delete(ROWS, next(key for key, _ in log.items(ROWS) if key[:1] == b"t"))


@reported_as("projection ids: row .* is missing")
def every_row_missing(log: Patient) -> None:
    for key, _ in log.items(ROWS):
        log.delete(ROWS, key)


@reported_as("projection tallies: row 7a7a7a should not exist")
def an_extra_row(log: Patient) -> None:
    log.put(ROWS, b"tzzz", seal_row(b"tzzz", b""))


@reported_as("projection None: row 61 should not exist")
def a_row_of_no_projection(log: Patient) -> None:
    log.put(ROWS, b"za", seal_row(b"za", b""))


@reported_as("row 726f7773 does not match its checksum")
def a_changed_meta_row(log: Patient) -> None:
    log.put("meta", b"rows", flip(log.get("meta", b"format"), -1))


@reported_as("projection ids: row .* is missing")
def the_wrong_row_table(log: Patient) -> None:
    log.put("meta", b"rows", seal_row(b"rows", b"1"))


@reported_as("row .* does not match its checksum")
def a_flipped_snapshot(log: Patient) -> None:
    key, sealed = log.items("snapshots")[0]
    log.put("snapshots", key, flip(sealed, 30))


@reported_as("does not continue the chain|a record near .* is missing")
def a_missing_snapshot(log: Patient) -> None:
    log.delete("snapshots", stream_key(TRIMMED))


def _write_snapshot(log: Patient, snapshot: Snapshot) -> None:
    key = stream_key(TRIMMED)
    body = msgpack.packb(
        (tuple(snapshot.stream), astuple(snapshot.link), list(snapshot.rows.items()))
    )
    log.put("snapshots", key, seal_row(key, body))


@reported_as("does not continue the chain|a record near .* is missing")
def a_snapshot_with_another_chain(log: Patient) -> None:
    snapshot = decode_snapshot(*log.items("snapshots")[0])
    _write_snapshot(log, snapshot._replace(link=NO_LINK))


@reported_as("projection tallies: row .* differs")
def a_snapshot_with_other_rows(log: Patient) -> None:
    snapshot = decode_snapshot(*log.items("snapshots")[0])
    _write_snapshot(log, snapshot._replace(rows={}))


def test_an_intact_log_has_no_findings(log: Path) -> None:
    assert findings(log) == []
    with operate(log) as patient:
        assert len(patient.items("log")) == 16
        assert len(patient.items("snapshots")) == 1


@pytest.mark.parametrize(("damage", "pattern"), DAMAGES, ids=[d.__name__ for d, _ in DAMAGES])
def test_damage_is_reported(log: Path, damage: Damage, pattern: str) -> None:
    with operate(log) as patient:
        damage(patient)
    found = findings(log)
    assert found
    assert any(re.search(pattern, line) for line in found), found


@pytest.mark.usefixtures("child_probe")
def test_a_broken_structure_is_reported_and_the_lock_let_go(log: Path) -> None:
    raw = bytearray((log / DATA_FILE).read_bytes())
    for at in range(2 * 4096, len(raw), 64):
        raw[at] ^= 255
    (log / DATA_FILE).write_bytes(raw)
    assert findings(log)
    os.close(lock_directory(log))  # raises LogLocked when verify kept it


@pytest.mark.usefixtures("child_probe")
def test_a_cut_data_file_is_reported(log: Path) -> None:
    raw = (log / DATA_FILE).read_bytes()
    (log / DATA_FILE).write_bytes(raw[: len(raw) // 2])
    assert findings(log)


def test_progress_is_told(log: Path) -> None:
    told: list[tuple[str, int, int]] = []
    verify(log, ledger(), LogSettings(), lambda *what: told.append(what))
    assert {what for what, _, _ in told} == {"structure", "records", "projections"}
    assert ("records", 16, 16) in told
    assert told[-1] == ("projections", 16, 16)
