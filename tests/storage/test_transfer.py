"""An exported log, imported, is the same log; anything else is refused and leaves nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import Cut, Log, StorageError, Stream, open_log
from storage.copies import fingerprint
from storage.transfer import export_lines, from_json, to_json
from tests.storage.contract_base import NOTES_OF_C, POSTS_OF_C, numbered, post, rows, texts
from tests.storage.contract_tail import tailed
from tests.storage.ledger import NOTES, Post, ledger
from tests.storage.wall import Wall

Line = dict[str, Any]
KEYS = st.one_of(st.text(max_size=8), st.sampled_from(["$bytes", "$map", "$", "$$map"]))
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(1 << 63), (1 << 64) - 1), st.floats(allow_nan=False),
    st.text(), st.binary(),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=3)
)


@given(VALUES)
def test_any_event_survives_json(value: object) -> None:
    text = json.dumps(to_json(value), ensure_ascii=False)
    assert "\n" not in text
    back = from_json(json.loads(text))
    assert msgpack.packb(back) == msgpack.packb(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"\0\xff", '{"$bytes": "AP8="}'),
        ({"$bytes": "AP8="}, '{"$map": {"$bytes": "AP8="}}'),
        ({"$map": {"a": 1}}, '{"$map": {"$map": {"a": 1}}}'),
        ({"$bytes": "x", "b": 2}, '{"$bytes": "x", "b": 2}'),
        ({"$map": {"$bytes": b""}}, '{"$map": {"$map": {"$map": {"$bytes": {"$bytes": ""}}}}}'),
    ],
)
def test_how_bytes_and_dollar_maps_are_written(value: object, text: str) -> None:
    assert json.dumps(to_json(value)) == text
    assert from_json(json.loads(text)) == value


async def export(log: Log) -> list[str]:
    return await log.in_thread(lambda reader: list(export_lines(reader)))


async def state(log: Log) -> tuple[str, int]:
    return await log.in_thread(fingerprint), log.position


async def write(log: Log) -> None:
    """Posts with ids and unicode, notes of which one is redacted, a trimmed channel."""
    await log.submit_all([Post("c", t + "\u2028é\x00", id=t) for t in numbered(20)], app="app")
    notes = await post(log, "one", "secret", "two", "secret", kind=NOTES)
    await log.redact(NOTES_OF_C, notes[-1], lambda event: event["text"] == "secret")
    await post(log, *numbered(20), channel="trimmed")
    await log.trim([Cut(Stream("app", "trimmed", 1), sequence=15), Cut(POSTS_OF_C, sequence=3)])
    await post(log, "last", channel="ünï/ ☃")


@pytest.fixture
async def exported(path: Path, wall: Wall) -> list[str]:
    async with open_log(path, ledger(), wall=wall) as log:
        await write(log)
        return await export(log)


async def test_imported_it_is_the_same(path: Path, wall: Wall) -> None:
    async with open_log(path, ledger(), wall=wall) as log:
        await write(log)
        lines, before = await export(log), await state(log)
    async with open_log(path.with_name("copy"), ledger(), wall=wall) as copy:
        await copy.import_lines(line + "\n" for line in lines)
        assert await state(copy) == before
        live = await rows(copy)
        await copy.rebuild()
        assert await rows(copy) == live
        assert await export(copy) == lines
    async with open_log(path.with_name("copy"), ledger(), wall=wall) as copy:
        assert await state(copy) == before


async def test_an_empty_log(path: Path, wall: Wall) -> None:
    async with open_log(path, ledger(), wall=wall) as log:
        assert await export(log) == []
        await log.import_lines([])
        assert log.position == 0


async def test_a_log_that_was_trimmed_empty(path: Path, wall: Wall) -> None:
    async with open_log(path, ledger(), wall=wall) as log:
        serials = await post(log, *numbered(5))
        await log.trim([Cut(POSTS_OF_C, sequence=5)])
        lines, before = await export(log), await state(log)
    wall.step(-5_000)
    async with open_log(path.with_name("copy"), ledger(), wall=wall) as copy:
        await copy.import_lines(lines)
        assert await state(copy) == before
        assert (await post(copy, "next"))[0] > serials[-1]


async def test_it_goes_on_behind_what_was_imported(
    exported: list[str], path: Path, wall: Wall
) -> None:
    wall.step(-5_000)
    async with open_log(path.with_name("copy"), ledger(), wall=wall) as copy:
        await copy.import_lines(exported)
        position = copy.position
        again, new = await copy.submit_all(
            [Post("c", "", id="text 19"), Post("c", "new")], app="app"
        )
        assert again.duplicate
        assert new.serials[0] > position
        assert [r.serial for r in await tailed(copy, position, new.serials[0])] == [*new.serials]
        assert (await texts(copy))[-1] == "new"


async def test_many_lines_take_many_commits(path: Path, wall: Wall) -> None:
    async with open_log(path, ledger(), wall=wall) as log:
        await log.submit(Post("c", "x", count=2_500), app="app")
        lines, before = await export(log), await state(log)
    async with open_log(path.with_name("copy"), ledger(), wall=wall) as copy:
        await copy.import_lines(lines)
        assert await state(copy) == before


async def test_a_log_with_records_or_snapshots_takes_no_import(
    exported: list[str], path: Path, wall: Wall
) -> None:
    async with open_log(path.with_name("copy"), ledger(), wall=wall) as copy:
        await post(copy, "here")
        for _ in range(2):
            before = await state(copy)
            with pytest.raises(StorageError, match="empty log"):
                await copy.import_lines(exported)
            assert await state(copy) == before
            await copy.trim([Cut(POSTS_OF_C, sequence=1)])


def changed(number: int, **fields: Any) -> Callable[[list[str]], list[str]]:
    def change(lines: list[str]) -> list[str]:
        line = json.loads(lines[number]) | fields
        return [*lines[:number], json.dumps(line), *lines[number + 1 :]]

    return change


def replaced(text: str) -> Callable[[list[str]], list[str]]:
    return lambda lines: [*lines[:5], text, *lines[6:]]


def _redacted(lines: list[str]) -> int:
    return max(n for n, line in enumerate(lines) if '"redacted"' in line)


def _wrong_sequence(lines: list[str]) -> list[str]:
    number = _redacted(lines)
    sequence, total = json.loads(lines[number])["redacted"]
    return changed(number, redacted=[sequence + 1, total])(lines)


def _serial_of_another(lines: list[str]) -> list[str]:
    """A redacted line has no hash to check its serial by."""
    taken = json.loads(lines[-1])["serial"]
    return changed(_redacted(lines), serial=taken)(lines)


BAD: dict[str, Callable[[list[str]], list[str]]] = {
    "nothing": replaced(""),
    "no JSON": replaced('{"serial": '),
    "a list": replaced("[]"),
    "a number": replaced("5"),
    "a string": replaced('"snapshot"'),
    "an empty object": replaced("{}"),
    "a deep one": replaced("[" * 100_000),
    "another event": changed(5, event={"text": "forged", "id": "text 3"}),
    "an event that is none": changed(5, event=None),
    "another hash": changed(5, hash="00" * 16),
    "a hash that is none": changed(5, hash="zz"),
    "a hash that is a number": changed(5, hash=7),
    "another channel": changed(5, channel="d"),
    "another kind": changed(5, kind=NOTES),
    "an impossible kind": changed(5, kind=300),
    "a kind that is text": changed(5, kind="1"),
    "another serial": changed(5, serial=1),
    "a negative serial": changed(5, serial=-1),
    "a huge serial": changed(5, serial=1 << 70),
    "a broken serial": changed(5, serial=1.5),
    "a serial that is text": changed(5, serial="1"),
    "an app that is none": changed(5, app=None),
    "a snapshot without rows": changed(0, rows=None),
    "a snapshot of another chain": changed(0, chain=[1, "00" * 16, 3, 100]),
    "a snapshot with a broken chain": changed(0, chain=[1]),
    "a snapshot with a huge serial": changed(0, chain=[1 << 70, "00" * 16, 3, 100]),
    "no snapshot": lambda lines: lines[1:],
    "a line twice": lambda lines: [*lines[:6], *lines[5:]],
    "two lines swapped": lambda lines: [*lines[:5], lines[6], lines[5], *lines[7:]],
    "a line missing": lambda lines: [*lines[:6], *lines[7:]],
    "two exports in one": lambda lines: lines * 2,
    "a redacted record out of sequence": _wrong_sequence,
    "a serial twice": _serial_of_another,
}


@pytest.mark.parametrize("case", BAD)
async def test_what_was_not_exported_is_refused(
    case: str, exported: list[str], path: Path, wall: Wall
) -> None:
    lines = BAD[case](exported)
    assert lines != exported
    async with open_log(path.with_name("copy"), ledger(), wall=wall) as copy:
        empty = await state(copy)
        with pytest.raises(StorageError, match=r"line [0-9]+ cannot be imported"):
            await copy.import_lines(lines)
        assert await state(copy) == empty
        await copy.import_lines(exported)
