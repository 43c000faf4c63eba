"""From a run to its Result: rates, latencies, what it cost, and whether it was the generator that
was the limit.

The generator's own limit is found by the same workload, offered as fast as it can be to a driver
that acknowledges at once. Speaking to a real broker costs it more than that, so a run counts as
limited by the generator well below: at four fifths of the limit, or when it kept a processor busy.
"""

from datetime import UTC, datetime

import anyio
import msgspec

from bench.load.driver import Backend, Driver
from bench.load.instant import Instant
from bench.load.operations import OPERATIONS
from bench.load.options import Options
from bench.load.result import DELIVERED, Generator, Result
from bench.load.running import Run
from bench.load.stage import NS, SLOW, Stage
from bench.load.workloads import Workload

_LIMIT_S = 0.5
_LIMIT_SHARE = 0.8
_BUSY = 0.85


def measure(
    driver: Driver,
    workload: Workload,
    options: Options,
    *,
    name: str,
    version: str,
    server_pid: int | None = None,
    limit: float | None = None,
) -> Result:
    """Runs it, in the loop that the driver wants. limit: the generator's, if it is known. Raises
    BadOption, and whatever the driver cannot go on with."""
    run = Run(driver, workload, options, name, server_pid)
    began = datetime.now(UTC).isoformat(timespec="seconds")
    stage = anyio.run(run.run, backend=driver.backend)
    operations = _operations(stage, workload)
    finished_ns = max(stage.end_ns, stage.last_done_ns)
    seconds = (finished_ns - stage.record_from_ns) / NS
    achieved = operations / seconds
    server_s = run.spent.server_s
    return Result(
        workload=workload.name,
        driver=driver.name,
        promise=driver.promise,
        version=version,
        options=msgspec.to_builtins(options),
        began=began,
        seconds=seconds,
        offered_per_s=options.rate or None if workload.operations else None,
        achieved_per_s=achieved,
        delivered_per_s=_delivered_per_s(stage, finished_ns) if workload.operations else 0.0,
        latencies={what: one.result() for what, one in stage.latencies.items() if one.count},
        server_cpu_us=_per(server_s, operations),
        server_rss_kib=run.spent.server_kib,
        generator=_generator(stage, run, operations, achieved, limit),
        checked=stage.ledger.checked(),
        more=_more(stage, run, server_s),
    )


def limit_of(workload: Workload, options: Options, backend: Backend) -> float | None:
    """Operations per second that the generator can do of it; None of a workload without any,
    and of one that only a real broker can do."""
    if not workload.operations or workload.needs(options) - Instant.abilities:
        return None
    short = options.but(duration_s=_LIMIT_S, warm_up_s=_LIMIT_S / 4, storms=0, rate=1)
    run = Run(Instant(backend), workload, short, "limit", is_flood=True)
    stage = anyio.run(run.run, backend=backend)
    return _operations(stage, workload) / _LIMIT_S


def _operations(stage: Stage, workload: Workload) -> int:
    """Those that were due; what happens beside them is none."""
    return sum(stage.latencies[OPERATIONS[kind].what].count for kind in workload.operations)


def _delivered_per_s(stage: Stage, finished_ns: int) -> float:
    """Until the last one came, which may be long after it was published."""
    count = sum(stage.latencies[what].count for what in (DELIVERED, SLOW))
    return count / (max(finished_ns, stage.delivered_ns) - stage.record_from_ns) * NS


def _per(seconds: float | None, operations: int) -> float | None:
    return seconds / operations * 1e6 if seconds is not None and operations else None


def _generator(
    stage: Stage, run: Run, operations: int, achieved: float, limit: float | None
) -> Generator:
    busy = run.spent.generator_s / run.spent.seconds
    return Generator(
        busy=busy,
        cpu_us=_per(run.spent.generator_s, operations) or 0.0,
        late_p99_us=stage.late.percentile_us(99),
        limit_per_s=limit,
        is_limit=was_limit(busy=busy, achieved=achieved, limit=limit),
    )


def was_limit(*, busy: float, achieved: float, limit: float | None) -> bool:
    """limit: None where it is not known."""
    return busy > _BUSY or (limit is not None and achieved > limit * _LIMIT_SHARE)


def _more(stage: Stage, run: Run, server_s: float | None) -> dict[str, float]:
    count = len(stage.publishers) + len(stage.subscribers)
    if run.workload.operations or server_s is None:
        return {}
    return {**stage.more, "CPU us/connection/s": server_s / run.spent.seconds / count * 1e6}
