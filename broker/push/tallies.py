"""What came of the first attempts of a publish, added up page by page."""

from collections.abc import Iterable
from typing import NamedTuple

from broker.push.events import Tally


class First(NamedTuple):
    """What came of a first attempt. client: whose device it is, where that is asked for."""

    transport: str
    is_sent: bool
    client: str | None


def tally(firsts: Iterable[First]) -> Tally:
    total = Tally()
    for first in firsts:
        count = {first.transport: 1}
        who = () if first.client is None else (first.client,)
        one = Tally(sent=count, reached=who) if first.is_sent else Tally(failed=count, missed=who)
        total = merged(total, one)
    return total


def merged(known: Tally, more: Tally | None) -> Tally:
    if more is None:
        return known
    reached = dict.fromkeys((*known.reached, *more.reached))
    missed = dict.fromkeys((*known.missed, *more.missed))
    return Tally(
        sent=_added(known.sent, more.sent),
        failed=_added(known.failed, more.failed),
        reached=tuple(reached),
        missed=tuple(name for name in missed if name not in reached),
    )


def _added(known: dict[str, int], more: dict[str, int]) -> dict[str, int]:
    return {name: known.get(name, 0) + more.get(name, 0) for name in {**known, **more}}
