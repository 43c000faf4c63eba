"""The contract, part 3: a tail misses nothing and repeats nothing, from wherever it starts."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from storage import Cut, Log, Record
from tests.storage.contract_base import NOTES_OF_C, POSTS_OF_C, Contract, everything, numbered, post
from tests.storage.ledger import NOTES, Post
from tests.storage.wall import Wall

SMALL = {"tail_records_max": 20, "read_records_max": 15}


async def tailed(log: Log, position: int, last: int) -> list[Record]:
    """What a tail from `position` gives, up to serial `last`."""
    found: list[Record] = []
    async with aclosing(log.tail(position)) as batches:
        async for batch in batches:
            assert batch, "a tail never gives an empty batch"
            found += batch
            if found[-1].serial >= last:
                return found
    raise AssertionError("the tail ended")


class TailContract(Contract):
    async def test_from_an_old_position_then_live(self, path: Path, wall: Wall) -> None:
        """Disk first, then the feed, while a publisher runs: no gap, no record twice."""
        found: list[Record] = []
        async with self.open(path, wall, **SMALL) as log:
            serials = await post(log, *numbered(200))
            async with aclosing(log.tail(0)) as batches:
                async for batch in batches:
                    found += batch
                    if len(serials) < 500:
                        serials += await post(log, *numbered(7))
                    if found[-1].serial == serials[-1]:
                        break
        assert [r.serial for r in found] == serials

    async def test_while_others_publish(self, path: Path, wall: Wall) -> None:
        last = 3 * 10 * 60
        found: dict[int, list[Record]] = {}

        async def publish(channel: str) -> None:
            for round_ in range(60):
                await post(log, *numbered(10, round_ * 10), channel=channel)

        async def follow(name: int) -> None:
            found[name] = []
            async with aclosing(log.tail(0)) as batches:
                async for batch in batches:
                    found[name] += batch
                    if len(found[name]) >= last:
                        return

        async with self.open(path, wall, **SMALL) as log, trio.open_nursery() as nursery:
            for name in range(3):
                nursery.start_soon(follow, name)
            for channel in "abc":
                nursery.start_soon(publish, channel)
        for records in found.values():
            serials = [r.serial for r in records]
            assert serials == sorted(set(serials))
            assert len(serials) == last
            assert records == found[0]

    async def test_a_slow_tail_costs_nothing_and_misses_nothing(
        self, path: Path, wall: Wall
    ) -> None:
        """The feed forgets what the tail has not seen; it reads on from disk."""
        found: list[Record] = []
        async with self.open(path, wall, **SMALL) as log:
            serials = await post(log, "first")
            async with aclosing(log.tail(0)) as batches:
                async for batch in batches:
                    found += batch
                    if len(serials) < 400:
                        for _ in range(4):
                            serials += await post(log, *numbered(30))
                    if found[-1].serial == serials[-1]:
                        break
        assert [r.serial for r in found] == serials

    async def test_from_now_it_sees_what_comes(self, path: Path, wall: Wall) -> None:
        async with self.open(path, wall) as log:
            await post(log, *numbered(5))
            position = log.position
            serials = await post(log, *numbered(5))
            found = await tailed(log, position, serials[-1])
            assert [r.serial for r in found] == serials

    async def test_a_waiting_tail_is_woken(self, path: Path, wall: Wall) -> None:
        async with self.open(path, wall) as log:
            got = trio.Event()

            async def follow() -> None:
                await tailed(log, 0, 1)
                got.set()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(follow)
                await trio.testing.wait_all_tasks_blocked()
                await post(log, "news")
                await got.wait()

    async def test_all_streams_in_one_order(self, path: Path, wall: Wall) -> None:
        async with self.open(path, wall) as log:
            for number in range(10):
                await post(log, f"post {number}")
                last = await post(log, f"note {number}", kind=NOTES)
            live = await tailed(log, 0, last[0])
            by_stream = await everything(log, POSTS_OF_C) + await everything(log, NOTES_OF_C)
        async with self.open(path, wall) as log:
            assert await tailed(log, 0, last[0]) == live  # now from disk
        assert live == sorted(by_stream, key=lambda record: record.serial)

    async def test_from_within_a_command(self, path: Path, wall: Wall) -> None:
        async with self.open(path, wall) as log:
            outcome = await log.submit(Post("c", "x", count=9), app="app")
            for number, serial in enumerate(outcome.serials[:-1]):
                found = await tailed(log, serial, outcome.serials[-1])
                assert [r.serial for r in found] == list(outcome.serials[number + 1 :])

    async def test_bounded_in_bytes(self, path: Path, wall: Wall) -> None:
        async with self.open(path, wall) as log:
            serials = await post(log, *["x" * 1_000] * 30)
        async with self.open(path, wall, read_bytes_max=1_500) as log:
            async with aclosing(log.tail(0)) as batches:
                assert len(await anext(batches)) == 2
            assert [r.serial for r in await tailed(log, 0, serials[-1])] == serials

    async def test_over_a_trimmed_beginning(self, path: Path, wall: Wall) -> None:
        async with self.open(path, wall) as log:
            serials = await post(log, *numbered(20))
            await log.trim([Cut(POSTS_OF_C, serial=serials[9])])
            live = await tailed(log, serials[4], serials[-1])
            assert [r.serial for r in live] == serials[10:]
        async with self.open(path, wall) as log:
            found = await tailed(log, serials[4], serials[-1])
            assert [r.serial for r in found] == serials[10:]

    async def test_behind_a_log_that_was_trimmed_empty(self, path: Path, wall: Wall) -> None:
        async with self.open(path, wall) as log:
            serials = await post(log, *numbered(5))
            await log.trim([Cut(POSTS_OF_C, serial=serials[-1])])
        async with self.open(path, wall) as log, self._following(log, 0) as found:
            (serial,) = await post(log, "news")
            assert [r.serial for r in await found.receive()] == [serial]

    @asynccontextmanager
    async def _following(
        self, log: Log, position: int
    ) -> AsyncIterator[trio.MemoryReceiveChannel[list[Record]]]:
        send, receive = trio.open_memory_channel[list[Record]](0)

        async def follow() -> None:
            async with aclosing(log.tail(position)) as batches:
                async for batch in batches:
                    await send.send(batch)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            await trio.testing.wait_all_tasks_blocked()
            yield receive
            nursery.cancel_scope.cancel()

    @pytest.mark.parametrize("position", [0, 1 << 62])
    async def test_ends_when_the_log_is_closed(self, path: Path, wall: Wall, position: int) -> None:
        ended = trio.Event()

        async def follow() -> None:
            async for _ in log.tail(position):
                pass
            ended.set()

        async with self.open(path, wall) as log, trio.open_nursery() as nursery:
            await post(log, "one")
            nursery.start_soon(follow)
            await trio.testing.wait_all_tasks_blocked()
            await log.aclose()
            await ended.wait()

    async def test_a_cancelled_tail_leaves_the_others(self, path: Path, wall: Wall) -> None:
        async with self.open(path, wall) as log, self._following(log, 0) as stays:
            async with self._following(log, 0):
                pass
            (serial,) = await post(log, "news")
            assert [r.serial for r in await stays.receive()] == [serial]
