"""Programs that the crash tests run, trace, starve and kill. Never imported by the tests' process.

    python -m tests.crash.workload steady '{"path": …}'

Each tells another process what it does, one line per fact, on standard output:

    S id            about to be submitted
    A id serial     acknowledged
    E id error      refused, with the class of the error
    R id serial     read back from the log, in the order of its stream
    T               a trim follows: from here on acknowledged posts may be gone
    H               the writer was held, the fault is due in the next commit
"""

import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any

import trio

from storage import Log, LogSettings, Record, Span, StorageError, Stream, open_log
from storage.engine import Writer
from storage.retention import Retention
from tests.storage.ledger import POSTS, Post, ledger

CHANNELS = 7
RETRIES_MAX = 50


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def real_ms() -> int:
    return time.time_ns() // 1_000_000


def counting_ms() -> Callable[[], int]:
    """A clock that moves one millisecond per look: the same run writes the same bytes."""
    ticks = count(1_700_000_000_000)
    return lambda: next(ticks)


def channel_of(id_: str) -> str:
    return f"channel-{int(id_.split('-')[-1]) % CHANNELS}"


def post(id_: str, size: int = 100) -> Post:
    return Post(channel_of(id_), f"{id_}:" + "x" * size, id=id_)


async def send(log: Log, id_: str, size: int = 100) -> bool:
    """Submit one post and journal what became of it."""
    say("S", id_)
    try:
        outcome = await log.submit(post(id_, size), app="app")
    except StorageError as error:
        say("E", id_, type(error).__name__)
        return False
    say("A", id_, outcome.serials[0])
    return True


async def send_together(log: Log, ids: list[str], size: int = 100) -> bool:
    """One commit for all of them. False if it was refused."""
    for id_ in ids:
        say("S", id_)
    results = await log.submit_all([post(id_, size) for id_ in ids], app="app")
    for id_, result in zip(ids, results, strict=True):
        if isinstance(result, Exception):
            say("E", id_, type(result).__name__)
        else:
            say("A", id_, result.serials[0])
    return not isinstance(results[0], Exception)


async def pages(log: Log, stream: Stream) -> AsyncIterator[Record]:
    first, more = 0, True
    while more:
        page = await log.read(stream, Span(first), limit=1_000)
        for record in page.records:
            yield record
        more = page.more
        first = page.records[-1].serial + 1 if page.records else 0


async def read_back(log: Log) -> None:
    """Everything that a reader can see, by each way to read: pages, the projection, the tail."""
    found: dict[str, int] = {}
    for number in range(CHANNELS):
        stream = Stream("app", f"channel-{number}", POSTS)
        async for record in pages(log, stream):
            found[record.event["id"]] = record.serial
            say("R", record.event["id"], record.serial)
    known = await log.query(lambda rows: dict(rows.scan("ids")))
    assert sorted(known.values()) == sorted(s.to_bytes(8, "big") for s in found.values())


@dataclass(frozen=True)
class Plan:
    """What a run does: `rounds` commits of `group` posts, then what its scenario adds."""

    path: str
    rounds: int = 20
    group: int = 5
    waiters: int = 300
    batch: int = 100
    size: int = 100
    sync: bool = True
    metasync: bool = True
    max_bytes: int = 0
    disk_reserve_bytes: int = 0
    step: int = 500

    @property
    def settings(self) -> LogSettings:
        return LogSettings(
            batch_commands_max=self.batch,
            max_bytes=self.max_bytes,
            disk_reserve_bytes=self.disk_reserve_bytes,
            maintenance_records=self.step,
        )


async def commits(log: Log, plan: Plan) -> None:
    for number in range(plan.rounds):
        ids = [f"steady-{number * plan.group + n}" for n in range(plan.group)]
        await send_together(log, ids, plan.size)


async def steady(log: Log, plan: Plan) -> None:
    """Commits one after another, each acknowledged before the next begins."""
    await commits(log, plan)


