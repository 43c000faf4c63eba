"""What was published becomes what each provider takes (reference push.md 3.5 and 4.2).

Owns the mapping of the generic payload: `notification` (title, body, icon, sound, collapseKey,
ttl), `data`, and the platforms' own parts `apns`, `fcm` and `web`, which are merged over the
result, objects key by key. Pure functions.

    generic        APNs                        FCM HTTP v1                  Web Push
    title, body    aps.alert                   notification                 notification
    icon           -                           android.notification         notification
    sound          aps.alert.sound, aps.sound  android.notification         -
    collapseKey    aps.thread-id               android.collapse_key         -
    data           beside aps                  data, every value a string   data

Ably documents aps.alert.sound, and Apple plays aps.sound: both are sent. What is shown is urgent,
what is not is not: an APNs payload that shows nothing is a background push of priority 5.

Refuses, with NotSent: parts that are not objects, APNs headers that Apple does not have or whose
value cannot be one, and what is larger than a provider takes. Never a value it does not know: that
is for the provider to judge. A publisher cannot choose the device: FCM's own ways to name a target,
and `apns-id`, are dropped.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from api.push.outcome import BAD_PAYLOAD, REFUSED, NotSent
from broker.push.lifetime import seconds

Json = dict[str, Any]

APNS_BYTES_MAX = 4_096
APNS_VOIP_BYTES_MAX = 5_120
FCM_BYTES_MAX = 4_096  # keys and values of notification and data
WEB_BYTES_MAX = 3_993  # encrypts to 4,096, what a push service must take (RFC 8030 7.2)
TTL_S_MAX = 28 * 24 * 3_600  # four weeks: nobody keeps one longer

_APNS_HEADERS = {
    "apns-push-type": re.compile(r"[a-z]{1,32}"),
    "apns-priority": re.compile(r"10|5|1"),
    "apns-expiration": re.compile(r"[0-9]{1,12}"),
    "apns-collapse-id": re.compile(r"[!-~](?:[ -~]{0,62}[!-~])?"),
    "apns-topic": re.compile(r"[A-Za-z0-9.-]{1,255}"),
}
_SHOWN = ("alert", "badge", "sound")

_FCM_TARGETS = ("token", "topic", "condition", "to", "registration_ids", "name", "validate_only")
_FCM_NOTIFICATION = ("title", "body", "image")  # the rest of a legacy notification is Android's
_FCM_ANDROID = ("priority", "collapse_key", "time_to_live", "restricted_package_name")


class ForApns(NamedTuple):
    """headers: push type and priority, and what the publisher asked for."""

    headers: dict[str, str]
    body: bytes


def for_apns(payload: Json) -> ForApns:
    own = dict(_object(payload, "apns"))
    asked = _asked_headers(_object(own, "apns-headers"))
    own.pop("apns-headers", None)
    data = _object(payload, "data")
    body = deep_merge({**data, "aps": _aps(_object(payload, "notification"))}, own)
    aps = _object(body, "aps")
    headers = _apns_headers(asked, aps)
    if headers["apns-push-type"] == "background":
        body["aps"] = {"content-available": 1, **aps}
    limit = APNS_VOIP_BYTES_MAX if headers["apns-push-type"] == "voip" else APNS_BYTES_MAX
    return ForApns(headers, _bounded(msgspec.json.encode(body), limit))


def _aps(notification: Json) -> Json:
    alert = _present(notification, "title", "body", "sound")
    aps: Json = {"alert": alert} if alert else {}
    aps |= _present(notification, "sound")
    if notification.get("collapseKey") is not None:
        aps["thread-id"] = notification["collapseKey"]
    return aps


def _asked_headers(asked: Json) -> dict[str, str]:
    headers = {name.lower(): str(value) for name, value in asked.items()}
    headers.pop("apns-id", None)
    for name, value in headers.items():
        if name not in _APNS_HEADERS:
            raise BAD_PAYLOAD.because(f"apns-headers may be {', '.join(_APNS_HEADERS)}")
        if not _APNS_HEADERS[name].fullmatch(value):
            raise BAD_PAYLOAD.because(f"apns-headers: that is no {name}")
    return headers


def _apns_headers(asked: dict[str, str], aps: Json) -> dict[str, str]:
    is_shown = any(name in aps for name in _SHOWN)
    push_type = asked.get("apns-push-type", "alert" if is_shown else "background")
    priority = asked.get("apns-priority", "10")
    if push_type == "background" and priority == "10":
        priority = "5"  # Apple refuses 10 for what nobody sees
    return {**asked, "apns-push-type": push_type, "apns-priority": priority}


def for_fcm(payload: Json, ttl_s: int) -> Json:
    """The v1 message but for its token. `ttl_s` holds unless the part `fcm` says otherwise."""
    generic: Json = {
        "notification": _present(
            _object(payload, "notification"), "title", "body", "icon", "sound"
        ),
        "data": _object(payload, "data"),
        "time_to_live": ttl_s,
    }
    collapse_key = _object(payload, "notification").get("collapseKey")
    if collapse_key is not None:
        generic["collapse_key"] = collapse_key
    merged = deep_merge(generic, _object(payload, "fcm"))
    message = _fcm_v1({name: merged[name] for name in merged if name not in _FCM_TARGETS})
    if fcm_size(message) > FCM_BYTES_MAX:
        raise _too_large(FCM_BYTES_MAX)
    return message


def _fcm_v1(legacy: Json) -> Json:
    """From FCM's legacy form, in which most people still write it; what is v1 already stays."""
    notification = _object(legacy, "notification")
    shown = _present(notification, *_FCM_NOTIFICATION)
    for_android = {name: value for name, value in notification.items() if name not in shown}
    android = {name: legacy[name] for name in _FCM_ANDROID if name in legacy}
    if "priority" in android:
        android["priority"] = str(android["priority"]).upper()
    android["ttl"] = f"{_ttl(android.pop('time_to_live'))}s"
    if for_android:
        android["notification"] = for_android
    message = {name: value for name, value in legacy.items() if name not in _FCM_ANDROID}
    message["android"] = deep_merge(android, _object(legacy, "android"))
    message["notification"] = shown
    message["data"] = {name: _text(value) for name, value in _object(legacy, "data").items()}
    return {name: value for name, value in message.items() if value != {}}


