"""The highest rate at which a workload's p99 stays within a budget.

The rate is doubled from a low one until it is too high, then the bracket is halved until it is as
narrow as asked for. Each step is a short run, checked as every run is: a violation ends the search.
A machine has bad moments, so a rate is too high only if it fails twice in a row.
"""

from collections.abc import Callable
from typing import NamedTuple

from bench.load.result import DROPPED, Result

_KEPT_UP = 0.95
_TRIES = 2
_STEPS_MAX = 40

Try = Callable[[float], Result]


class Step(NamedTuple):
    """too_high: why, empty when the rate was kept up within the budget."""

    rate: float
    result: Result
    too_high: str


class Wrong(Exception):
    """A step found a violation; `step` is that one."""

    def __init__(self, step: Step) -> None:
        what = "; ".join(step.result.checked.examples)
        super().__init__(f"a violation, at which a search for speed ends: {what}")
        self.step = step


class Found(NamedTuple):
    """best: None when even the lowest rate was too high. is_generator: it was the load generator
    that could not go higher."""

    best: Step | None
    is_generator: bool


def search(
    attempt: Try,
    *,
    start: float,
    budget_ms: float,
    precision: float,
    say: Callable[[Step], None],
) -> Found:
    """attempt: a run at a rate. precision: how wide the last bracket may be, as a share. Raises
    Wrong."""
    best: Step | None = None
    too_high: float | None = None
    rate = start
    for _ in range(_STEPS_MAX):
        step = _step(attempt, rate, budget_ms, say)
        if step.too_high:
            too_high = rate
        else:
            best = step
            if step.result.generator.is_limit:
                return Found(best, is_generator=True)
        low = best.rate if best else 0.0
        if too_high is not None and (too_high - low <= precision * too_high or too_high < 1):
            break
        rate = rate * 2 if too_high is None else (low + too_high) / 2
    return Found(best, is_generator=False)


def _step(attempt: Try, rate: float, budget_ms: float, say: Callable[[Step], None]) -> Step:
    for _ in range(_TRIES):
        result = attempt(rate)
        step = Step(rate, result, _too_high(result, budget_ms))
        say(step)
        if not result.checked.is_right:
            raise Wrong(step)
        if not step.too_high:
            break
    return step


def p99_ms(result: Result) -> float:
    """The worst of what is timed: acknowledgement, delivery, whatever else there is."""
    return max((one.p99_us for one in result.latencies.values()), default=0.0) / 1e3


def _too_high(result: Result, budget_ms: float) -> str:
    if not result.achieved_per_s:
        return "nothing was done: too few operations to tell, or none were answered"
    if p99_ms(result) > budget_ms:
        return f"p99 is over {budget_ms:g} ms"
    share = _kept_up(result)
    return f"only {share:.0%} of it were kept up" if share < _KEPT_UP else ""


def _kept_up(result: Result) -> float:
    """Of what was due, which is not the rate: random arrivals are some more or fewer. All of it was
    done unless it was dropped, but perhaps in more time."""
    dropped = result.latencies.get(DROPPED)
    done = result.achieved_per_s * result.seconds
    begun = done / (done + dropped.count) if dropped else 1.0
    return begun * float(result.options["duration_s"]) / result.seconds
