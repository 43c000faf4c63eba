"""`/push/deviceRegistrations/{device}`: one device that notifications are pushed to (RSH1b, RSH3);
reference push.md 3.3.
"""

from typing import Any
from urllib.parse import unquote

import msgspec
from quart import Blueprint, Response, request

from api.formats import decode_body
from api.operation import operation
from api.push.guard import Guard
from api.replies import reply
from api.rest.push_caller import caller
from api.rest.push_described import described, identity_token
from api.rest.push_reading import fields_of, read_device, read_metadata, read_recipient
from api.rest.push_resources import DeviceChange, DeviceDetails, NewDevice
from api.settings import ServerSettings
from broker import Broker
from broker.auth.credentials import Principal, check_client_id
from broker.push import identity
from broker.push.events import Device
from broker.push.registration import IDENTITY
from broker.push.service import DeviceSpec


def routes(broker: Broker, settings: ServerSettings, guard: Guard) -> Blueprint:
    blueprint = Blueprint("push_devices", __name__)
    push = broker.push

    async def body() -> Any:
        return decode_body(await request.data, request.content_type, settings)

    @blueprint.post("/push/deviceRegistrations")
    @operation(
        "registerPushDevice",
        "Register a device; it is told who it is from now on",
        "Push",
        body=NewDevice,
        answer=DeviceDetails,
        status=201,
    )
    async def register() -> Response:
        principal = caller(broker)
        spec = read_device(await body(), guard)
        identity.require_own(principal, push.device(principal.app_id, spec.id), spec.id)
        spec = msgspec.structs.replace(spec, client_id=identity.owner(principal, spec.client_id))
        device = await push.register(principal.app_id, spec)
        token = identity_token(broker, principal, device)
        return reply({**described(broker, principal, device), "deviceIdentityToken": token}, 201)

    @blueprint.put("/push/deviceRegistrations/<device_id>")
    @operation(
        "putPushDeviceDetails",
        "Register a device, or replace it",
        "Push",
        body=NewDevice,
        answer=DeviceDetails,
    )
    async def put(device_id: str) -> Response:
        id_ = unquote(device_id)
        principal = caller(broker, id_)
        spec = read_device(await body(), guard, id_)
        before = push.device(principal.app_id, id_)
        identity.require_own(principal, before, id_)
        spec = _permitted(principal, before, spec)
        keep = IDENTITY if spec.secret else (*IDENTITY, "secret")
        device = await push.register(principal.app_id, spec, keep=keep)
        return reply(described(broker, principal, device))

    @blueprint.patch("/push/deviceRegistrations/<device_id>")
    @operation(
        "patchPushDeviceDetails",
        "Change a device: its address; by an admin its client and its metadata too",
        "Push",
        body=DeviceChange,
        answer=DeviceDetails,
    )
    async def patch(device_id: str) -> Response:
        id_ = unquote(device_id)
        principal = caller(broker, id_)
        fields = fields_of(await body())
        identity.require_own(principal, push.device(principal.app_id, id_), id_)
        changes = _changes(fields, guard)
        if set(changes) - {"recipient"}:
            identity.require_admin(principal)
        device = await push.patch(principal.app_id, id_, **changes)
        return reply(described(broker, principal, device))

    @blueprint.get("/push/deviceRegistrations/<device_id>")
    @operation("getPushDeviceDetails", "A device", "Push", answer=DeviceDetails)
    async def get(device_id: str) -> Response:
        id_ = unquote(device_id)
        principal = caller(broker, id_)
        found = push.device(principal.app_id, id_)
        identity.require_own(principal, found, id_)
        device = identity.known(found)
        details = described(broker, principal, device)
        secret = push.secret(principal.app_id, device)
        if secret is not None and identity.is_admin(principal):
            details["deviceSecret"] = secret
        return reply(details)

    @blueprint.route("/push/deviceRegistrations/<device_id>/resetUpdateToken", methods=["GET"])
    @operation(
        "updatePushDeviceDetails",
        "Give a device another update token",
        "Push",
        answer=DeviceDetails,
    )
    async def reset_by_get(device_id: str) -> Response:
        return await _reset(broker, unquote(device_id))

    @blueprint.post("/push/deviceRegistrations/<device_id>/resetUpdateToken")
    @operation("resetUpdateToken", "The same", "Push", answer=DeviceDetails)
    async def reset(device_id: str) -> Response:
        return await _reset(broker, unquote(device_id))

    return blueprint


async def _reset(broker: Broker, id_: str) -> Response:
    principal = caller(broker, id_)
    found = broker.push.device(principal.app_id, id_)
    identity.require_own(principal, found, id_)
    if request.method == "HEAD":  # which comes with GET, and asks for no change
        return reply(described(broker, principal, identity.known(found)))
    token = identity.new_token_id()
    device = await broker.push.patch(principal.app_id, id_, update_token=token)
    return reply({**described(broker, principal, device), "updateToken": token})


def _permitted(principal: Principal, before: Device | None, spec: DeviceSpec) -> DeviceSpec:
    """A device as the caller may replace it. A device is not told whose it is by itself: it keeps
    its client and metadata. Raises Unauthorized 40160."""
    if before is None or not identity.is_device(principal, before):
        owner = identity.owner(principal, spec.client_id)
        return msgspec.structs.replace(spec, client_id=owner)
    kept = {"client_id": before.client_id, "metadata": before.metadata}
    if any(getattr(spec, name) not in (None, value) for name, value in kept.items()):
        identity.require_admin(principal)
    return msgspec.structs.replace(spec, **kept)


def _changes(fields: Any, guard: Guard) -> dict[str, Any]:
    """What a PATCH changes. Null takes a client or metadata away; what is given is whole."""
    changes: dict[str, Any] = {}
    push = fields.get("push")
    if isinstance(push, dict) and push.get("recipient") is not None:
        changes["recipient"] = read_recipient(push["recipient"], guard)
    if "clientId" in fields:
        client_id = fields["clientId"]
        changes["client_id"] = None if client_id in (None, "") else check_client_id(client_id)
    if "metadata" in fields:
        changes["metadata"] = read_metadata(fields["metadata"])
    return changes
