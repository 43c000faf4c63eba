"""What the parts of the log contract share: how a backend is opened, and how a log is looked at."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from storage import Log, LogSettings, Record, Span, Stream
from storage.serial import SERIAL_MAX
from tests.storage.ledger import NOTES, POSTS, Post
from tests.storage.wall import Wall

STUCK_S = 60  # only ever passes when a test hangs
POSTS_OF_C = Stream("app", "c", POSTS)
NOTES_OF_C = Stream("app", "c", NOTES)


class Contract:
    """What the parts of the contract share."""

    def backend(
        self, path: Path, wall: Wall, settings: LogSettings
    ) -> AbstractAsyncContextManager[Log]:
        raise NotImplementedError

    def hold(self, log: Log) -> AbstractAsyncContextManager[None]:
        """The writer takes no command until the context ends; what is submitted waits."""
        raise NotImplementedError

    def check(self, path: Path) -> list[str]:
        raise NotImplementedError

    @asynccontextmanager
    async def open(self, path: Path, wall: Wall, **settings: Any) -> AsyncIterator[Log]:
        with trio.fail_after(STUCK_S):
            async with self.backend(path, wall, LogSettings(**settings)) as log:
                yield log
        assert self.check(path) == []


async def post(log: Log, *texts: str, channel: str = "c", kind: int = POSTS) -> list[int]:
    """Each text in a command of its own; returns the serials."""
    commands = [Post(channel, text, kind=kind) for text in texts]
    results = await log.submit_all(commands, app="app")
    return [outcome.serials[0] for outcome in results]


def numbered(count: int, first: int = 0) -> list[str]:
    return [f"text {number}" for number in range(first, first + count)]


async def everything(
    log: Log, stream: Stream = POSTS_OF_C, limit: int = 1_000, reverse: bool = False
) -> list[Record]:
    """A whole stream, page after page, in the order of `reverse`."""
    found: list[Record] = []
    span, more = Span(reverse=reverse), True
    while more:
        page = await log.read(stream, span, limit=limit)
        assert len(page.records) <= limit
        found += page.records
        more = page.more
        if more:
            span = Span(0, page.last - 1, True) if reverse else Span(page.last + 1, SERIAL_MAX)
    return found


async def texts(log: Log, stream: Stream = POSTS_OF_C) -> list[str]:
    return [record.event["text"] for record in await everything(log, stream)]


async def rows(log: Log) -> dict[str, dict[bytes, bytes]]:
    """Every projection row."""
    return await log.query(
        lambda all_: {name: dict(all_.scan(name)) for name in ("ids", "tallies")}
    )


async def history(log: Log, *streams: Stream) -> dict[Stream, list[Record]]:
    return {stream: await everything(log, stream) for stream in streams}


async def until_queued(log: Log, count: int) -> None:
    """Let other tasks run until so many commands wait for the writer."""
    while log.queued < count:
        await trio.lowlevel.checkpoint()


async def until_taken(log: Log) -> None:
    """Let other tasks run until the writer has taken every command that waits."""
    while log.queued:
        await trio.lowlevel.checkpoint()
