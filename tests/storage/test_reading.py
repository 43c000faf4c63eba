"""What a page costs does not depend on how much there is, nor on where it lies; and what is damaged
is never served."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from storage import Damaged, Log, LogSettings, Span, Stream, open_log
from storage.engine import Engine
from storage.reading import read_page
from storage.record import serial_key
from storage.serial import SERIAL_MAX
from tests.storage.contract_base import POSTS_OF_C, everything, numbered, post, rows, texts
from tests.storage.contract_tail import tailed
from tests.storage.ledger import Post, ledger
from tests.storage.surgery import flip, index_key, operate
from tests.storage.wall import Wall

SIZES = (100, 10_000, 100_000)
PAGE = 50
NEIGHBOURS = [Stream("app", name, kind) for name in ("b", "c", "d") for kind in (0, 2)]


async def _fill(path: Path, size: int) -> None:
    """A stream of `size` posts, and others before, behind and between."""
    async with open_log(path, ledger(), wall=Wall()) as log:
        for done in range(0, size, 10_000):
            count = min(10_000, size - done)
            await log.submit(Post("c", "x", count=count), app="app")
            others = [Post(s.channel, "y", kind=s.kind, count=20) for s in NEIGHBOURS]
            await log.submit_all(others, app="app")


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Engine]]:
    opened = []
    for size in SIZES:
        path = tmp_path_factory.mktemp("log") / str(size)
        trio.run(_fill, path, size)
        opened.append(Engine(path, LogSettings()))
    yield opened
    for engine in opened:
        engine.close()


def steps(engine: Engine, span: Span, limit: int = PAGE) -> int:
    """Cursor moves of one full page."""
    with engine.read() as reader:
        page = read_page(reader, POSTS_OF_C, span, limit, bytes, LogSettings())
        assert len(page.records) == limit
        return reader.steps


def spans(engine: Engine) -> list[Span]:
    """First, middle and last page of the stream, both ways."""
    with engine.read() as reader:
        keys = [key for key, _ in reader.walk("log", b"", b"\xff" * 9)]
    serials = [int.from_bytes(key, "big") for key in keys]
    middle = serials[len(serials) // 2]
    with engine.read() as reader:
        newest = read_page(
            reader, POSTS_OF_C, Span(reverse=True), PAGE, bytes, LogSettings()
        ).records
        oldest = read_page(reader, POSTS_OF_C, Span(), PAGE, bytes, LogSettings()).records
    return [
        Span(),
        Span(first=middle if len(serials) > 1_000 else 0),
        Span(first=newest[-1].serial),
        Span(reverse=True),
        Span(last=middle if len(serials) > 1_000 else SERIAL_MAX, reverse=True),
        Span(last=oldest[-1].serial, reverse=True),
    ]


def test_a_page_costs_the_same_wherever_it_lies(engines: list[Engine]) -> None:
    costs = [[steps(engine, span) for span in spans(engine)] for engine in engines]
    assert costs == [[PAGE + 1] * 6] * len(SIZES)


@pytest.mark.parametrize("limit", [1, 10, 100])
def test_a_page_costs_one_step_a_record(engines: list[Engine], limit: int) -> None:
    for reverse in (False, True):
        assert {steps(engine, Span(reverse=reverse), limit) for engine in engines} == {limit + 1}


def test_an_empty_page_costs_one_step(engines: list[Engine]) -> None:
    for engine in engines:
        with engine.read() as reader:
            unknown = Stream("app", "unknown", 1)
            assert read_page(reader, unknown, Span(), PAGE, bytes, LogSettings()) == ([], False, 0)
            assert reader.steps <= 1


@pytest.fixture
async def log_of_ten(path: Path, wall: Wall) -> list[int]:
    async with open_log(path, ledger(), wall=wall) as log:
        await log.submit_all([Post("c", t, id=t) for t in numbered(10)], app="app")
        return [record.serial for record in await everything(log)]


async def around(log: Log, serials: list[int], damaged: int) -> None:
    """Pages beside the damage are served, pages over it are not."""
    before, behind = Span(0, serials[damaged - 1]), Span(serials[damaged + 1], SERIAL_MAX)
    for span in (before, behind):
        for reverse in (False, True):
            page = await log.read(POSTS_OF_C, span._replace(reverse=reverse), limit=100)
            assert len(page.records) == (damaged if span == before else 9 - damaged)
    for reverse in (False, True):
        with pytest.raises(Damaged, match=f"channel 'c'.*{serials[damaged]}|channel 'c'.*near"):
            await log.read(POSTS_OF_C, Span(reverse=reverse), limit=100)


async def test_a_flipped_record_is_not_served(
    log_of_ten: list[int], path: Path, wall: Wall
) -> None:
    key = serial_key(log_of_ten[4])
    with operate(path) as patient:
        patient.put("log", key, flip(patient.get("log", key), -2))
    async with open_log(path, ledger(), wall=wall) as log:
        await around(log, log_of_ten, 4)
        with pytest.raises(Damaged, match=f"record {log_of_ten[4]} "):
            await tailed(log, 0, log_of_ten[-1])
        assert len(await tailed(log, log_of_ten[4], log_of_ten[-1])) == 5
        await post(log, "next")  # the rest of the log goes on


@pytest.mark.parametrize("what", ["index entry", "record", "both"])
async def test_a_hole_is_not_served(
    log_of_ten: list[int], path: Path, wall: Wall, what: str
) -> None:
    with operate(path) as patient:
        record = patient.records(POSTS_OF_C)[4]
        if what != "record":
            patient.delete("index", index_key(record))
        if what != "index entry":
            patient.delete("log", serial_key(record.serial))
    async with open_log(path, ledger(), wall=wall) as log:
        await around(log, log_of_ten, 4)


async def test_a_flipped_row_is_not_served(log_of_ten: list[int], path: Path, wall: Wall) -> None:
    with operate(path) as patient:
        key, sealed = next(row for row in patient.items("rows.0") if row[0] == b"iapp/c/text 3")
        patient.put("rows.0", key, flip(sealed, -1))
    async with open_log(path, ledger(), wall=wall) as log:
        with pytest.raises(Damaged, match="does not match its checksum"):
            await rows(log)
        results = await log.submit_all(
            [Post("c", "", id="text 3"), Post("c", "", id="text 4"), Post("c", "on")], app="app"
        )
        assert isinstance(results[0], Damaged)  # only who asked for this row
        assert results[1].duplicate
        assert (await texts(log))[-1] == "on"
        await log.rebuild()  # and it can be had again
        assert (await log.submit(Post("c", "", id="text 3"), app="app")).duplicate
