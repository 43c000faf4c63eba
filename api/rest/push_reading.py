"""Devices, recipients and payloads as clients send them: read, or refused if they make no sense.

The first API spelt nesting with dots (`push.recipient`, `push.state`); both are read. What is wrong
is BadRequest 40000, naming the field (reference push.md 3.3, 3.4).
"""

from collections.abc import Mapping
from typing import Any

from api.push.guard import Guard, RefusedUrl
from api.push.outcome import NotSent
from api.push.web_subscription import target_url
from broker.auth.credentials import check_client_id
from broker.errors import BadRequest
from broker.push.notice import check_fits
from broker.push.service import DeviceSpec

PLATFORMS = ("android", "ios", "browser")
FORM_FACTORS = ("phone", "tablet", "desktop", "tv", "watch", "car", "embedded", "other")
# What an address is made of, by its transport.
ADDRESSES: dict[str, tuple[str, ...]] = {
    "apns": ("deviceToken",),
    "fcm": ("registrationToken",),
    "gcm": ("registrationToken",),
    "web": ("targetUrl", "encryptionKey"),
    "webhook": ("url", "secret"),
    "ablyChannel": ("channel", "ablyKey"),
}
# Which part of it is a URL that we are made to ask for.
URLS = {"web": "targetUrl", "webhook": "url"}
PAYLOAD_FIELDS = ("notification", "data", "apns", "fcm", "gcm", "web", "matrix")
ID_CHARS_MAX = 256


def fields_of(body: Any) -> Mapping[str, Any]:
    """A body as an object, dots as nesting. Raises BadRequest 40000."""
    if not isinstance(body, Mapping):
        raise BadRequest("the body must be an object")
    dotted = {name.removeprefix("push."): v for name, v in body.items() if name.startswith("push.")}
    if not dotted:
        return body
    plain = {name: value for name, value in body.items() if not name.startswith("push.")}
    push = plain.get("push")
    return {**plain, "push": {**(push if isinstance(push, Mapping) else {}), **dotted}}


def read_device(body: Any, guard: Guard, id_: str | None = None) -> DeviceSpec:
    """`id_`: that of the path, which one in the body must repeat."""
    fields = fields_of(body)
    given = fields.get("id") or id_
    if id_ is not None and given != id_:
        raise BadRequest("id must be that of the path")
    push = fields.get("push")
    client_id = fields.get("clientId")
    return DeviceSpec(
        id=checked_id(given, "id"),
        platform=_one_of(fields, "platform", PLATFORMS),
        form_factor=_one_of(fields, "formFactor", FORM_FACTORS),
        recipient=read_recipient(
            push.get("recipient") if isinstance(push, Mapping) else None, guard
        ),
        secret=_text(fields, "deviceSecret"),
        client_id=check_client_id(client_id) if client_id else None,
        metadata=read_metadata(fields.get("metadata")),
    )


def read_recipient(recipient: Any, guard: Guard) -> dict[str, Any]:
    """An address: its transport, and what that needs; a URL only if `guard` would ask for it."""
    if not isinstance(recipient, Mapping):
        raise BadRequest("push.recipient must say where the device is reached")
    needed = ADDRESSES.get(str(recipient.get("transportType")))
    if needed is None:
        raise BadRequest(f"push.recipient.transportType must be one of {', '.join(ADDRESSES)}")
    missing = [name for name in needed if not recipient.get(name)]
    if missing:
        raise BadRequest(f"push.recipient needs {' and '.join(missing)}")
    check_fits(recipient, "push.recipient")
    _check_target(recipient, guard)
    return dict(recipient)


def _check_target(recipient: Mapping[str, Any], guard: Guard) -> None:
    field = URLS.get(recipient["transportType"])
    if field is None:
        return
    url = recipient[field]
    try:
        guard.url(target_url(url) if field == "targetUrl" else str(url))
    except (RefusedUrl, NotSent) as refused:
        raise BadRequest(f"push.recipient.{field}: {refused}") from None


def read_payload(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What is to be shown or handed over; beside the recipient, or in `push`, which may be empty:
    then a device is woken, and shows nothing."""
    inner = fields.get("push")
    source = inner if isinstance(inner, Mapping) else fields
    payload = {name: source[name] for name in PAYLOAD_FIELDS if source.get(name) is not None}
    if not payload and source is fields:
        raise BadRequest(f"a notification has one of {', '.join(PAYLOAD_FIELDS)}")
    for name in PAYLOAD_FIELDS:
        if name != "data" and not isinstance(payload.get(name, {}), Mapping):
            raise BadRequest(f"{name} must be an object")
    check_fits(payload, "the notification")
    return payload


def read_metadata(metadata: Any) -> dict[str, Any] | None:
    if metadata is None:
        return None
    if not isinstance(metadata, Mapping):
        raise BadRequest("metadata must be an object")
    check_fits(metadata, "metadata")
    return dict(metadata)


def checked_id(id_: Any, field: str) -> str:
    if not isinstance(id_, str) or not 0 < len(id_) <= ID_CHARS_MAX or not id_.isprintable():
        raise BadRequest(f"{field} must be 1 to {ID_CHARS_MAX} printable characters")
    return id_


def _one_of(fields: Mapping[str, Any], name: str, choices: tuple[str, ...]) -> str:
    value = fields.get(name)
    if value not in choices:
        raise BadRequest(f"{name} must be one of {', '.join(choices)}")
    return str(value)


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and not (isinstance(value, str) and len(value) <= ID_CHARS_MAX):
        raise BadRequest(f"{name} must be text of at most {ID_CHARS_MAX} characters")
    return value or None
