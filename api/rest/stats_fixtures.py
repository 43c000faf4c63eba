"""`POST /stats`: usage that an SDK's test suite makes up (reference 1.14), as counters of ours.

With `--sandbox` only. Names are the test API's, which nests what the schema's entries join with
dots. Null means absent, unknown fields are ignored, a field of the wrong type is BadRequest 40000
that says which. A request is recorded whole or not at all.
"""

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from quart import Blueprint, Response, request

from api.authentication import authenticate
from api.formats import decode_body
from api.operation import operation
from api.replies import reply
from api.settings import ServerSettings
from broker import Broker
from broker.errors import BadRequest, Unauthorized
from broker.stats.counters import CHANNELS, CONNECTIONS, Counters, merge
from broker.stats.intervals import parse_id

BASIC_NEEDED = 40101
FIXTURES_MAX = 1_000
AMOUNT_MAX = 1 << 32  # millions of them still add up to a number that can be stored
Amount = Annotated[int, msgspec.Meta(ge=0, le=AMOUNT_MAX)] | None


class Amounts(msgspec.Struct, frozen=True):
    count: Amount = None
    data: Amount = None
    failed: Amount = None
    refused: Amount = None


class Messages(msgspec.Struct, frozen=True):
    messages: Amounts | None = None
    presence: Amounts | None = None


class Traffic(msgspec.Struct, frozen=True):
    realtime: Messages | None = None
    rest: Messages | None = None


class Level(msgspec.Struct, frozen=True):
    peak: Amount = None
    min: Amount = None
    opened: Amount = None
    refused: Amount = None


class Connections(msgspec.Struct, frozen=True):
    """Told apart by their transport here, and not in the schema."""

    all: Level | None = None
    tls: Level | None = None
    plain: Level | None = None


class Requests(msgspec.Struct, frozen=True):
    succeeded: Amount = None
    failed: Amount = None
    refused: Amount = None


class Fixture(msgspec.Struct, frozen=True, rename="camel"):
    """`interval_id`: of a minute; of a longer interval, its first minute."""

    interval_id: str
    inbound: Traffic | None = None
    outbound: Traffic | None = None
    persisted: Messages | None = None
    connections: Connections | None = None
    channels: Level | None = None
    api_requests: Requests | None = None
    token_requests: Requests | None = None


def routes(broker: Broker, settings: ServerSettings) -> Blueprint:
    blueprint = Blueprint("stats_fixtures", __name__)

    @blueprint.post("/stats")
    @operation(
        "addStats",
        "Make up what the app did, for tests",
        "Sandbox",
        body=list[Fixture],
        answer=list[Any],
        status=201,
    )
    async def add() -> Response:
        principal = authenticate(broker)
        if principal.kind != "key":
            raise Unauthorized("statistics are added with a key", BASIC_NEEDED)
        fixtures = read_fixtures(decode_body(await request.data, request.content_type, settings))
        minutes = [(parse_id(item.interval_id)[0], counters_of(item)) for item in fixtures]
        await broker.add_stats(principal.app_id, minutes)
        return reply([], 201)

    return blueprint


def read_fixtures(body: object) -> list[Fixture]:
    """Raises BadRequest 40000, naming the field."""
    try:
        fixtures = msgspec.convert(body, list[Fixture])
    except msgspec.ValidationError as error:
        raise BadRequest(f"these are no statistics: {error}") from None
    if len(fixtures) > FIXTURES_MAX:
        raise BadRequest(f"at most {FIXTURES_MAX} intervals can be added at once")
    return fixtures


def counters_of(fixture: Fixture) -> Counters:
    """Zeros are not counted, except of a minimum."""
    parts: dict[str, msgspec.Struct | None] = {
        "messages.inbound": fixture.inbound,
        "messages.outbound": fixture.outbound,
        "messages.persisted": fixture.persisted,
        CHANNELS: fixture.channels,
        "apiRequests.other": fixture.api_requests,
        "apiRequests.tokenRequests": fixture.token_requests,
    }
    found: Counters = {}
    for prefix, part in parts.items():
        found |= dict(_flat(prefix, part))
    for level in msgspec.structs.astuple(fixture.connections or Connections()):
        merge(found, dict(_flat(CONNECTIONS, level)))
    return {name: amount for name, amount in found.items() if amount or name.endswith(".min")}


def _flat(prefix: str, part: msgspec.Struct | None) -> Iterator[tuple[str, int]]:
    """The amounts in a part, by their names with dots."""
    if part is None:
        return
    for name in part.__struct_fields__:
        value = getattr(part, name)
        if isinstance(value, msgspec.Struct):
            yield from _flat(f"{prefix}.{name}", value)
        elif value is not None:
            yield f"{prefix}.{name}", value
