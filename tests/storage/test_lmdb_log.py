"""The LMDB log keeps the contract of a log."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import trio

from storage import Cut, Log, LogSettings, Record, open_log
from storage.engine import Reader, Writer
from storage.reading import read_after
from storage.verify import verify
from tests.storage.contract import LogContract
from tests.storage.contract_base import POSTS_OF_C, STUCK_S, numbered, post
from tests.storage.ledger import ledger
from tests.storage.wall import Wall


class TestLmdbLog(LogContract):
    def backend(
        self, path: Path, wall: Wall, settings: LogSettings
    ) -> AbstractAsyncContextManager[Log]:
        return open_log(path, ledger(), wall=wall, settings=settings)

    @asynccontextmanager
    async def hold(self, log: Log) -> AsyncIterator[None]:
        held, go = Event(), Event()

        def step(_: Writer) -> bool:
            held.set()
            go.wait()
            return False

        async with trio.open_nursery() as nursery:
            nursery.start_soon(log.maintain, step)
            await trio.to_thread.run_sync(held.wait)
            try:
                yield
            finally:
                go.set()

    def check(self, path: Path) -> list[str]:
        return verify(path, ledger(), LogSettings(), lambda *_: None)


async def test_what_comes_while_a_tail_reads_an_empty_log_is_told(
    path: Path, wall: Wall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tail has found nothing and does not wait yet."""
    found_nothing, go = Event(), Event()

    def slowly(reader: Reader, position: int, *rest: Any) -> list[Record]:
        found = read_after(reader, position, *rest)
        found_nothing.set()
        assert go.wait(STUCK_S)
        return found

    async with open_log(path, ledger(), wall=wall) as log:
        serials = await post(log, *numbered(5))
        await log.trim([Cut(POSTS_OF_C, serial=serials[-1])])
    monkeypatch.setattr("storage.log.read_after", slowly)
    told = trio.Event()

    async def follow(log: Log) -> None:
        async with aclosing(log.tail(0)) as batches:
            async for (record,) in batches:
                assert record.event["text"] == "news"
                told.set()

    async with open_log(path, ledger(), wall=wall) as log, trio.open_nursery() as nursery:
        nursery.start_soon(follow, log)
        await trio.to_thread.run_sync(found_nothing.wait, STUCK_S)
        await post(log, "news")
        go.set()
        with trio.fail_after(STUCK_S):
            await told.wait()
        nursery.cancel_scope.cancel()