async def crowd(log: Log, plan: Plan) -> None:
    """Many publishers at once: the writer commits in groups as they come."""

    async def publisher(name: int) -> None:
        for number in range(plan.rounds):
            await send(log, f"crowd-{name * plan.rounds + number}", plan.size)

    async with trio.open_nursery() as nursery:
        for name in range(plan.group):
            nursery.start_soon(publisher, name)


async def hold_writer(log: Log, submit: Callable[[], Any]) -> None:
    """Let `submit` fill the queue while the writer stands still, then let it go."""
    held, go = Event(), Event()

    def step(_: Writer) -> bool:
        held.set()
        go.wait()
        return False

    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.maintain, step)
        await trio.to_thread.run_sync(held.wait)
        await submit()
        say("H")
        go.set()


async def queue_up(log: Log, nursery: trio.Nursery, plan: Plan) -> None:
    """Waiters enter the queue one by one, so that every run has the same batches."""
    for number in range(plan.waiters):
        before = log.queued
        nursery.start_soon(send, log, f"waiter-{number}", plan.size)
        while log.queued == before:
            await trio.lowlevel.checkpoint()


async def waiters(log: Log, plan: Plan) -> None:
    """A first batch of waiters meets the fault while the others queue; later ones come; reads."""
    await commits(log, plan)
    async with trio.open_nursery() as nursery:
        await hold_writer(log, lambda: queue_up(log, nursery, plan))
    for number in range(3):
        await send(log, f"late-{number}")
    await read_back(log)


async def persistent(log: Log, plan: Plan) -> None:
    """Like `waiters`, but whoever was refused tries again until room returns."""
    await waiters(log, plan)
    for number in range(plan.waiters):
        for _ in range(RETRIES_MAX):
            if await send(log, f"waiter-{number}", plan.size):
                break
    await read_back(log)


async def fill(log: Log, plan: Plan) -> int:
    """Commits until one is refused; returns how many posts that took."""
    for number in range(0, plan.rounds * plan.group, plan.group):
        ids = [f"fill-{number + n}" for n in range(plan.group)]
        if not await send_together(log, ids, plan.size):
            return number
    raise AssertionError("the disk never filled up")


async def ballast(log: Log, plan: Plan) -> None:
    """Fill the disk, read, make room by deleting a file beside the log, and write again."""
    await fill(log, plan)
    await read_back(log)
    Path(plan.path).with_name("ballast").unlink()
    await send_together(log, [f"again-{n}" for n in range(plan.group)], plan.size)
    await read_back(log)


async def trimming(log: Log, plan: Plan) -> None:
    """Fill the log, read, make room by trimming all but the newest posts, and write again."""
    await fill(log, plan)
    await read_back(log)
    say("T")
    await log.sweep(lambda rows, stream: Retention(records=10))
    await send_together(log, [f"again-{n}" for n in range(plan.group)], plan.size)
    await read_back(log)


async def aged(log: Log, plan: Plan) -> None:
    """A log that has seen everything: posts of all sizes, a trim, a rebuild, and posts again."""
    for number in range(plan.rounds):
        ids = [f"aged-{number * plan.group + n}" for n in range(plan.group)]
        await send_together(log, ids, 3_000 if number % 20 == 0 else plan.size)
        if number == plan.rounds // 2:
            await log.sweep(lambda rows, stream: Retention(records=plan.waiters))
            await log.rebuild()


SCENARIOS = {f.__name__: f for f in (steady, crowd, waiters, persistent, ballast, trimming, aged)}


async def run(scenario: str, plan: Plan) -> None:
    async with open_log(
        Path(plan.path),
        ledger(),
        wall=counting_ms(),
        settings=plan.settings,
        sync=plan.sync,
        metasync=plan.metasync,
    ) as log:
        await SCENARIOS[scenario](log, plan)


if __name__ == "__main__":
    trio.run(run, sys.argv[1], Plan(**json.loads(sys.argv[2])))
