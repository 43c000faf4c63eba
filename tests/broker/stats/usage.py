"""What a broker says about an app's usage, in a few words."""

from typing import Any

from broker import Broker
from broker.stats.intervals import Unit
from broker.stats.query import StatsQuery

PUBLISHED = "messages.inbound.all.messages.count"


async def usage(
    b: Broker, unit: Unit = Unit.MINUTE, *, app: str | None = None, **fields: Any
) -> dict[int, dict[str, int | float]]:
    """Entries by the start of their interval, oldest first."""
    query = StatsQuery(unit=unit, direction="forwards", limit=1_000, **fields)
    page = await b.stats(app or b.default_app(), query)
    assert page.next is None
    return {interval.start_ms: interval.entries for interval in page.intervals}


async def total(b: Broker, name: str = PUBLISHED, *, app: str | None = None) -> float:
    """Of all time; every unit must say the same."""
    sums = {
        sum(entries.get(name, 0) for entries in (await usage(b, unit, app=app)).values())
        for unit in Unit
    }
    (found,) = sums
    return found
