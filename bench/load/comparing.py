"""Tidelog and every peer that is present, in turn and in one run: A B A B …, so that a machine that
does other things meanwhile does them to all of them, and ratios hold where numbers do not.

All of them run from the beginning to the end, idle but for the one whose turn it is. A contender
that cannot do a workload is left out of it, and said; one whose run is wrong is in the table as
that.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.load.contenders import Contender, found, started
from bench.load.options import BadOption, Options
from bench.load.result import Result
from bench.load.session import Session
from bench.load.workloads import Workload


@dataclass
class Field:
    """Who takes part. settings: by the peer's version; notes: who does not, and why."""

    contenders: list[Contender] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@contextmanager
def contenders(work: Path, only: Sequence[str] | None = None) -> Iterator[Field]:
    """Started meanwhile. only: names of peers; Tidelog is always there. Raises BadOption when one
    that was named cannot run."""
    here, absent = found()
    names = {peer.name for peer in here}
    for name in only or ():
        if name not in names:
            reasons = {one.name: one.reason for one in absent}
            reason = reasons.get(name, f"there are {', '.join(sorted(names))}")
            raise BadOption(f"no peer {name!r} here: {reason}")
    made = Field(notes=[f"{one.name} is not measured: {one.reason}" for one in absent])
    with ExitStack() as stack:
        for peer in here:
            if only is None or peer.name in ("tidelog", *only):
                several = stack.enter_context(started(peer, work))
                made.contenders += several
                made.settings[several[0].version] = peer.settings
        yield made


def compare(
    session: Session,
    taking_part: Field,
    workloads: Sequence[tuple[Workload, Options]],
    rounds: int,
    say: Callable[[int, Result], None],
) -> list[str]:
    """Runs all of it; returns what could not be run, and why."""
    failed: list[str] = []
    for workload, options in workloads:
        able = _able(taking_part, workload, options)
        for number in range(1, rounds + 1):
            for contender in able:
                try:
                    say(number, session.run(contender, workload, options))
                except BadOption:
                    raise
                except Exception as error:  # a peer's client may fail with anything
                    who = f"{workload.name} on {contender.driver.name}"
                    failed.append(f"{who}, round {number}: {_reason(error)}")
    return failed


def _able(taking_part: Field, workload: Workload, options: Options) -> list[Contender]:
    able = []
    for contender in taking_part.contenders:
        lacks = sorted(workload.needs(options) - contender.driver.abilities)
        if lacks:
            who = f"{contender.driver.name} is left out of {workload.name}"
            taking_part.notes.append(f"{who}: it has no {', '.join(lacks)}")
        else:
            able.append(contender)
    return able


def _reason(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
