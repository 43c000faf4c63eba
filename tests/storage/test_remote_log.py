"""A log whose writer is in another process keeps the contract of a log, but for maintenance, which
is the writer's; and it says so when that process ends."""

import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from storage import LogClosed, LogFailed, LogSettings, RemoteLog, open_remote
from storage.frames import FRAME_BYTES_MAX, Frames, frame
from storage.link import Asked
from storage.verify import verify
from tests.storage.contract_append import AppendContract
from tests.storage.contract_base import STUCK_S, numbered, post, texts
from tests.storage.contract_queue import QueueContract
from tests.storage.contract_tail import TailContract
from tests.storage.ledger import Post, Refused, ledger
from tests.storage.ledger_codec import LedgerCodec
from tests.storage.wall import Wall
from tests.storage.writing_process import Forks, MappedWall, Orders


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    forks = Forks()
    yield forks
    forks.close()


@pytest.fixture
def wall(tmp_path: Path) -> Wall:
    return MappedWall(tmp_path / "wall")


class Opened:
    """A log, its writer's process, and orders to it."""

    def __init__(self, log: RemoteLog, process: int, orders: Orders) -> None:
        self.log = log
        self.process = process
        self.orders = orders


@asynccontextmanager
async def opened(
    forks: Forks, path: Path, settings: LogSettings, writers: LogSettings | None = None
) -> AsyncIterator[Opened]:
    """`writers`: the settings of its process, if they are others."""
    wall = path.parent / "wall"
    process, stream, orders = forks.writer(path, wall, writers or settings)
    try:
        async with open_remote(
            path, ledger(), LedgerCodec(), stream, wall=MappedWall(wall), settings=settings
        ) as log:
            yield Opened(log, process, orders)
    finally:
        orders.close()
        with trio.CancelScope(shield=True):
            status = await trio.to_thread.run_sync(forks.wait, process)
    assert status in (0, -signal.SIGKILL)


class TestRemoteLog(AppendContract, QueueContract, TailContract):
    @pytest.fixture(autouse=True)
    def _forks(self, forks: Forks) -> None:
        self.forks = forks
        self.orders: dict[RemoteLog, Orders] = {}

    @asynccontextmanager
    async def backend(
        self, path: Path, wall: Wall, settings: LogSettings
    ) -> AsyncIterator[RemoteLog]:
        async with opened(self.forks, path, settings) as one:
            log: Any = one.log
            self.orders[log] = one.orders

            async def rebuild() -> None:
                if log._closing:
                    raise LogClosed
                await one.orders("rebuild")

            async def trim(cuts: Any) -> None:
                await one.orders("trim", cuts)
                with pytest.raises(Refused):  # answered behind what is told of the trim
                    await log.submit(Post("c", "told", refuse=True), app="app")

            log.rebuild, log.trim = rebuild, trim  # what the writer's process is asked for
            yield log

    @asynccontextmanager
    async def hold(self, log: RemoteLog) -> AsyncIterator[None]:
        await self.orders[log]("hold")
        try:
            yield
        finally:
            with trio.CancelScope(shield=True):
                await self.orders[log]("go")

    def check(self, path: Path) -> list[str]:
        return verify(path, ledger(), LogSettings(), lambda *_: None)


async def test_what_waits_when_the_writer_dies_is_unknown_and_the_rest_is_there(
    forks: Forks, path: Path, wall: Wall
) -> None:
    """Who waits is told, who comes later is told, reads go on; opened anew, nothing that was
    acknowledged is missing."""
    waiting: list[Any] = []
    with trio.fail_after(STUCK_S):
        async with opened(forks, path, LogSettings()) as one:
            await post(one.log, *numbered(20))
            await one.orders("hold")
            one.log.enqueue([Post("c", "unknown")], waiting.extend, app="app")
            os.kill(one.process, signal.SIGKILL)
            await one.log.failure.wait()
            (result,) = waiting
            assert isinstance(result, LogFailed)
            with pytest.raises(LogFailed):
                await post(one.log, "later")
            with pytest.raises(LogFailed):
                _ = [records async for records in one.log.tail(one.log.position)]
            assert await texts(one.log) == numbered(20)
        async with opened(forks, path, LogSettings()) as one:
            await post(one.log, "anew")
            assert await texts(one.log) in (
                [*numbered(20), "anew"],
                [*numbered(20), "unknown", "anew"],
            )
    assert verify(path, ledger(), LogSettings(), lambda *_: None) == []


async def test_what_was_taken_here_is_not_refused_because_others_fill_the_queue(
    forks: Forks, path: Path, wall: Wall
) -> None:
    """It waits, and keeps its order: who posted it was told that there was room."""
    answers: list[Any] = []
    full = LogSettings(queue_commands_max=3)
    with trio.fail_after(STUCK_S):
        async with opened(forks, path, LogSettings(), full) as one:
            await one.orders("hold")
            for text in numbered(50):
                one.log.enqueue([Post("c", text)], answers.extend, app="app")
            await one.orders("go")
            await post(one.log, "last")
            assert [type(answer).__name__ for answer in answers] == ["Outcome"] * 50
            assert await texts(one.log) == [*numbered(50), "last"]


async def test_a_disk_that_fails_at_the_writer_has_failed_here_and_reads_go_on(
    forks: Forks, path: Path, wall: Wall
) -> None:
    with trio.fail_after(STUCK_S):
        async with opened(forks, path, LogSettings()) as one:
            await post(one.log, *numbered(5))
            await one.orders("fail")
            await one.log.failure.wait()
            with pytest.raises(LogFailed, match="the disk is gone"):
                await post(one.log, "no")
            assert await texts(one.log) == numbered(5)


async def test_whoever_opens_it_without_a_writer_is_told(path: Path, wall: Wall) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.aclose()
    with pytest.raises(LogClosed):
        async with open_remote(path, ledger(), LedgerCodec(), ours, wall=wall):
            pass


def test_frames_are_cut_wherever_the_stream_is() -> None:
    sent = [Asked(number, "app", 1, [b"x" * number]) for number in range(50)]
    stream = b"".join(map(frame, sent))
    for step in (1, 7, 100, len(stream)):
        frames = Frames(Asked)
        pieces = [stream[at : at + step] for at in range(0, len(stream), step)]
        assert [one for piece in pieces for one in frames.feed(piece)] == sent


@pytest.mark.parametrize(
    "garbage", [(FRAME_BYTES_MAX + 1).to_bytes(4, "big"), b"\0\0\0\1\xc1", b"\0\0\0\1\x01"]
)
def test_what_is_no_frame_is_refused(garbage: bytes) -> None:
    with pytest.raises(ValueError, match=r"frame|MessagePack|Expected"):
        list(Frames(Asked).feed(garbage))
