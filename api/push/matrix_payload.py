"""What was published becomes a Matrix notification, or what gematik's gateways carry unread.

The generic payload is mapped, and the publisher's own part `matrix`, which is a notification in the
protocol's names, is merged over the result, objects key by key; null takes a member away. Pure
functions.

    generic            Matrix                       gematik, encrypted
    title, body, icon  content                      in the text
    data               content.data                 in the text: data
    sound              tweaks of the device         in the text: tweaks.sound
    collapseKey, ttl   -                            -
    (its id)           event_id: "$" and the id     -

    matrix             as it is                     in the text, content's members beside the rest,
                                                    but for what follows:
    prio               high or low; high is what    beside the text
                       a person sees
    counts             but for zeros                beside the text, but for zeros
    identifier         -                            beside the text: of services with a history
    event_id           it, not ours                 in the text

So `{"matrix": {"content": {"ChannelId": …}}}` is encrypted as just that object. A pusher whose
data says `format: event_id_only` is told event_id and room_id only, and prio and counts.

Refuses, with NotSent: parts that are not objects, a prio that is none, a notification that is too
large, a text that does not fit into gematik's 1,018 bytes. A publisher cannot choose the device.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from api.push.outcome import BAD_PAYLOAD, NO_ADDRESS, REFUSED
from api.push.payload import deep_merge
from broker.push.month_keys import key_identifier
from broker.push.padded_cipher import TEXT_BYTES_MAX, TooLong
from broker.push.padded_cipher import encrypted as ciphertext
from broker.push.transport import MonthKey, Outgoing

Json = dict[str, Any]

NOTIFICATION_BYTES_MAX = 64_000
_OURS = ("devices", "device")
_BESIDE = ("prio", "counts", "identifier")
_ID_ONLY = ("event_id", "room_id")
_PRIOS = ("high", "low")


class Pusher(NamedTuple):
    """Whom a notification is for. key_identifier: of one that registered encryption."""

    app_id: str
    pushkey: str
    data: Json
    key_identifier: str | None

    @property
    def is_id_only(self) -> bool:
        return self.data.get("format") == "event_id_only"

    def device(self, updated_ms: int) -> Json:
        device = {
            "app_id": self.app_id,
            "pushkey": self.pushkey,
            "pushkey_ts": updated_ms // 1_000,
        }
        return {**device, "data": self.data} if self.data else device


def pusher(recipient: Mapping[str, Any]) -> Pusher:
    """Raises NotSent."""
    app_id, pushkey = recipient.get("appId"), recipient.get("pushkey")
    if not isinstance(app_id, str) or not isinstance(pushkey, str) or not app_id or not pushkey:
        raise NO_ADDRESS.because("appId or pushkey is missing")
    data = recipient.get("data")
    kept = {name: data[name] for name in data if name != "url"} if isinstance(data, dict) else {}
    return Pusher(app_id, pushkey, kept, key_identifier(recipient))


def plain(outgoing: Outgoing, to: Pusher) -> Json:
    """The notification of a Matrix gateway. Raises NotSent."""
    told = {"event_id": f"${outgoing.id}", **_told(outgoing.payload)}
    tweaks = told.pop("tweaks", {})
    told.pop("identifier", None)
    device = to.device(outgoing.updated_ms)
    if to.is_id_only:
        told = _some(told, *_ID_ONLY, *_BESIDE)
    elif tweaks:
        device["tweaks"] = tweaks
    told = {name: value for name, value in told.items() if value is not None}
    return _bounded({**told, "devices": [device]})


def encrypted(outgoing: Outgoing, to: Pusher, key: MonthKey) -> Json:
    """The notification of a gematik gateway for one who registered encryption. Raises NotSent."""
    told = _told(outgoing.payload)
    beside = _some(told, *_BESIDE)
    if to.is_id_only:
        text = _some({"event_id": f"${outgoing.id}", **told}, *_ID_ONLY)
    else:
        rest = {name: value for name, value in told.items() if name not in (*_BESIDE, "content")}
        text = {**rest, **told.get("content", {})}
    text = {name: value for name, value in text.items() if value is not None}
    try:
        sealed = ciphertext(key.key, msgspec.json.encode(text))
    except TooLong:
        raise REFUSED.because(
            f"the text to be encrypted is larger than {TEXT_BYTES_MAX} bytes"
        ) from None
    return _bounded(
        {
            "ciphertext": sealed,
            "time_message_encrypted": key.month,
            "key_identifier": to.key_identifier,
            **beside,
            "device": to.device(outgoing.updated_ms),
        }
    )


def _told(payload: Json) -> Json:
    """In the protocol's names. event_id: only if the publisher named one."""
    own = _object(payload, "matrix")
    notification, data = _object(payload, "notification"), _object(payload, "data")
    content = _some(notification, "title", "body", "icon")
    generic = {
        "content": {**content, "data": data} if data else content,
        "tweaks": _some(notification, "sound"),
        "prio": "high" if notification or own.get("content") else "low",
    }
    told = deep_merge(generic, {name: own[name] for name in own if name not in _OURS})
    if told["prio"] not in _PRIOS:
        raise BAD_PAYLOAD.because("matrix.prio must be high or low")
    for name in ("content", "tweaks", "counts"):
        told[name] = _object(told, name)
    told["counts"] = {name: count for name, count in told["counts"].items() if count != 0}
    return {name: value for name, value in told.items() if value != {}}


def _some(holder: Json, *names: str) -> Json:
    return {name: holder[name] for name in names if holder.get(name) is not None}


def _object(holder: Json, name: str) -> Json:
    value = holder.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BAD_PAYLOAD.because(f"{name} must be an object")
    return value


def _bounded(notification: Json) -> Json:
    if len(msgspec.json.encode(notification)) > NOTIFICATION_BYTES_MAX:
        raise REFUSED.because(f"the notification is larger than {NOTIFICATION_BYTES_MAX} bytes")
    return notification
