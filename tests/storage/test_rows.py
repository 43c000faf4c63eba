"""Ranges of rows: committed, uncommitted on top, and by projection, in key order and against it."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import LogSettings
from storage.engine import Engine, create, lock_directory
from storage.record import seal_row
from storage.rows import AllRows, Overlay, StoredRows
from tests.storage.ledger import ledger

TABLE = "rows.0"
Pairs = list[tuple[bytes, bytes]]


@pytest.fixture
def engine(path: Path) -> Iterator[Engine]:
    lock = lock_directory(path)
    create(path)
    opened = Engine(path, LogSettings(), lock=lock)
    yield opened
    opened.close()


def put(engine: Engine, rows: dict[bytes, bytes]) -> None:
    with engine.write() as writer:
        writer.put_many(TABLE, [(key, seal_row(key, rows[key])) for key in sorted(rows)])


def expected(rows: dict[bytes, bytes], first: bytes, stop: bytes, reverse: bool) -> Pairs:
    return sorted(((k, v) for k, v in rows.items() if first <= k < stop), reverse=reverse)


def test_a_range_is_what_a_sorted_dict_says(engine: Engine) -> None:
    """Also over the changes of a batch and of a command, deletions among them."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    choices = random.Random(seed)

    def some_key() -> bytes:
        return bytes(choices.choices(b"\0at\xfe\xff", k=choices.randint(1, 3)))

    stored = {some_key(): b"stored" for _ in range(40)}
    put(engine, stored)
    with engine.read() as reader:
        rows = StoredRows(reader, TABLE)
        overlay, changed = Overlay(rows), dict(stored)
        for layer in (b"batch", b"command"):
            for _ in range(15):
                key, value = some_key(), choices.choice([layer, None])
                overlay.put(key, value)
                changed.pop(key, None) if value is None else changed.update({key: value})
            if layer == b"batch":
                overlay.accept()
        for _ in range(200):
            first, stop, reverse = some_key(), some_key(), choices.random() < 0.5
            assert list(rows.between(first, stop, reverse)) == expected(
                stored, first, stop, reverse
            )
            assert list(overlay.between(first, stop, reverse)) == expected(
                changed, first, stop, reverse
            )


@pytest.mark.parametrize("reverse", [False, True])
def test_a_range_stays_within_its_projection(engine: Engine, reverse: bool) -> None:
    put(engine, {b"hz": b"", b"i1": b"1", b"i2": b"2", b"i3": b"3", b"j1": b""})
    with engine.read() as reader:
        rows = AllRows(StoredRows(reader, TABLE), ledger().projections)
        everything = list(rows.between("ids", b"", b"\xff", reverse))
        assert everything == sorted([(b"1", b"1"), (b"2", b"2"), (b"3", b"3")], reverse=reverse)
        assert list(rows.between("ids", b"2", b"3", reverse)) == [(b"2", b"2")]
        assert list(rows.between("ids", b"3", b"2", reverse)) == []


@pytest.mark.parametrize("reverse", [False, True])
def test_the_first_of_a_range_costs_a_seek(engine: Engine, reverse: bool) -> None:
    """However many rows lie in the range, and behind it."""
    put(engine, {b"i%05d" % number: b"" for number in range(2_000)})
    with engine.read() as reader:
        rows = AllRows(StoredRows(reader, TABLE), ledger().projections)
        key, _ = next(rows.between("ids", b"00500", b"01500", reverse))
        assert key == (b"01499" if reverse else b"00500")
        assert reader.steps == 1
