"""The workloads there are: which operations in which proportions, and how much if nothing is said.

A workload is a row of a table. All are run alike (`bench.load.running`): connect, subscribe, store,
then operations as they are due and, beside them, what happens on its own, such as a storm.
"""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio

from bench.load.body import now_ns
from bench.load.driver import Ability, Connection
from bench.load.operations import OPERATIONS, RESUMED
from bench.load.options import Options
from bench.load.pushing import check_told
from bench.load.stage import NS, Stage

Beside = Callable[[Stage], Coroutine[Any, Any, None]]


async def storms(stage: Stage) -> None:
    """All subscribers lose their connections in the same moment, and come back at once."""
    count = stage.options.storms
    span = stage.end_ns - stage.record_from_ns
    for number in range(1, count + 1):
        await _until(stage.record_from_ns + span * number // (count + 1))
        began = now_ns()
        async with anyio.create_task_group() as tasks:
            for connection in stage.subscribers:
                tasks.start_soon(_lose, stage, connection, began)


async def _lose(stage: Stage, connection: Connection, began: int) -> None:
    await connection.cut()
    await connection.resume()
    stage.done(RESUMED, began)


async def stall(stage: Stage) -> None:
    """The slow ones read nothing for the middle third."""
    third = (stage.end_ns - stage.record_from_ns) // 3
    for is_paused, moment in ((True, third), (False, 2 * third)):
        await _until(stage.record_from_ns + moment)
        for connection in stage.slow:
            await connection.pause(is_paused)


async def _until(moment_ns: int) -> None:
    await anyio.sleep(max(0, moment_ns - now_ns()) / NS)


@dataclass(frozen=True)
class Workload:
    """operations: weights, by kind; without any there is only what is beside. watches: subscribers
    are told of presence. proves: at the end each channel gets one message."""

    name: str
    title: str
    operations: Mapping[str, float]
    defaults: Options
    beside: tuple[Beside, ...] = ()
    also_needs: frozenset[Ability] = field(default_factory=frozenset)
    watches: bool = False
    proves: bool = False
    after: tuple[Beside, ...] = ()

    def needs(self, options: Options) -> frozenset[Ability]:
        """Of a driver."""
        needed = {OPERATIONS[kind].needs for kind in self.operations} | self.also_needs
        if options.subscribers:
            needed.add("subscribe")
        if self.proves or options.stored:
            needed.add("publish")
        return frozenset(needed)


def _table(*rows: Workload) -> dict[str, Workload]:
    return {row.name: row for row in rows}


WORKLOADS = _table(
    Workload(
        "publish",
        "messages to a few channels, each acknowledged",
        {"publish": 1},
        Options(rate=1_000, publishers=8, channels=8),
    ),
    Workload(
        "fanout",
        "each message of one channel to many subscribers",
        {"publish": 1},
        Options(rate=50, publishers=1, channels=1, subscribers=100),
    ),
    Workload(
        "channels",
        "many channels, each with a few messages and one subscriber",
        {"publish": 1},
        Options(rate=1_000, publishers=8, channels=1_000, subscribers=8),
    ),
    Workload(
        "presence",
        "clients enter and leave, and others are told",
        {"presence": 1},
        Options(rate=200, publishers=16, channels=4, subscribers=4),
        watches=True,
    ),
    Workload(
        "history",
        "the newest page of channels that hold many messages",
        {"history": 1},
        Options(rate=100, publishers=4, channels=10, stored=1_000),
    ),
    Workload(
        "resume",
        "all subscribers lose their connection at once, while messages go on",
        {"publish": 1},
        Options(rate=200, publishers=4, channels=20, subscribers=200, storms=3),
        beside=(storms,),
        also_needs=frozenset(("resume",)),
    ),
    Workload(
        "slow",
        "some subscribers stop reading for a while; the others must not notice",
        {"publish": 1},
        Options(rate=100, publishers=1, channels=1, subscribers=40, slow=0.25, size=1_024),
        beside=(stall,),
        also_needs=frozenset(("pause",)),
    ),
    Workload(
        "idle",
        "connections that do nothing: memory and processor time of each",
        {},
        Options(rate=1, publishers=1, channels=1_000, subscribers=1_000),
        proves=True,
    ),
    Workload(
        "push",
        "notifications, each to many devices behind a gateway",
        {"push": 1},
        Options(rate=2, publishers=2, channels=1, devices=500),
        after=(check_told,),
    ),
    Workload(
        "mixed",
        "publishing, presence, reads of history and lost connections together",
        {"publish": 90, "presence": 5, "history": 4.5, "resume": 0.5},
        Options(rate=500, publishers=8, channels=40, subscribers=40),
        watches=True,
    ),
)
