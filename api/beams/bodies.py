"""What requests of Beams carry: a JSON object, if anything, of a bounded size."""

from typing import Any

from quart import request

from api import codec
from api.beams.errors import BAD_METADATA, INVALID_CONTENT_TYPE, NOT_JSON, BeamsError, Refusal
from api.formats import JSON, media_type
from api.settings import ServerSettings
from broker.errors import BadRequest

METADATA_FIELDS_MAX = 16
METADATA_CHARS_MAX = 256


def require_json_type() -> None:
    """Of a request that must have a body."""
    if media_type(request.content_type) != JSON.content_type:
        raise BeamsError(INVALID_CONTENT_TYPE)


async def require_json_type_of_body() -> None:
    """Of a body that is there: SDKs send none with some requests, and then no type either."""
    if await request.data:
        require_json_type()


async def json_object(settings: ServerSettings, *, of_any_type: bool = False) -> dict[str, Any]:
    """`of_any_type`: where the documents list no error for the type."""
    if not of_any_type:
        await require_json_type_of_body()
    return as_object(await request.data, settings)


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


def read_metadata(value: Any) -> dict[str, str]:
    """Some texts by name; null is no text. Anybody may register a device, so there are few."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BeamsError(BAD_METADATA)
    texts = {name: text for name, text in value.items() if text is not None}
    if len(texts) > METADATA_FIELDS_MAX or not all(map(_is_short_text, [*texts, *texts.values()])):
        raise BeamsError(BAD_METADATA)
    return texts


def _is_short_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= METADATA_CHARS_MAX
