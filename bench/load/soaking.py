"""A soak: the mixed workload at half the rate that a short search found, for long, with the server
killed in the middle and started again on its data.

It is right when nothing was lost, repeated or reordered over the kill, and memory was flat. The
server's memory (what no file backs: LMDB's map is the kernel's to keep or drop) is sampled, each
process' time after its warm-up is halved, and the median of the second half may be above that of
the first by no more than the tolerance. So there are four quarters, two of either process.
"""

import statistics
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import anyio

from bench.load import searching
from bench.load.ably.drivers import OverWebSocket
from bench.load.ably.endpoint import Endpoint
from bench.load.body import now_ns
from bench.load.contenders import Contender
from bench.load.options import Options
from bench.load.result import Result
from bench.load.searching import Step
from bench.load.session import Session
from bench.load.stage import NS, Stage
from bench.load.tables import counted, verdict, wrong
from bench.load.workloads import WORKLOADS
from bench.realtime.process import anonymous_kib
from bench.realtime.server import Server
from bench.server_process import KEY
from bench.tables import Cell, Table

_WARM_UP = 0.25  # of the time of either process
_SLACK_KIB = 4 << 10
_SETTINGS = ("log.tail_records_max=2000", "log.cached_rows_max=5000")
_SAMPLES = 400
_SEARCH = {"duration_s": 2.0, "warm_up_s": 0.5}
_FIRST_RATE, _PRECISION = 100.0, 0.25
_COLUMNS = ("quarter", "server", "from s", "to s", "RSS MiB", "x quarter before", "flat")


class Sample(NamedTuple):
    at_ns: int
    kib: int


@dataclass
class Killing:
    """What happens beside the load: memory is sampled, and the server killed half-way."""

    server: Server
    killed_ns: int = 0
    listening_ns: int = 0
    samples: list[Sample] = field(default_factory=list)

    async def sample(self, stage: Stage) -> None:
        every_s = max(0.05, (stage.end_ns - stage.start_ns) / NS / _SAMPLES)
        while now_ns() < stage.end_ns:
            with suppress(ProcessLookupError, FileNotFoundError):  # it is being killed just now
                self.samples.append(Sample(now_ns(), anonymous_kib(self.server.pid)))
            await anyio.sleep(every_s)

    async def kill(self, stage: Stage) -> None:
        middle = (stage.record_from_ns + stage.end_ns) // 2
        await anyio.sleep(max(0, middle - now_ns()) / NS)
        self.killed_ns = now_ns()
        await anyio.to_thread.run_sync(self._kill_and_start)
        self.listening_ns = now_ns()

    def _kill_and_start(self) -> None:
        self.server.kill()
        self.server.start()


class Quarter(NamedTuple):
    """kib: the median of its samples, None without any. grown: as a ratio to the quarter before it,
    of the same process; None for its first."""

    number: int
    process: int
    from_ns: int
    to_ns: int
    kib: float | None
    grown: float | None
    is_flat: bool


@dataclass(frozen=True)
class Soaked:
    result: Result
    quarters: list[Quarter]
    table: Table
    notes: list[str]

    @property
    def is_right(self) -> bool:
        return self.result.checked.is_right and all(one.is_flat for one in self.quarters)


def soak(
    session: Session,
    *,
    minutes: float,
    tolerance: float,
    budget_ms: float,
    sizes: dict[str, Any],
    say: Callable[[str], None],
) -> Soaked:
    """sizes: options of the mixed workload; with a rate, nothing is searched for. Raises what a
    search raises, and ServerFailed."""
    server = Server(session.work / "soak", settings=_SETTINGS)
    try:
        server.start()
        endpoint = Endpoint("127.0.0.1", server.port, KEY)
        driver = OverWebSocket("tidelog", "fsynced", endpoint)
        contender = Contender(driver, session.version)
        options = WORKLOADS["mixed"].defaults.but(**sizes)
        if sizes.get("rate") is None:
            options = options.but(rate=_half(session, contender, options, budget_ms, say))
        options = options.but(duration_s=minutes * 60)
        say(f"soaking at {options.rate:,.0f}/s for {minutes:g} minutes")
        killing = Killing(server)
        workload = replace(WORKLOADS["mixed"], beside=(killing.sample, killing.kill))
        result = session.run(contender, workload, options)
    finally:
        server.stop()
    return _judged(result, killing, options, tolerance)


def _half(
    session: Session,
    contender: Contender,
    options: Options,
    budget_ms: float,
    say: Callable[[str], None],
) -> float:
    short = options.but(**_SEARCH)

    def told(step: Step) -> None:
        say(f"{step.rate:,.0f}/s: {step.too_high or 'kept'}")

    best = searching.search(
        lambda rate: session.run(contender, WORKLOADS["mixed"], short.but(rate=rate)),
        start=_FIRST_RATE,
        budget_ms=budget_ms,
        precision=_PRECISION,
        say=told,
    ).best
    return (best.rate if best else _FIRST_RATE) / 2


def _judged(result: Result, killing: Killing, options: Options, tolerance: float) -> Soaked:
    quarters = quartered(killing.samples, killing.killed_ns, killing.listening_ns, tolerance)
    began = killing.samples[0].at_ns
    rows: list[list[Cell]] = [
        [
            one.number,
            f"process {one.process}",
            (one.from_ns - began) / NS,
            (one.to_ns - began) / NS,
            one.kib / 1024 if one.kib else None,
            one.grown,
            "yes" if one.is_flat else "NO",
        ]
        for one in quarters
    ]
    down_s = (killing.listening_ns - killing.killed_ns) / NS
    notes = [
        f"At {options.rate:,.0f} operations a second; {result.achieved_per_s:,.0f} were done.",
        f"kill -9 after {(killing.killed_ns - began) / NS:.0f} s, listening {down_s:.1f} s later.",
        f"Flat: at most {tolerance:.0%} and {_SLACK_KIB >> 10} MiB above the quarter before.",
        f"Checked: {verdict(result)}; {counted(result.checked)}.",
        *wrong(result.checked),
    ]
    return Soaked(result, quarters, Table("Soak", _COLUMNS, rows), notes)


def quartered(
    samples: list[Sample], killed_ns: int, listening_ns: int, tolerance: float
) -> list[Quarter]:
    """Two of each process, after its warm-up. What was not sampled is not known to be flat."""
    quarters: list[Quarter] = []
    spans = (
        (samples[0].at_ns, killed_ns),
        (listening_ns, max(listening_ns, samples[-1].at_ns + 1)),
    )
    for process, (start, end) in enumerate(spans, 1):
        warm = start + int((end - start) * _WARM_UP)
        middle = (warm + end) // 2
        first, second = _median(samples, warm, middle), _median(samples, middle, end)
        number = 2 * process
        quarters.append(Quarter(number - 1, process, warm, middle, first, None, first is not None))
        grown = second / first if first and second else None
        is_flat = bool(first and second and second <= first * (1 + tolerance) + _SLACK_KIB)
        quarters.append(Quarter(number, process, middle, end, second, grown, is_flat))
    return quarters


def _median(samples: list[Sample], from_ns: int, to_ns: int) -> float | None:
    within = [one.kib for one in samples if from_ns <= one.at_ns < to_ns]
    return statistics.median(within) if within else None
