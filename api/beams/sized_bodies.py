"""Bodies of Beams' API: a JSON object of a bounded size, or an error in its own words."""

from typing import Any

from quart import request

from api import codec
from api.beams.errors import INVALID_CONTENT_TYPE, NOT_JSON, BeamsError, Refusal
from api.settings import ServerSettings
from broker.errors import BadRequest

JSON = "application/json"


def check_content_type() -> None:
    """Of a request that must have a body."""
    if request.mimetype != JSON:
        raise BeamsError(INVALID_CONTENT_TYPE)


async def read_bounded(limit: int, too_large: Refusal) -> bytes:
    """The body; nothing of one that is too large is read beyond that."""
    if (request.content_length or 0) > limit:
        raise BeamsError(too_large)
    received = bytearray()
    async for part in request.body:
        received += part
        if len(received) > limit:
            raise BeamsError(too_large)
    return bytes(received)


def as_object(body: bytes, settings: ServerSettings) -> dict[str, Any]:
    try:
        found = codec.decode_json(body, settings.json_depth_max)
    except BadRequest:
        raise BeamsError(NOT_JSON) from None
    if not isinstance(found, dict):
        raise BeamsError(NOT_JSON)
    return found
