"""`/stats`: what an app did, by the minute, hour, day or month (RSC6); reference 1.14.

Times are milliseconds, "now", or the id of an interval: it begins with its first millisecond where
it is a start, and ends with its last where it is an end. Every bound is resolved when the first
page is asked for, and named in the links.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType
from quart import Blueprint, Response, request

from api import parameters
from api.authentication import authenticate
from api.operation import operation
from api.paging import Links, links
from api.parameters import Count, Params
from api.replies import reply
from api.rest import nested_stats
from broker import Broker
from broker.stats.intervals import Unit, interval_id, last_of, parse_id
from broker.stats.query import LIMIT_DEFAULT, Interval, StatsQuery

SCHEMA = "https://schemas.ably.com/json/app-stats-0.0.5.json"
FLAT_SINCE = 2
UnitName = Literal["minute", "hour", "day", "month"]
Bound = (
    Annotated[int, Meta(ge=0, description="milliseconds since the epoch")]
    | Annotated[str, Meta(pattern=r"^(now|\d{4}-[\d:-]{2,12})$", description="an interval's id")]
    | None
)


Nested = (
    Annotated[dict[str, Any], Meta(description="some of the entries, nested; before version 2")]
    | UnsetType
)


class StatsParams(Params, frozen=True, kw_only=True):
    start: Bound = None
    end: Annotated[Bound, Meta(description="to the end of that interval")] = "now"
    limit: Annotated[Count, Meta(description="intervals of a page")] = LIMIT_DEFAULT
    direction: Literal["backwards", "forwards"] = "backwards"
    unit: Annotated[UnitName | None, Meta(description="minute when absent")] = None
    by: Annotated[UnitName | None, Meta(description="what unit was called before")] = None
    cursor: Annotated[int, Meta(ge=0, description="as links have it")] | None = None


class Stats(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What an app did in an interval (TS12)."""

    interval_id: Annotated[str, Meta(description="when it began, as far as its unit says")]
    unit: UnitName
    entries: Annotated[
        dict[str, int | float], Meta(description="what is not zero, by its whole name")
    ]
    schema: Annotated[str, Meta(description="of the entries")]
    app_id: str
    in_progress: (
        Annotated[str, Meta(description="the last minute in it, while it lasts")] | UnsetType
    ) = UNSET
    # As the first API told it, to who says no version or one before 2 (api.rest.nested_stats).
    all: Nested = UNSET
    inbound: Nested = UNSET
    outbound: Nested = UNSET
    persisted: Nested = UNSET
    connections: Nested = UNSET
    channels: Nested = UNSET
    api_requests: Nested = UNSET
    token_requests: Nested = UNSET


def routes(broker: Broker) -> Blueprint:
    blueprint = Blueprint("stats", __name__)

    @blueprint.get("/stats")
    @operation(
        "getStats",
        "What the app did, by the minute, hour, day or month, by pages",
        "Statistics",
        params=StatsParams,
        answer=list[Stats],
        is_paged=True,
    )
    async def stats() -> Response:
        principal = authenticate(broker)
        principal.require_app_wide("stats")
        given = parameters.read(StatsParams, request.args)
        query = stats_query(given, broker.time_ms())
        page = await broker.stats(principal.app_id, query)
        answer = [_described(interval, principal.app_id) for interval in page.intervals]
        return reply(answer, links=_stats_links(query, page.next))

    return blueprint


def _described(interval: Interval, app: str) -> dict[str, Any]:
    described = {
        "intervalId": interval_id(interval.start_ms, interval.unit),
        "unit": interval.unit.value,
        "entries": interval.entries,
        "schema": SCHEMA,
        "appId": app,
    }
    if interval.in_progress_ms is not None:
        described["inProgress"] = interval_id(interval.in_progress_ms, Unit.MINUTE)
    if parameters.version(request.headers.get("X-Ably-Version"), request.args) < FLAT_SINCE:
        described |= nested_stats.families(interval.entries)
    return described


def stats_query(given: StatsParams, now_ms: int) -> StatsQuery:
    """Raises BadRequest 40003."""
    return StatsQuery(
        start_ms=_start_ms(given.start, now_ms),
        end_ms=_end_ms(given.end, now_ms),
        unit=Unit(given.unit or given.by or "minute"),
        direction=given.direction,
        limit=given.limit,
        cursor=given.cursor,
    )


def _start_ms(start: int | str | None, now_ms: int) -> int:
    if start == "now":
        return now_ms
    return parse_id(start)[0] if isinstance(start, str) else start or 0


def _end_ms(end: int | str | None, now_ms: int) -> int:
    if end is None or end == "now":
        return now_ms
    return last_of(*parse_id(end)) if isinstance(end, str) else end


def _stats_links(query: StatsQuery, following: StatsQuery | None) -> Links:
    return links(
        "stats",
        _link_query(msgspec.structs.replace(query, cursor=None)),
        _link_query(query),
        _link_query(following) if following else None,
    )


def _link_query(query: StatsQuery) -> dict[str, object]:
    return {
        "start": query.start_ms,
        "end": query.end_ms,
        "limit": query.limit,
        "direction": query.direction,
        "unit": query.unit.value,
        "cursor": query.cursor,
    }
