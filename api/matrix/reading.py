"""Reads pushers and channels as clients send them, or refuses them.

Versions of gematik's texts differ in the names of fields. Each field is read by all of its names
(`_SPELLINGS`); if it is given by two, the values must be equal. Optional fields may be null: some
clients send what they do not have as null. Missing fields are reported before wrong ones (reference
push.md 2.3, 2.4).
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from api import codec
from api.matrix.errors import MatrixError, Why, invalid, missing
from api.push.guard import RefusedUrl
from api.push.matrix_target import Gateways, Wire
from broker.errors import BadRequest
from broker.matrix.rules import APP_ID_CHARS_MAX, STATUSES, MatrixRules, Status
from broker.messages.extras import check_encodable
from broker.push.key_chain import is_month
from broker.push.month_keys import IDENTIFIER_CHARS_MAX, Encryption

KIND = "http"
PUSHKEY_BYTES_MAX = 512
TEXT_CHARS_MAX = 256
DATA_BYTES_MAX = 16_384
REQUIRED = (
    "kind",
    "app_id",
    "pushkey",
    "app_display_name",
    "device_display_name",
    "lang",
    "data",
)
NAMES = ("app_display_name", "device_display_name", "lang", "profile_tag")
METHODS = ("aes-hmac-sha256", "aes-hmac-sha2")
_SPELLINGS = {
    "iss": ("iss", "initial_shared_secret"),
    "time_iss_created": ("time_iss_created", "initial_key_period"),
    "id": ("id", "name"),
    "status": ("status", "value"),
}
_OF_ENCRYPTION = ("method", "iss", "time_iss_created", "key_identifier")
_OF_CHANNEL = ("id", "status")
_ISS = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)


class Address(NamedTuple):
    """What a user's pusher is known by."""

    app_id: str
    pushkey: str


class Pusher(NamedTuple):
    """shown: what it is, beside its address, to who lists it. data: without the URL."""

    address: Address
    url: str
    data: dict[str, Any]
    shown: dict[str, str]
    is_shared: bool
    encryption: Encryption | None


def object_of(body: bytes, depth_max: int) -> Mapping[str, Any]:
    """A body, whatever its type is called. Raises MatrixError."""
    try:
        found = codec.decode_json(body, depth_max)
    except BadRequest as error:
        raise MatrixError(Why.NOT_JSON, error.message) from None
    if not isinstance(found, dict):
        raise MatrixError(Why.BAD_JSON, "The body must be an object")
    return found


def is_deletion(body: Mapping[str, Any]) -> bool:
    return "kind" in body and body["kind"] is None


def read_address(body: Mapping[str, Any]) -> Address:
    """Raises MatrixError."""
    _require(body, ("app_id", "pushkey"))
    app_id, pushkey = _text(body, "app_id"), _text(body, "pushkey")
    if not 0 < len(app_id) <= APP_ID_CHARS_MAX:
        raise invalid(f"app_id must have 1 to {APP_ID_CHARS_MAX} characters")
    if not 0 < len(pushkey.encode()) <= PUSHKEY_BYTES_MAX:
        raise invalid(f"pushkey must have 1 to {PUSHKEY_BYTES_MAX} bytes")
    return Address(app_id, pushkey)


def read_pusher(body: Mapping[str, Any], rules: MatrixRules, gateways: Gateways) -> Pusher:
    """`gateways`: what says which URLs will do. Raises MatrixError."""
    _require(body, REQUIRED)
    data = body["data"]
    if body["kind"] == KIND and isinstance(data, dict) and "url" not in data:
        raise MatrixError(Why.MISSING_PARAM, "Config Error: 'url' is required in data")
    _require_encryption(body)
    address = read_address(body)
    _check_kind(body["kind"])
    encryption = _read_encryption(body, rules, address.app_id)
    return Pusher(
        address=address,
        url=_read_url(data, gateways, is_encrypted=encryption is not None),
        data=_read_data(data),
        shown={"kind": KIND, **{name: _read_name(body, name) for name in NAMES}},
        is_shared=_flag(body, "append"),
        encryption=encryption,
    )


