"""`…/devices/<platform>/<device>/interests`: what a device is subscribed to.

Interests need not be made: one is there while a device has it. Adding one that is there, and
removing one that is not, is fine. A cursor is opaque, and of its device only.
"""

import re
from hashlib import blake2b
from typing import Any

from quart import Blueprint, Response, request

from api.application import json_reply
from api.beams.bodies import json_object
from api.beams.device_paths import DEVICE, as_refusals, find, named
from api.beams.errors import (
    BAD_CURSOR,
    BAD_DEVICE_ID,
    BAD_DEVICE_ID_ON_REMOVAL,
    BAD_INTEREST,
    BAD_LIMIT,
    NO_INTEREST,
    NOT_JSON,
    TOO_MANY_INTERESTS,
    BeamsError,
)
from api.beams.names import is_interest
from api.beams.paths import required
from api.beams.replies import done
from api.push.base64_forms import base64url, from_base64
from api.settings import ServerSettings
from broker import Broker
from broker.push.events import INTERESTS

INTERESTS_MAX = 5_000
PAGE_MAX = 100
_LIMIT = re.compile(r"[0-9]{1,3}", re.ASCII)
_MARK_BYTES = 8


def routes(broker: Broker, settings: ServerSettings) -> Blueprint:
    blueprint = Blueprint("push_beams_interests", __name__)

    @blueprint.get(f"{DEVICE}/interests")
    async def page(instance: str, platform: str, device: str) -> Response:
        path = named(instance, platform, device)
        limit, after = _limit(request.args.get("limit")), _after(path.device)
        of, found = find(broker, path)
        there = await broker.push.topics.page(
            of.app, found.id, INTERESTS, after=after, limit=limit + 1
        )
        names = [topic.name for topic in there[:limit]]
        more = {"nextCursor": _cursor(found.id, names[-1])} if len(there) > limit else {}
        return json_reply({"interests": names, "responseMetadata": more})

    @blueprint.put(f"{DEVICE}/interests")
    async def replace(instance: str, platform: str, device: str) -> Response:
        path = named(instance, platform, device)
        names = read_interests(await json_object(settings, of_any_type=True))
        of, found = find(broker, path)
        with as_refusals():
            await broker.push.topics.replace(of.app, found.id, INTERESTS, names, INTERESTS_MAX)
        return done()

    @blueprint.post(f"{DEVICE}/interests/<segment:interest>")
    async def add(instance: str, platform: str, device: str, interest: str) -> Response:
        path = named(instance, platform, device, BAD_DEVICE_ID)
        name = required(interest, NO_INTEREST)
        if not is_interest(name):
            raise BeamsError(BAD_INTEREST)
        of, found = find(broker, path)
        with as_refusals():
            await broker.push.topics.change(
                of.app, found.id, INTERESTS, on=(name,), limit=INTERESTS_MAX
            )
        return done()

    @blueprint.delete(f"{DEVICE}/interests/<segment:interest>")
    async def remove(instance: str, platform: str, device: str, interest: str) -> Response:
        """No device has what is no name of an interest, so it is removed already."""
        path = named(instance, platform, device, BAD_DEVICE_ID_ON_REMOVAL)
        name = required(interest, NO_INTEREST)
        of, found = find(broker, path)
        if is_interest(name):
            with as_refusals():
                await broker.push.topics.change(of.app, found.id, INTERESTS, gone=(name,))
        return done()

    return blueprint


def read_interests(body: dict[str, Any]) -> list[str]:
    """The `interests` of a body, each once."""
    given = body.get("interests")
    if not isinstance(given, list):
        raise BeamsError(NOT_JSON)
    if not all(map(is_interest, given)):
        raise BeamsError(BAD_INTEREST)
    names = list(dict.fromkeys(given))
    if len(names) > INTERESTS_MAX:
        raise BeamsError(TOO_MANY_INTERESTS)
    return names


def _limit(text: str | None) -> int:
    if text is None:
        return PAGE_MAX
    if not _LIMIT.fullmatch(text) or not 1 <= int(text) <= PAGE_MAX:
        raise BeamsError(BAD_LIMIT)
    return int(text)


def _after(device: str) -> str:
    """The interest that the page asked for begins behind."""
    cursor = request.args.get("cursor")
    if cursor is None:
        return ""
    try:
        said = from_base64(cursor)
        name = said[_MARK_BYTES:].decode("ascii")
    except ValueError:
        raise BeamsError(BAD_CURSOR) from None
    if not is_interest(name) or said[:_MARK_BYTES] != _mark(device, name):
        raise BeamsError(BAD_CURSOR)
    return name


def _cursor(device: str, name: str) -> str:
    return base64url(_mark(device, name) + name.encode())


def _mark(device: str, name: str) -> bytes:
    return blake2b(f"{device}\0{name}".encode(), digest_size=_MARK_BYTES).digest()
