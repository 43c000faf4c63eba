"""What every kind of history shares: its query parameters, and the links between its pages (RSL2,
RSP4; reference 1.4).

Every bound is resolved when the first page is asked for, and named in the links, so that they
describe their pages for good, whatever is published meanwhile.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, field

from api import parameters
from api.paging import Links, links
from api.parameters import Count, Params, Time
from broker import Broker
from broker.errors import BadRequest
from broker.messages import serials
from broker.messages.history import LIMIT_DEFAULT, HistoryQuery

UNKNOWN_POINT = 90008


class HistoryParams(Params, frozen=True, kw_only=True):
    start: Time = None
    end: Annotated[Time, Meta(description="the moment of the request, when absent")] = "now"
    limit: Annotated[
        Count,
        Meta(description="items of a page; 1000 unless the operator says otherwise is the most"),
    ] = LIMIT_DEFAULT
    direction: Literal["backwards", "forwards"] = "backwards"
    from_serial: Annotated[
        str | None, Meta(description="an attach point: nothing behind it (RTL10b)")
    ] = field(default=None, name="from_serial")
    from_serial_too: Annotated[str | None, Meta(description="the same")] = field(
        default=None, name="fromSerial"
    )
    cursor: Annotated[str | None, Meta(description="as links have it")] = None


def history_query(given: HistoryParams, broker: Broker) -> HistoryQuery:
    """Raises BadRequest: 40003 a cursor, 90008 an attach point that is none of ours."""
    now_ms = broker.now()
    end = parameters.time_ms(given.end, now_ms)
    return HistoryQuery(
        start=parameters.time_ms(given.start, now_ms) or 0,
        end=now_ms if end is None else end,
        direction=given.direction,
        limit=given.limit,
        cursor=serials.parse(given.cursor, broker.series) if given.cursor else None,
        until=_until(given.from_serial or given.from_serial_too, broker.series),
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
) -> Links:
    first = msgspec.structs.replace(query, cursor=None)
    return links(
        word,
        _link_query(first, series),
        _link_query(query, series),
        _link_query(following, series) if following else None,
    )


def _link_query(query: HistoryQuery, series: str) -> dict[str, object]:
    return {
        "start": query.start,
        "end": query.end,
        "limit": query.limit,
        "direction": query.direction,
        "from_serial": serials.render(query.until, series) if query.until is not None else None,
        "cursor": serials.render(query.cursor, series) if query.cursor is not None else None,
    }
