"""The platforms of Beams: one table of what each needs, and of what it is in the push model.

A token becomes a recipient, which is what transports read, and an address, by which the device is
found when it registers again. A browser's token is a PushSubscription as JSON in base64; its
address is the endpoint alone, because the keys may be others the next time.

Refuses what cannot be a token: APNs' are hexadecimal of 32 to 100 bytes, FCM's are visible ASCII, a
browser's is checked like that of Ably's devices (api.rest.push_reading).
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from api import codec
from api.beams.errors import (
    BAD_APNS_TOKEN,
    BAD_FCM_TOKEN,
    BAD_WEB_TOKEN,
    NO_APNS_TOKEN,
    NO_BUNDLE,
    NO_FCM_TOKEN,
    NO_WEB_TOKEN,
    BeamsError,
    Refusal,
)
from api.push.base64_forms import from_base64
from api.push.guard import Guard
from api.push.outcome import NotSent
from api.push.web_subscription import subscription
from api.rest.push_reading import read_recipient
from broker.errors import BadRequest
from broker.push.events import BEAMS

_APNS_TOKEN = re.compile(r"(?:[0-9a-f]{2}){32,100}")
_FCM_TOKEN = re.compile(r"[!-~]{1,4096}")
_WEB_TOKEN_CHARS_MAX = 16_384
_BUNDLE = re.compile(r"[A-Za-z0-9.-]{1,255}")

Recipient = dict[str, Any]
Read = Callable[[str, Guard], tuple[Recipient, str]]
"""(token, guard) -> (recipient, what the address is made of). Raises BadRequest or ValueError for
what cannot be a token."""


class Token(NamedTuple):
    """`address`: of the device that has it (broker.push.service.DeviceSpec)."""

    recipient: Recipient
    address: str


def _apns(token: str, guard: Guard) -> tuple[Recipient, str]:
    hexadecimal = token.lower()
    if not _APNS_TOKEN.fullmatch(hexadecimal):
        raise ValueError("not a token of APNs")
    return {"transportType": "apns", "deviceToken": hexadecimal}, hexadecimal


def _fcm(token: str, guard: Guard) -> tuple[Recipient, str]:
    if not _FCM_TOKEN.fullmatch(token):
        raise ValueError("not a token of FCM")
    return {"transportType": "fcm", "registrationToken": token}, token


def _web(token: str, guard: Guard) -> tuple[Recipient, str]:
    if len(token) > _WEB_TOKEN_CHARS_MAX:
        raise ValueError("too long for a token of a browser")
    given = codec.decode_json(from_base64(token))
    keys = given.get("keys") if isinstance(given, Mapping) else None
    if not isinstance(keys, Mapping):
        raise ValueError("not a PushSubscription")
    recipient = {
        "transportType": "web",
        "targetUrl": given.get("endpoint"),
        "encryptionKey": {name: keys.get(name) for name in ("p256dh", "auth")},
    }
    target = subscription(recipient).target
    return read_recipient({**recipient, "targetUrl": target}, guard), target


class Platform(NamedTuple):
    """`os`, `form_factor`, `transport`: as the model has it. `no_token`, `bad_token`: what is said
    of one that is missing, or cannot be one. `needs_bundle`: Android's SDK and browsers have no
    bundleIdentifier to send, whatever the documents say of FCM."""

    os: str
    form_factor: str
    transport: str
    no_token: Refusal
    bad_token: Refusal
    read: Read
    needs_bundle: bool = False


PLATFORMS = {
    "apns": Platform("ios", "phone", "apns", NO_APNS_TOKEN, BAD_APNS_TOKEN, _apns, True),
    "fcm": Platform("android", "phone", "fcm", NO_FCM_TOKEN, BAD_FCM_TOKEN, _fcm),
    "web": Platform("browser", "desktop", "web", NO_WEB_TOKEN, BAD_WEB_TOKEN, _web),
}


def given_token(platform: str, body: Mapping[str, Any]) -> Any:
    """The `token` of a body. Raises the refusal of the platform where there is none."""
    token = body.get("token")
    if token in (None, ""):
        raise BeamsError(PLATFORMS[platform].no_token)
    return token


def given_bundle(platform: str, body: Mapping[str, Any]) -> str | None:
    """The `bundleIdentifier` of a body, for a platform that needs one."""
    if not PLATFORMS[platform].needs_bundle:
        return None
    bundle = body.get("bundleIdentifier")
    if not isinstance(bundle, str) or not _BUNDLE.fullmatch(bundle):
        raise BeamsError(NO_BUNDLE)
    return bundle


def read_token(platform: str, token: Any, guard: Guard) -> Token:
    """What a token stands for. Raises the refusal of the platform for what cannot be one."""
    known = PLATFORMS[platform]
    try:
        if not isinstance(token, str):
            raise ValueError("a token is text")
        recipient, said = known.read(token, guard)
    except (BadRequest, NotSent, ValueError):
        raise BeamsError(known.bad_token) from None
    return Token(recipient, f"{BEAMS}:{platform}:{said}")
