"""Which format a request speaks and which its reply: by exact names (reference 1.1).

`Accept` wins over the `format` parameter, which wins over JSON. Content types go out without
parameters, for SDKs compare them as strings (reference 0.2, rule 2).

A form is read as an object of text. What a field holds that no text can, an array or an object, is
JSON in it (`JSON_FIELDS`); a field that is given several times is an array, and so is one that
never is anything else (`ARRAY_FIELDS`).
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from api import codec
from api.html_page import Leading, html_page
from api.jsonp import call
from api.settings import ServerSettings
from broker.errors import BadRequest

UNSUPPORTED_TYPE = 40001
FORM = "application/x-www-form-urlencoded"
FORM_FIELDS_MAX = 1_000
JSON_FIELDS = frozenset(
    {"extras", "messages", "targets", "recipient", "metadata", "payload", "version"}
    | {"push", "push.recipient", "notification", "apns", "fcm", "gcm", "web", "matrix"}
)
ARRAY_FIELDS = frozenset({"targets"})


class Context(NamedTuple):
    """What an encoding may need besides the value: the JSONP function; a page's title, and where
    it leads."""

    callback: str
    title: str
    leading: Leading


class Format(NamedTuple):
    """`binary`: bytes go out as they are; elsewhere they are base64 by then."""

    name: str
    content_type: str
    binary: bool
    encode: Callable[[Any, Context], bytes]


JSON = Format("json", "application/json", False, lambda value, _: codec.encode_json(value))
MSGPACK = Format(
    "msgpack", "application/x-msgpack", True, lambda value, _: codec.encode_msgpack(value)
)
JSONP = Format(
    "jsonp",
    "application/javascript",
    False,
    lambda value, context: call(context.callback, codec.encode_json(value)),
)
HTML = Format(
    "html",
    "text/html",
    False,
    lambda value, context: html_page(context.title, value, context.leading).encode(),
)
FORMATS = (JSON, MSGPACK, JSONP, HTML)
_BY_NAME = {known.name: known for known in FORMATS}
_BY_TYPE = {known.content_type: known for known in FORMATS} | {
    "application/msgpack": MSGPACK,
    "text/javascript": JSONP,
    "application/xhtml+xml": HTML,
}
_JSON_BEGINS = b"{["
_QUALITY = re.compile(r"[0-9](\.[0-9]*)?", re.ASCII)


def reply_format(accept: str | None, parameter: str | None) -> Format:
    """The format that `Accept` prefers of those we have, else that of the parameter, else JSON."""
    offered = [_preference(part) for part in (accept or "").split(",")]
    for quality, kind in sorted(offered, key=lambda offer: -offer[0]):
        named = _BY_TYPE.get(kind)
        if named is not None and quality > 0:
            return named
    return _BY_NAME.get(parameter or "", JSON)


def _preference(part: str) -> tuple[float, str]:
    kind, *options = part.split(";")
    for option in options:
        name, _, value = option.partition("=")
        if name.strip().lower() == "q":
            return _quality(value.strip()), kind.strip().lower()
    return 1.0, kind.strip().lower()


def _quality(text: str) -> float:
    """RFC 9110 12.4.2; what is none is not wanted."""
    return min(float(text), 1.0) if _QUALITY.fullmatch(text) else 0.0


def decode_body(body: bytes, content_type: str | None, settings: ServerSettings) -> Any:
    """The value of a request body. A body that looks like JSON is, whatever its type is called.

    Raises BadRequest 40001 when it cannot be decoded, or is of a type that no route takes.
    """
    named = media_type(content_type)
    if _BY_TYPE.get(named) is MSGPACK:
        return codec.decode_msgpack(body, settings.msgpack_depth_max)
    if named == JSON.content_type or body.lstrip()[:1] in _JSON_BEGINS:
        return codec.decode_json(body, settings.json_depth_max)
    if named == FORM and body:
        return _decode_form(body, settings)
    raise BadRequest(f"bodies of type {content_type!r} are not understood", UNSUPPORTED_TYPE)


def _decode_form(body: bytes, settings: ServerSettings) -> dict[str, Any]:
    try:
        given = parse_qs(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=FORM_FIELDS_MAX,
        )
    except ValueError:  # UnicodeError is one
        raise BadRequest("the body is not a valid form", UNSUPPORTED_TYPE) from None
    return {name: _form_value(name, values, settings) for name, values in given.items()}


def _form_value(name: str, texts: list[str], settings: ServerSettings) -> Any:
    values = [_field_value(name, text, settings) for text in texts]
    if len(values) > 1 or (name in ARRAY_FIELDS and not isinstance(values[0], list)):
        return values
    return values[0]


def _field_value(name: str, text: str, settings: ServerSettings) -> Any:
    if name in JSON_FIELDS and text.lstrip()[:1] in ("{", "["):
        return codec.decode_json(text.encode(), settings.json_depth_max)
    return text


def media_type(content_type: str | None) -> str:
    """A content type without its parameters."""
    return (content_type or "").partition(";")[0].strip().lower()