def fcm_size(message: Json) -> int:
    parts = (*message.get("notification", {}).items(), *message.get("data", {}).items())
    return sum(len(name.encode()) + len(_text(value).encode()) for name, value in parts)


def for_web(payload: Json) -> bytes:
    """The plaintext that the subscription's service worker gets."""
    generic = {
        "notification": _present(_object(payload, "notification"), "title", "body", "icon"),
        "data": _object(payload, "data"),
    }
    present = {name: value for name, value in generic.items() if value}
    body = deep_merge(present, _object(payload, "web"))
    body.pop("time_to_live", None)
    return _bounded(msgspec.json.encode(body), WEB_BYTES_MAX)


def web_ttl_s(payload: Json, expires_ms: int, now_ms: int) -> int:
    """`time_to_live` of the part `web` is for the push service, as FCM's is for FCM: how long it
    keeps what it has, however long we would try to hand it over."""
    asked = _object(payload, "web").get("time_to_live")
    return ttl_s(payload, expires_ms, now_ms) if asked is None else min(_ttl(asked), TTL_S_MAX)


def is_visible(payload: Json, platform: str) -> bool:
    """Whether a person sees it: then it is urgent."""
    return bool(payload.get("notification") or _object(payload, platform).get("notification"))


def ttl_s(payload: Json, expires_ms: int, now_ms: int) -> int:
    """How long a provider may go on trying: what was asked for, but not beyond the expiry."""
    notification = _object(payload, "notification")
    asked = notification.get("ttl", payload.get("ttl", TTL_S_MAX))
    remaining = -(-(expires_ms - now_ms) // 1_000)  # rounded up
    return max(0, min(_ttl(asked), remaining, TTL_S_MAX))


def _ttl(asked: object) -> int:
    found = seconds(asked)
    if found is None:
        raise BAD_PAYLOAD.because("ttl must be a number of seconds")
    return found


def deep_merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> Json:
    """`over` wins; where both have an object, key by key."""
    merged = dict(base)
    for name, value in over.items():
        both = isinstance(value, dict) and isinstance(base.get(name), dict)
        merged[name] = deep_merge(base[name], value) if both else value
    return merged


def _object(holder: Mapping[str, Any], name: str) -> Json:
    value = holder.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BAD_PAYLOAD.because(f"{name} must be an object")
    return value


def _present(holder: Json, *names: str) -> Json:
    return {name: holder[name] for name in names if holder.get(name) is not None}


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _bounded(body: bytes, limit: int) -> bytes:
    if len(body) > limit:
        raise _too_large(limit)
    return body


def _too_large(limit: int) -> NotSent:
    return REFUSED.because(f"the payload is larger than {limit} bytes")
