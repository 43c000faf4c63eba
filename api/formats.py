"""Which format a request speaks and which its reply: JSON and MessagePack, by exact names.

`Accept` wins over the `format` parameter, which wins over JSON (reference 1.1). Content types go
out without parameters, for SDKs compare them as strings (reference 0.2, rule 2).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from api import codec
from api.settings import ServerSettings
from broker.errors import BadRequest

UNSUPPORTED_TYPE = 40001


class Format(NamedTuple):
    name: str
    content_type: str
    binary: bool
    encode: Callable[[Any], bytes]


JSON = Format("json", "application/json", False, codec.encode_json)
MSGPACK = Format("msgpack", "application/x-msgpack", True, codec.encode_msgpack)
_BY_NAME = {"json": JSON, "msgpack": MSGPACK}
_BY_TYPE = {JSON.content_type: JSON, MSGPACK.content_type: MSGPACK, "application/msgpack": MSGPACK}
_JSON_BEGINS = b"{["


def reply_format(accept: str | None, parameter: str | None) -> Format:
    """The first format that `Accept` names, else that of the parameter, else JSON."""
    for part in (accept or "").split(","):
        named = _BY_TYPE.get(_media_type(part))
        if named is not None:
            return named
    return _BY_NAME.get(parameter or "", JSON)


def decode_body(body: bytes, content_type: str | None, settings: ServerSettings) -> Any:
    """The value of a request body. A body that looks like JSON is, whatever its type is called.

    Raises BadRequest 40001 when it cannot be decoded, or is of a type that no route takes.
    """
    named = _BY_TYPE.get(_media_type(content_type or ""))
    if named is MSGPACK:
        return codec.decode_msgpack(body, settings.msgpack_depth_max)
    if named is JSON or body.lstrip()[:1] in _JSON_BEGINS:
        return codec.decode_json(body, settings.json_depth_max)
    raise BadRequest(f"bodies of type {content_type!r} are not understood", UNSUPPORTED_TYPE)


def _media_type(part: str) -> str:
    return part.partition(";")[0].strip().lower()
