"""A publish as servers send it becomes one notification of ours (reference push.md 1.7).

Each part is for one platform's provider, in the provider's own form, as `api.push.payload` merges
it. `pusher` is added for the SDK on the device, which reports with it what became of it:

    apns, web    data.pusher, an object
    fcm          data.pusher, the JSON text of that object, because FCM takes only texts

Refuses what does not fit Beams' schema, what a provider would refuse for its form or size, and a
publisher's own `data.pusher`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from api.beams.errors import BAD_SCHEMA, BeamsError, unfit
from api.beams.names import is_interest, is_user
from api.push import payload
from api.push.beams_webhook import check_publish_hook
from api.push.guard import Guard, RefusedUrl
from api.push.outcome import NotSent
from broker.errors import BadRequest
from broker.messages.extras import check_encodable
from broker.push.events import BEAMS, INTERESTS, Selector
from broker.push.transport import PAYLOAD_REJECTED

Json = dict[str, Any]
INTERESTS_MAX, USERS_MAX = 100, 1_000
TTL_S_MAX = 2_419_200


class Publish(NamedTuple):
    """`parts`: by platform. `hook`: where the publisher wants to be told of it."""

    selector: Selector
    parts: dict[str, Json]
    hook: str | None


def read_publish(body: Json, guard: Guard, *, to_users: bool) -> Publish:
    """Raises BeamsError. The whole body must be fit to be kept: the publisher's hook repeats it."""
    try:
        check_encodable(body)
    except BadRequest:
        raise BeamsError(BAD_SCHEMA) from None
    if (body.get("users") if not to_users else body.get("interests")) is not None:
        raise BeamsError(BAD_SCHEMA)
    parts = {name: _part(body, name) for name in PLATFORMS if body.get(name) is not None}
    if not parts:
        raise BeamsError(BAD_SCHEMA)
    selector = Selector(apis=(BEAMS,), transports=tuple(parts))
    if to_users:
        named = {"clients": _names(body, "users", USERS_MAX, is_user)}
    else:
        named = {"topics": _names(body, "interests", INTERESTS_MAX, is_interest)}
        selector = replace(selector, space=INTERESTS)
    return Publish(replace(selector, **named), parts, _hook(body, guard))


def _names(body: Json, field: str, limit: int, is_one: Callable[[object], bool]) -> tuple[str, ...]:
    names = body.get(field)
    if not isinstance(names, list) or not 1 <= len(names) <= limit or not all(map(is_one, names)):
        raise BeamsError(BAD_SCHEMA)
    return tuple(dict.fromkeys(names))


def _part(body: Json, platform: str) -> Json:
    part = body[platform]
    if not isinstance(part, dict):
        raise BeamsError(BAD_SCHEMA)
    for name in ("data", "notification"):
        if not isinstance(part.get(name, {}), dict):
            raise BeamsError(BAD_SCHEMA)
    if "pusher" in part.get("data", {}) or not _is_ttl(part.get("time_to_live", 0)):
        raise BeamsError(BAD_SCHEMA)
    return part


def _is_ttl(asked: object) -> bool:
    is_number = isinstance(asked, int) and not isinstance(asked, bool)
    return is_number and 0 <= asked <= TTL_S_MAX  # type: ignore[operator]


def _hook(body: Json, guard: Guard) -> str | None:
    hook = body.get("webhookUrl")
    if hook is None:
        return None
    if not isinstance(hook, str):
        raise BeamsError(BAD_SCHEMA)
    try:
        check_publish_hook(guard, hook)
    except RefusedUrl as refused:
        raise BeamsError(unfit(f"webhookUrl: {refused}")) from None
    return hook


def notification(parts: dict[str, Json], instance: str, publish: str) -> Json:
    """What is published. Raises BeamsError for what no provider would take."""
    ids = {"instanceId": instance, "publishId": publish}
    built = {name: PLATFORMS[name](part, ids | _has(name, part)) for name, part in parts.items()}
    try:
        for name in built:
            _TAKEN[name](built)
    except NotSent as refused:
        is_size = refused.result.code == PAYLOAD_REJECTED
        reason = unfit(f"{name}: {refused}") if is_size else BAD_SCHEMA
        raise BeamsError(reason) from None
    return built


def _has(platform: str, part: Json) -> Json:
    aps = part.get("aps")
    shown = aps.get("alert") if isinstance(aps, dict) else None
    is_shown = shown if platform == "apns" else part.get("notification")
    return {"hasDisplayableContent": bool(is_shown), "hasData": bool(part.get("data"))}


def _for_apns(part: Json, pusher: Json) -> Json:
    return {**part, "data": {**part.get("data", {}), "pusher": pusher}}


def _for_fcm(part: Json, pusher: Json) -> Json:
    text = msgspec.json.encode(pusher).decode()
    data = {**part.get("data", {}), "pusher": text}
    return {"time_to_live": TTL_S_MAX, **part, "data": data}


def _for_web(part: Json, pusher: Json) -> Json:
    data = {**part.get("data", {}), "pusher": pusher}
    return {"time_to_live": TTL_S_MAX, **part, "data": data}


PLATFORMS: dict[str, Callable[[Json, Json], Json]] = {
    "apns": _for_apns,
    "fcm": _for_fcm,
    "web": _for_web,
}
_TAKEN: dict[str, Callable[[Json], object]] = {
    "apns": payload.for_apns,
    "fcm": lambda built: payload.for_fcm(built, TTL_S_MAX),
    "web": payload.for_web,
}
