"""SIGKILL of one of two workers under publishers, subscribers and members; they all come back.

Fault model: as of tests/crash/test_realtime_kill.py, but that only one process dies. If it is the
follower, its clients resume at the leader, and the leader's notice nothing. If it is the leader,
the follower ends as well, and both are started again. What must hold is the same: what was not
acknowledged is sent again and has one serial; each subscriber heard each message once, in one
order, which is the history's; members whose client came back never left, the others leave after
their delay; nobody is counted who is not attached.

TIDELOG_WORKER_KILLS=50 kills more often. A seed fixes whom and when to kill, not the scheduler.
"""

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from tests.api.workers.worker_processes import Workers
from tests.crash.realtime_clients import STUCK_S, Subscriber
from tests.crash.require import knob
from tests.crash.test_realtime_kill import ACKS_PER_LIFE_MAX, LISTENS, Rest, Story

pytestmark = [pytest.mark.crash, pytest.mark.timeout(600)]

KILLS = knob("TIDELOG_WORKER_KILLS", 2)
ACKS_AFTER = 20
REMAIN_MS = 120_000
SEED = knob("TIDELOG_SEED", random.SystemRandom().randrange(1 << 32))


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    processes = Workers(tmp_path / "data")
    processes.start()
    yield processes
    processes.stop()


class Shared(Story):
    """A story in which the server lives on, without one of its workers. `server`: the workers."""

    server: Workers

    async def outlive(self, acks: int, victim: int) -> None:
        """Work until so much more was acknowledged, then the kill. Whoever is at the other worker
        works on, if that lives."""
        pids = await self.server.all_there()
        async with trio.open_nursery() as nursery:
            for subscriber in self.subscribers:
                nursery.start_soon(subscriber.listen)
            for publisher in self.publishers:
                nursery.start_soon(publisher.work)
            await self.until_acked(acks)
            os.kill(victim, signal.SIGKILL)
            if victim == pids[0]:
                await self.server.all_there(gone=victim)
            else:
                await self.until_acked(ACKS_AFTER)
            nursery.cancel_scope.cancel()
        for client in self.clients:
            await client.drop()

    async def until_acked(self, more: int) -> None:
        enough = self.acked + more
        with trio.fail_after(STUCK_S):
            while self.acked < enough:
                await trio.lowlevel.checkpoint()

    async def connect(self) -> None:
        """To the workers that serve, in turn."""
        pids = await self.server.some_there()
        for number, client in enumerate(self.clients):
            await client.connect_on(await self.server.open_stream_to(pids[number % len(pids)]))

    async def haunt_at(self, pid: int, name: str) -> None:
        """A member of this worker's that will never come back."""
        ghost = Subscriber(name, self.channel, LISTENS)
        await ghost.connect_on(await self.server.open_stream_to(pid))
        await self.enter(ghost)
        await ghost.drop()
        self.ghosts.add(name)


async def test_everybody_comes_back(workers: Workers) -> None:
    print(f"TIDELOG_SEED={SEED} TIDELOG_WORKER_KILLS={KILLS}")
    chance = random.Random(SEED)
    story, rest = Shared(workers), Rest(workers)
    for client in story.clients:
        client.remain_ms = REMAIN_MS
    await workers.all_there()
    await story.connect()
    for subscriber in story.subscribers:
        await story.enter(subscriber)
    stays = {subscriber.name for subscriber in story.subscribers}
    for life in range(KILLS):
        pids = await workers.all_there()
        victim = pids[(life + SEED) % 2]
        await story.haunt_at(pids[chance.randrange(2)], f"ghost{life}")
        await story.outlive(chance.randint(1, ACKS_PER_LIFE_MAX), victim)
        before = await rest.members("c")
        assert stays <= before <= stays | story.ghosts
        await story.connect()
    await rest.until_attached("c", len(story.clients))
    await story.finish()
    story.check(KILLS)
    for subscriber in story.subscribers:
        assert not stays & set(subscriber.left)
    assert await rest.members("c") == stays
    assert await rest.serials("c") == [serial for _, serial in story.subscribers[0].received]
    for client in story.clients:
        await client.drop()
    await rest.until_attached("c", 0)
    await rest.close()
