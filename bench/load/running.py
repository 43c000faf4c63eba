"""One run: a workload on a driver, from the first connection to what the checker says.

The clock starts when everybody is connected and subscribed. After the last operation was due, what
waits in the lanes has half the run's time more; what is not begun by then is dropped, and counts
with the latency that it had at least. Then every acknowledged message is waited for, as long as
some still come, and what the broker keeps is read back.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import cycle

import anyio

from bench.load import afterwards
from bench.load.arrival import moments
from bench.load.body import now_ns
from bench.load.driver import Driver
from bench.load.lanes import Lane, flood, offer_all
from bench.load.operations import OPERATIONS
from bench.load.options import BadOption, Options
from bench.load.result import DROPPED
from bench.load.stage import NS, Stage
from bench.load.workloads import Workload
from bench.realtime.process import cpu_seconds, resident_kib

_GLANCE_S = 0.05
_GRACE_S_MIN = 1.0


@dataclass
class Run:
    """server_pid: None of a server elsewhere, and of a broker in this process. is_flood: as much as
    the generator can do, to know its limit."""

    driver: Driver
    workload: Workload
    options: Options
    name: str
    server_pid: int | None = None
    is_flood: bool = False
    spent: "Spent" = field(init=False)

    async def run(self) -> Stage:
        self._refuse_what_makes_no_sense()
        stage = Stage(self.driver, self.options, self.name)
        memory = self._memory_kib()
        async with AsyncExitStack() as stack:
            await stage.open(stack, watches=self.workload.watches, publishes=self._publishes)
            self._note_memory(stage, memory)
            await afterwards.store(stage)
            await self._under_load(stage)
            if self.workload.proves:
                await afterwards.prove(stage)
            for after in self.workload.after:
                await after(stage)
            await afterwards.settle(stage)
        return stage

    @property
    def _publishes(self) -> bool:
        return bool(self.workload.operations) or self.workload.proves

    def _refuse_what_makes_no_sense(self) -> None:
        """Raises BadOption."""
        missing = self.workload.needs(self.options) - self.driver.abilities
        if missing:
            lacks = ", ".join(sorted(missing))
            raise BadOption(f"{self.driver.name} cannot do {self.workload.name}: no {lacks}")
        if not self.options.rate and len(self.workload.operations) > 1:
            raise BadOption(f"{self.workload.name} needs a rate: its operations are proportions")

    async def _under_load(self, stage: Stage) -> None:
        lanes = {kind: OPERATIONS[kind].lanes(stage) for kind in self.workload.operations}
        every = [lane for some in lanes.values() for lane in some]
        stage.start()
        async with anyio.create_task_group() as around:
            around.start_soon(self._observe, stage)
            around.start_soon(_drop_what_is_late, stage, every)
            around.start_soon(_give_up_without_progress, stage, around.cancel_scope)
            async with anyio.create_task_group() as tasks:
                if not self.is_flood:
                    for beside in self.workload.beside:
                        tasks.start_soon(beside, stage)
                for lane in every:
                    lane.start(tasks)
                await self._offer(stage, lanes)
            around.cancel_scope.cancel()
        self.spent.stop()

    async def _offer(self, stage: Stage, lanes: dict[str, list[Lane]]) -> None:
        """Returns when the time is up; the lanes are told."""
        every = [lane for some in lanes.values() for lane in some]
        if self.is_flood:
            span_s = (stage.end_ns - now_ns()) / NS
            await offer_all(flood(_chosen(stage, self.workload, lanes), span_s), stage.start_ns)
        elif self.options.rate and every:
            await offer_all(_schedule(stage, self.workload, lanes), stage.start_ns)
        elif every:
            for lane in every:
                lane.saturate(stage.end_ns)
        await anyio.sleep(max(0, stage.end_ns - now_ns()) / NS)
        for lane in every:
            lane.end()

    async def _observe(self, stage: Stage) -> None:
        self.spent = Spent(self.server_pid)
        await anyio.sleep(max(0, stage.record_from_ns - now_ns()) / NS)
        self.spent = Spent(self.server_pid)

    def _memory_kib(self) -> int:
        return resident_kib(self.server_pid) if self.server_pid else 0

    def _note_memory(self, stage: Stage, before_kib: int) -> None:
        count = len(stage.publishers) + len(stage.subscribers)
        if self.server_pid and count:
            stage.more["RSS KiB/connection"] = (self._memory_kib() - before_kib) / count


class Spent:
    """Processor time and memory, from the making until `stop`."""

    def __init__(self, pid: int | None) -> None:
        self._pid = pid
        self.began_ns = now_ns()
        self.generator_s = time.process_time()
        self.server_s = cpu_seconds(pid) if pid else None
        self.seconds = 0.0
        self.server_kib: int | None = None

    def stop(self) -> None:
        self.seconds = (now_ns() - self.began_ns) / NS
        self.generator_s = time.process_time() - self.generator_s
        try:
            if self._pid is not None and self.server_s is not None:
                self.server_s = cpu_seconds(self._pid) - self.server_s
                self.server_kib = resident_kib(self._pid)
        except (FileNotFoundError, ProcessLookupError):  # it has ended; the checker says the rest
            self.server_s = None


def _schedule(
    stage: Stage, workload: Workload, lanes: dict[str, list[Lane]]
) -> Iterator[tuple[int, Lane]]:
    options = stage.options
    span_s = options.warm_up_s + options.duration_s
    due = moments(options.arrival, options.rate, span_s, stage.random)
    return zip(due, _chosen(stage, workload, lanes), strict=False)


def _chosen(stage: Stage, workload: Workload, lanes: dict[str, list[Lane]]) -> Iterator[Lane]:
    """The lane of each operation: kinds by their weights, the lanes of a kind in turn."""
    kinds = list(lanes)
    weights = [workload.operations[kind] for kind in kinds]
    turns = {kind: cycle(some) for kind, some in lanes.items()}
    while True:
        for kind in stage.random.choices(kinds, weights, k=1_000):
            yield next(turns[kind])


async def _drop_what_is_late(stage: Stage, lanes: Sequence[Lane]) -> None:
    grace_s = max(_GRACE_S_MIN, stage.options.duration_s / 2)
    await anyio.sleep((stage.end_ns - now_ns()) / NS + grace_s)
    now = now_ns()
    dropped = [due for lane in lanes for due in lane.drop()]
    for due in dropped:
        stage.latencies[DROPPED].record(now - due)


async def _give_up_without_progress(stage: Stage, scope: anyio.CancelScope) -> None:
    """Only once the time is up: a broker that pauses in the middle is measured."""
    await anyio.sleep(max(0, stage.end_ns - now_ns()) / NS)
    patience_s = stage.options.patience_s
    progress, since = -1, now_ns()
    while now_ns() - since < patience_s * NS:
        if stage.progress != progress:
            progress, since = stage.progress, now_ns()
        await anyio.sleep(_GLANCE_S)
    stage.ledger.violate("unanswered", f"no answer for {patience_s:.0f} s after the end")
    scope.cancel()
