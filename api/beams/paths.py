"""Segments of Beams' paths: an instance, a device, an interest, a user.

A segment is matched before it is decoded, so that a name may hold an encoded slash. Routes match
empty segments too, because Beams has an error of its own for each that is missing.
"""

from urllib.parse import unquote

from quart_trio import QuartTrio
from werkzeug.routing import BaseConverter

from api.beams.errors import (
    BAD_INSTANCE_ID,
    INSTANCE_NOT_FOUND,
    NO_INSTANCE_ID,
    BeamsError,
    Refusal,
)
from api.request_counting import of_app
from broker import Broker
from broker.beams.instances import Instance, checked_id
from broker.errors import BadRequest

PREFIXES = (
    "/device_api/v1",
    "/publish_api/v1",
    "/customer_api/v1",
    "/user_api/v1",
    "/reporting_api/v2",
)


class _Segment(BaseConverter):
    """One part of a path, which may be empty."""

    regex = "[^/]*"
    part_isolating = True


class _Rest(BaseConverter):
    """All that is left of a path, slashes too, or nothing."""

    regex = ".*"
    part_isolating = False


def take_empty_segments(app: QuartTrio) -> None:
    """`<segment:name>` and, last, `<rest:name>` in routes of the application."""
    app.url_map.converters["segment"] = _Segment
    app.url_map.converters["rest"] = _Rest


def instance_id(segment: str, invalid: Refusal = BAD_INSTANCE_ID) -> str:
    """The instance that a path names, there or not. `invalid`: what is said of what is no id."""
    text = required(segment, NO_INSTANCE_ID)
    try:
        return checked_id(text)
    except BadRequest:
        raise BeamsError(invalid) from None


def required(segment: str, missing: Refusal) -> str:
    """A part of a path, decoded; what is no UTF-8 is no name of anything."""
    if not segment:
        raise BeamsError(missing)
    return unquote(segment)


def find_instance(broker: Broker, id_: str) -> Instance:
    found = broker.beams.instance(id_)
    if found is None:
        raise BeamsError(INSTANCE_NOT_FOUND)
    of_app(found.app)
    return found