def read_channels(body: Mapping[str, Any], rules: MatrixRules) -> dict[str, Status]:
    """What is to become of each channel that is named. Raises MatrixError."""
    _require(body, ("channels",))
    listed = body["channels"]
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise invalid("channels must be a list of objects")
    for number, one in enumerate(listed):
        _require(one, _OF_CHANNEL, f"channels[{number}].")
    wanted: dict[str, Status] = {}
    for one in listed:
        id_, status = (_spelt(one, name) for name in _OF_CHANNEL)
        if id_ not in rules.channels:
            raise invalid(f"there is no channel {id_[:64]!r}")
        if id_ in wanted:
            raise invalid(f"{id_!r} can be listed only once")
        wanted[id_] = _status(status)
    return wanted


def _status(text: str) -> Status:
    for status in STATUSES:
        if text == status:
            return status
    raise invalid(f"status must be one of {', '.join(STATUSES)}")


def _require(body: Mapping[str, Any], names: Iterable[str], path: str = "") -> None:
    """By any of their names."""
    lack = [
        path + name
        for name in names
        if not any(one in body for one in _SPELLINGS.get(name, (name,)))
    ]
    if lack:
        raise missing(*lack)


def _require_encryption(body: Mapping[str, Any]) -> None:
    if isinstance(body.get("encryption"), dict):
        _require(body["encryption"], _OF_ENCRYPTION, "encryption.")


def _check_kind(kind: Any) -> None:
    if kind == "email":
        raise invalid("This server sends no e-mail: kind must be http")
    if kind != KIND:
        raise invalid("kind must be http, or null to delete the pusher")


def _read_encryption(body: Mapping[str, Any], rules: MatrixRules, app_id: str) -> Encryption | None:
    """As the rules want it."""
    given = body.get("encryption")
    rule = rules.encryption_for(app_id)
    if given is None:
        if rule == "required":
            raise missing("encryption")
        return None
    if rule == "forbidden":
        raise invalid("encryption is not for this app_id")
    if not isinstance(given, dict):
        raise invalid("encryption must be an object")
    method, iss, month, identifier = (_spelt(given, name) for name in _OF_ENCRYPTION)
    if method not in METHODS:
        raise invalid(f"encryption.method must be {METHODS[0]}")
    if not _ISS.fullmatch(iss):
        raise invalid("encryption.iss must be 64 hex digits")
    if not is_month(month):
        raise invalid("encryption.time_iss_created must be a month: yyyy-MM")
    if not 0 < len(identifier) <= IDENTIFIER_CHARS_MAX:
        raise invalid(f"encryption.key_identifier must have 1 to {IDENTIFIER_CHARS_MAX} characters")
    return Encryption(bytes.fromhex(iss), month, identifier)


def _read_url(data: Any, gateways: Gateways, *, is_encrypted: bool) -> str:
    if not isinstance(data, dict):
        raise invalid("data must be an object")
    url = data["url"]
    if not isinstance(url, str):
        raise invalid("data.url must be text")
    try:
        gateway = gateways.gateway(url)
    except RefusedUrl as refused:
        raise invalid(f"data.url: {refused}") from None
    if is_encrypted and gateway.wire is not Wire.GEMATIK:
        raise invalid("data.url: nothing encrypted can be sent to a gateway of this kind")
    return url


def _read_data(data: Mapping[str, Any]) -> dict[str, Any]:
    """What is handed on to the gateway."""
    custom = {name: value for name, value in data.items() if name != "url"}
    size = len(codec.encode_json(custom))
    if size > DATA_BYTES_MAX:
        raise invalid(f"data has {size} bytes, the limit is {DATA_BYTES_MAX}")
    try:
        check_encodable(custom)
    except BadRequest:
        raise invalid("data holds what cannot be kept") from None
    return custom


def _read_name(body: Mapping[str, Any], name: str) -> str:
    """Of what need not be there, nothing is an empty text."""
    if name not in REQUIRED and body.get(name) is None:
        return ""
    text = _text(body, name)
    if len(text) > TEXT_CHARS_MAX:
        raise invalid(f"{name} must have at most {TEXT_CHARS_MAX} characters")
    return text


def _flag(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name)
    if not isinstance(value, bool | None):
        raise invalid(f"{name} must be true or false")
    return bool(value)


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body[name]
    if not isinstance(value, str):
        raise invalid(f"{name} must be text")
    return value


def _spelt(fields: Mapping[str, Any], name: str) -> str:
    """A field by whichever of its names it has; they are there."""
    given = [one for one in _SPELLINGS.get(name, (name,)) if one in fields]
    texts = {_text(fields, one) for one in given}
    if len(texts) > 1:
        raise invalid(f"{' and '.join(given)} must not differ")
    return texts.pop()
