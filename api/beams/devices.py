"""`…/devices/<platform>` and below: registering a device, what it says of itself, removing it.

This API has no credentials: the id of a device, which only its SDK knows, is enough. Whoever
registers a token that a device has already gets the id of that device, which keeps its interests
and its user.
"""

from typing import Any

from quart import Blueprint, Response

from api.application import json_reply
from api.beams.bodies import json_object, read_metadata, require_json_type_of_body
from api.beams.device_paths import (
    DEVICE,
    DEVICES,
    PLATFORM,
    as_refusals,
    find,
    named,
    new_id,
)
from api.beams.errors import (
    INSTANCE_NOT_FOUND,
    NO_NEW_TOKEN,
    NOT_CONFIGURED,
    BeamsError,
)
from api.beams.paths import find_instance, instance_id
from api.beams.platforms import PLATFORMS, Token, given_bundle, given_token, read_token
from api.beams.replies import done
from api.push.guard import Guard
from api.push.transports import Transports
from api.settings import ServerSettings
from broker import Broker
from broker.errors import NotFound
from broker.push.events import BEAMS
from broker.push.registration import OnTaken
from broker.push.service import DeviceSpec


def routes(
    broker: Broker, settings: ServerSettings, guard: Guard, transports: Transports | None
) -> Blueprint:
    blueprint = Blueprint("push_beams_devices", __name__)

    @blueprint.post(PLATFORM)
    async def register(instance: str, platform: str) -> Response:
        id_ = instance_id(instance)
        body = await json_object(settings)
        token, bundle = given_token(platform, body), given_bundle(platform, body)
        metadata = read_metadata(body.get("metadata"))
        found = find_instance(broker, id_)
        if transports is None or not transports.is_configured(PLATFORMS[platform].transport):
            raise BeamsError(NOT_CONFIGURED)
        spec = _spec(platform, read_token(platform, token, guard), bundle, metadata)
        try:
            device = await broker.push.register_address(found.app, spec)
        except NotFound:  # the app is being deleted
            raise BeamsError(INSTANCE_NOT_FOUND) from None
        return json_reply({"id": device.id, "initialInterestSet": []})

    @blueprint.get(DEVICE)
    async def describe(instance: str, platform: str, device: str) -> Response:
        path = named(instance, platform, device)
        await require_json_type_of_body()
        _, found = find(broker, path)
        metadata = found.metadata or {}
        shown = {"id": found.id, "userId": found.client_id, "metadata": metadata}
        return json_reply({**shown, "deviceMetadata": metadata})  # as Android's SDK calls it

    @blueprint.delete(DEVICE)
    async def remove(instance: str, platform: str, device: str) -> Response:
        """Of what is not there as well: mobile SDKs would try for ever, told otherwise."""
        path = named(instance, platform, device)
        of = broker.beams.instance(path.instance)
        if of is not None and path.is_of_platform:
            await broker.push.remove(of.app, device=path.device, api=BEAMS)
        return done()

    @blueprint.put(f"{DEVICE}/metadata")
    async def set_metadata(instance: str, platform: str, device: str) -> Response:
        path = named(instance, platform, device)
        metadata = read_metadata(await json_object(settings))
        of, found = find(broker, path)
        with as_refusals():
            await broker.push.patch(of.app, found.id, metadata=metadata)
        return done()

    @blueprint.put(f"{DEVICES}/<any(fcm):platform>/<segment:device>/token")
    async def set_token(instance: str, platform: str, device: str) -> Response:
        """Whoever else has the token was this device before, and goes."""
        path = named(instance, platform, device)
        token = _new_token(platform, await json_object(settings), guard)
        of, found = find(broker, path)
        with as_refusals():
            await broker.push.patch(
                of.app,
                found.id,
                recipient=token.recipient,
                address=token.address,
                on_taken=OnTaken.REPLACE,
            )
        return done()

    return blueprint


def _spec(platform: str, token: Token, bundle: str | None, metadata: dict[str, Any]) -> DeviceSpec:
    known = PLATFORMS[platform]
    recipient = (
        token.recipient if bundle is None else {**token.recipient, "bundleIdentifier": bundle}
    )
    return DeviceSpec(
        id=new_id(platform),
        platform=known.os,
        form_factor=known.form_factor,
        recipient=recipient,
        metadata=metadata,
        api=BEAMS,
        address=token.address,
    )


def _new_token(platform: str, body: dict[str, Any], guard: Guard) -> Token:
    """What cannot be a token is none: the documents have no other error here."""
    try:
        return read_token(platform, given_token(platform, body), guard)
    except BeamsError:
        raise BeamsError(NO_NEW_TOKEN) from None
