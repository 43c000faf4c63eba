"""`/stats`: what an app did, by the minute, hour, day or month (RSC6); reference 1.14.

Times are milliseconds, "now", or the id of an interval: it begins with its first millisecond where
it is a start, and ends with its last where it is an end. Every bound is resolved when the first
page is asked for, and named in the links.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from quart import Blueprint, Response, request

from api import parameters
from api.authentication import authenticate
from api.paging import links
from api.replies import Headers, reply
from broker import Broker
from broker.stats.intervals import Unit, interval_id, last_of, parse_id
from broker.stats.query import LIMIT_DEFAULT, Interval, StatsQuery

SCHEMA = "https://schemas.ably.com/json/app-stats-0.0.5.json"
DIRECTIONS = ("backwards", "forwards")
UNITS = tuple(unit.value for unit in Unit)


def routes(broker: Broker) -> Blueprint:
    blueprint = Blueprint("stats", __name__)

    @blueprint.get("/stats")
    async def stats() -> Response:
        principal = authenticate(broker)
        principal.require_app_wide("stats")
        query = stats_query(request.args, broker.time_ms())
        page = await broker.stats(principal.app_id, query)
        answer = [_described(interval, principal.app_id) for interval in page.intervals]
        return reply(answer, headers=_stats_links(query, page.next))

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
    return described


def stats_query(args: Mapping[str, str], now_ms: int) -> StatsQuery:
    """Raises BadRequest 40003."""
    end_ms, limit = _end_ms(args, now_ms), parameters.integer(args, "limit")
    direction = parameters.choice(args, "direction", DIRECTIONS)
    unit = parameters.choice(args, "unit" if args.get("unit") else "by", UNITS)
    return StatsQuery(
        start_ms=_start_ms(args, now_ms) or 0,
        end_ms=now_ms if end_ms is None else end_ms,
        unit=Unit(unit),
        direction="backwards" if direction == "backwards" else "forwards",
        limit=LIMIT_DEFAULT if limit is None else limit,
        cursor=parameters.integer(args, "cursor"),
    )


def _start_ms(args: Mapping[str, str], now_ms: int) -> int | None:
    if _is_id(args, "start"):
        return parse_id(args["start"])[0]
    return parameters.time_ms(args, "start", now_ms)


def _end_ms(args: Mapping[str, str], now_ms: int) -> int | None:
    if _is_id(args, "end"):
        return last_of(*parse_id(args["end"]))
    return parameters.time_ms(args, "end", now_ms)


def _is_id(args: Mapping[str, str], name: str) -> bool:
    return "-" in args.get(name, "")


def _stats_links(query: StatsQuery, following: StatsQuery | None) -> Headers:
    pages = {
        "first": _link_query(msgspec.structs.replace(query, cursor=None)),
        "current": _link_query(query),
        "next": _link_query(following) if following else None,
    }
    return links("stats", pages)


def _link_query(query: StatsQuery) -> dict[str, str]:
    fields = {
        "start": query.start_ms,
        "end": query.end_ms,
        "limit": query.limit,
        "direction": query.direction,
        "unit": query.unit.value,
        "cursor": query.cursor,
    }
    return {name: str(value) for name, value in fields.items() if value is not None}
