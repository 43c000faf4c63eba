"""The benchmarks there are, and how one is run: all that a command line needs to know."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from inspect import iscoroutinefunction
from pathlib import Path
from time import perf_counter
from typing import Any

import trio

from bench import (
    annotations,
    compare,
    history,
    layouts,
    log,
    machine,
    opening,
    push,
    rest,
    versions,
)
from bench.realtime import (
    appends,
    connections,
    deltas,
    fanout,
    filters,
    publish,
    stalled,
    workers,
)
from bench.scale import Scale
from bench.tables import Result, Table

Run = Callable[[Path, Scale], list[Table]]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """`caveats`: what its numbers do not say, as Markdown."""

    name: str
    title: str
    caveats: str
    run: Run


_MODULES = {
    "log": log,
    "layouts": layouts,
    "rest": rest,
    "history": history,
    "open": opening,
    "publish": publish,
    "fanout": fanout,
    "workers": workers,
    "connections": connections,
    "stalled": stalled,
    "deltas": deltas,
    "appends": appends,
    "filters": filters,
    "annotations": annotations,
    "versions": versions,
    "push": push,
    "compare": compare,
}


def _in_trio(run: Any) -> Run:
    """One that brings its own event loops has no place in another one."""
    return partial(trio.run, run) if iscoroutinefunction(run) else run


BENCHMARKS = {
    name: Benchmark(name, module.TITLE, module.CAVEATS, _in_trio(module.run))
    for name, module in _MODULES.items()
}


def measure(benchmark: Benchmark, scale: Scale, work: Path, command: str) -> Result:
    """Run a benchmark in the empty directory `work`. Raises acknowledged.Wrong when what it
    measured was not right."""
    date = datetime.now(UTC).isoformat(sep=" ", timespec="minutes")
    facts = machine.describe(work)
    before = machine.sync_speed(work)
    began = perf_counter()
    tables = benchmark.run(work, scale)
    seconds = perf_counter() - began
    return Result(
        name=benchmark.name,
        title=benchmark.title,
        command=command,
        date=date,
        scale=scale.name,
        seconds=seconds,
        machine=facts,
        disk=[before, machine.sync_speed(work)],
        tables=tables,
        caveats=benchmark.caveats,
    )
