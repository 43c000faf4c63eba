"""What every kind of history shares: its query parameters, and the links between its pages (RSL2,
RSP4; reference 1.4).

Every bound is resolved when the first page is asked for, and named in the links, so that they
describe their pages for good, whatever is published meanwhile.
"""

from collections.abc import Mapping

import msgspec

from api import parameters
from api.paging import links
from broker import Broker
from broker.errors import BadRequest
from broker.messages import serials
from broker.messages.history import LIMIT_DEFAULT, HistoryQuery

UNKNOWN_POINT = 90008
DIRECTIONS = ("backwards", "forwards")


def history_query(args: Mapping[str, str], broker: Broker) -> HistoryQuery:
    now_ms = broker.now()
    end = parameters.time_ms(args, "end", now_ms)
    limit = parameters.integer(args, "limit")
    direction = parameters.choice(args, "direction", DIRECTIONS)
    cursor = args.get("cursor")
    return HistoryQuery(
        start=parameters.time_ms(args, "start", now_ms) or 0,
        end=now_ms if end is None else end,
        direction="backwards" if direction == "backwards" else "forwards",
        limit=LIMIT_DEFAULT if limit is None else limit,
        cursor=serials.parse(cursor, broker.series) if cursor else None,
        until=_until(args.get("from_serial") or args.get("fromSerial"), broker.series),
    )


def _until(text: str | None, series: str) -> int | None:
    """An attach point (RTL10b): nothing behind it."""
    if not text:
        return None
    try:
        return serials.parse(text, series)
    except BadRequest:
        raise BadRequest("unknown attach point", UNKNOWN_POINT) from None


def history_links(
    word: str, query: HistoryQuery, following: HistoryQuery | None, series: str
) -> list[tuple[str, str]]:
    first = msgspec.structs.replace(query, cursor=None)
    pages = {
        "first": _link_query(first, series),
        "current": _link_query(query, series),
        "next": _link_query(following, series) if following else None,
    }
    return links(word, pages)


def _link_query(query: HistoryQuery, series: str) -> dict[str, str]:
    fields = {
        "start": str(query.start),
        "end": str(query.end),
        "limit": str(query.limit),
        "direction": query.direction,
        "from_serial": serials.render(query.until, series) if query.until is not None else None,
        "cursor": serials.render(query.cursor, series) if query.cursor is not None else None,
    }
    return {name: value for name, value in fields.items() if value is not None}
