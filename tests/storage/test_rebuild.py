"""A rebuild in small pieces, beside traffic, and one that was killed: always the same rows."""

from pathlib import Path

import pytest
import trio

from storage import Cut, Log, Stream, open_log
from storage.engine import Writer
from storage.rebuild import rebuild
from storage.verify import verify
from storage.writer import Step
from tests.storage.contract_base import numbered, post, rows
from tests.storage.ledger import POSTS, Post, ledger
from tests.storage.wall import Wall

CHANNELS = numbered(12)


async def fill(log: Log) -> None:
    """Twelve channels of ten posts, five of them trimmed: twelve snapshots, sixty records."""
    for channel in CHANNELS:
        await log.submit_all([Post(channel, t, id=t) for t in numbered(10)], app="app")
    await log.trim([Cut(Stream("app", channel, POSTS), sequence=5) for channel in CHANNELS])


class Killed(Exception):
    """The process ends here."""


def killed_after(step: Step, count: int) -> Step:
    """`step`, until the process ends in its commit number `count`."""
    done = 0

    def killed(writer: Writer) -> bool:
        nonlocal done
        done += 1
        more = step(writer)
        if done > count:
            raise Killed
        return more

    return killed


@pytest.mark.parametrize("limit", [1, 5, 12, 60, 1_000])
async def test_in_pieces(path: Path, wall: Wall, limit: int) -> None:
    async with open_log(path, ledger(), wall=wall) as log:
        await fill(log)
        before = await rows(log)
        assert len(before["tallies"]) == 12
        for _ in range(2):
            await log.maintain(rebuild(ledger(), limit))
            assert await rows(log) == before


@pytest.mark.parametrize("count", [0, 1, 7, 30])
async def test_a_killed_rebuild_changes_nothing(path: Path, wall: Wall, count: int) -> None:
    """What it left in the spare rows is not in the next one's way."""
    async with open_log(path, ledger(), wall=wall) as log:
        await fill(log)
        before = await rows(log)
        with pytest.raises(Killed):
            await log.maintain(killed_after(rebuild(ledger(), 2), count))
        assert await rows(log) == before
    async with open_log(path, ledger(), wall=wall) as log:
        assert await rows(log) == before
        channels = [Stream("app", channel, POSTS) for channel in CHANNELS]
        await log.trim([Cut(stream, sequence=8) for stream in channels])
        before = await rows(log)
        await log.rebuild()
        assert await rows(log) == before


async def test_beside_traffic(path: Path, wall: Wall) -> None:
    async with open_log(path, ledger(), wall=wall) as log:
        await fill(log)

        async def publish(channel: str) -> None:
            for text in numbered(50, 100):
                await log.submit(Post(channel, text, id=text), app=channel)

        async with trio.open_nursery() as nursery:
            for channel in CHANNELS[:4]:
                nursery.start_soon(publish, channel)
            await log.maintain(rebuild(ledger(), 3))
        await post(log, "last")
        live = await rows(log)
        assert len(live["ids"]) == 12 * 5 + 4 * 50
        await log.rebuild()
        assert await rows(log) == live
    assert verify(path, ledger(), log.settings, lambda *_: None) == []
