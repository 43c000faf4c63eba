"""Asking for usage: pages of intervals that neither repeat nor skip, up to this very moment.

What is not recorded yet is added to what is, if the rows that the answer reads do not hold it
already (broker.stats.recorder). An interval in which something was recorded is there even if all of
it is zeros; one in which nothing was is not.
"""

from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import groupby, islice
from operator import itemgetter
from typing import Literal, NamedTuple

import msgspec

from broker.errors import BadRequest
from broker.stats.counters import Counters, merged
from broker.stats.families import entries
from broker.stats.intervals import INVALID_VALUE, LAST_MS, Unit, floor, last_of
from broker.stats.projections import cursor, recorded
from broker.stats.recorder import Recorder, Unrecorded
from storage import Log, Rows

LIMIT_DEFAULT = 100
LIMIT_MAX = 1_000
Direction = Literal["backwards", "forwards"]


class StatsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """start_ms, end_ms: the intervals that they lie in are the first and the last; `end_ms` None is
    now. `cursor`: the start of the interval behind which the page begins, in the query's
    direction."""

    start_ms: int = 0
    end_ms: int | None = None
    unit: Unit = Unit.MINUTE
    direction: Direction = "backwards"
    limit: int = LIMIT_DEFAULT
    cursor: int | None = None

    def span(self, now_ms: int) -> "Span":
        """Raises BadRequest 40003 for a limit out of range, and when start is after end."""
        if not 0 < self.limit <= LIMIT_MAX:
            raise BadRequest(f"limit must be between 1 and {LIMIT_MAX}", INVALID_VALUE)
        end_ms = now_ms if self.end_ms is None else self.end_ms
        if self.start_ms > end_ms:
            raise BadRequest("start must not be after end", INVALID_VALUE)
        first_ms = floor(min(self.start_ms, LAST_MS), self.unit)
        last_ms = last_of(floor(min(end_ms, LAST_MS), self.unit), self.unit)
        if self.cursor is not None and self.direction == "backwards":
            last_ms = min(last_ms, self.cursor - 1)
        elif self.cursor is not None:
            first_ms = max(first_ms, last_of(min(self.cursor, LAST_MS), self.unit) + 1)
        return Span(first_ms, last_ms, self.direction == "backwards")


class Span(NamedTuple):
    """first_ms, last_ms: inclusive bounds of what begins there."""

    first_ms: int
    last_ms: int
    reverse: bool


class Interval(msgspec.Struct, frozen=True):
    """`entries`: by name, without zeros. `in_progress_ms`: the start of the last minute that it
    holds, of the interval that is not over; None of others."""

    start_ms: int
    unit: Unit
    entries: dict[str, int | float]
    in_progress_ms: int | None = None


class StatsPage(msgspec.Struct, frozen=True):
    """Intervals in the query's direction; `next` is the query of the next page, if there is one."""

    intervals: tuple[Interval, ...]
    next: StatsQuery | None


async def stats(log: Log, recorder: Recorder, app: str, query: StatsQuery) -> StatsPage:
    now_ms = log.clock.now()
    span = query.span(now_ms)
    await recorder.caught_up()
    unrecorded = recorder.unrecorded(app)
    return await log.query(lambda rows: _page(rows, app, query, span, unrecorded, now_ms))


def _page(
    rows: Rows,
    app: str,
    query: StatsQuery,
    span: Span,
    unrecorded: Sequence[Unrecorded],
    now_ms: int,
) -> StatsPage:
    minutes = sorted(_missing(rows, unrecorded, span), key=_start, reverse=span.reverse)
    stored_unit = Unit.DAY if query.unit is Unit.MONTH else query.unit
    both = merge(recorded(rows, app, stored_unit, *span), minutes, key=_start, reverse=span.reverse)
    by_interval = groupby(both, lambda counted: floor(counted[0], query.unit))
    totals = ((start_ms, merged(map(_counters, group))) for start_ms, group in by_interval)
    found = list(islice(totals, query.limit + 1))
    shown = tuple(_interval(*total, query.unit, now_ms) for total in found[: query.limit])
    if len(found) <= query.limit:
        return StatsPage(shown, None)
    return StatsPage(shown, msgspec.structs.replace(query, cursor=shown[-1].start_ms))


_Counted = tuple[int, Counters]
"""What was counted of an interval, with its start."""
_start, _counters = itemgetter(0), itemgetter(1)


def _missing(rows: Rows, unrecorded: Sequence[Unrecorded], span: Span) -> Iterator[_Counted]:
    """What these rows do not hold of a span."""
    known = cursor(rows)
    number = known.number if known is not None else 0
    for part in unrecorded:
        if part.number > number:
            for minute in part.minutes:
                if span.first_ms <= minute.minute_ms <= span.last_ms:
                    yield minute.minute_ms, minute.counters


def _interval(start_ms: int, counters: Counters, unit: Unit, now_ms: int) -> Interval:
    is_now = start_ms == floor(now_ms, unit)
    return Interval(
        start_ms, unit, entries(counters), floor(now_ms, Unit.MINUTE) if is_now else None
    )
