"""The LMDB log keeps the contract of a log."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from threading import Event

import trio

from storage import Log, LogSettings, open_log
from storage.engine import Writer
from storage.verify import verify
from tests.storage.contract import LogContract
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
