"""Registering devices and changing them: commands, and what they come to.

Who may do it, and whether what was sent makes sense, was judged before (broker.push.service). Here
is judged what depends on the devices that are there: whose id, address or user it is already, and
how many of a kind there may be.
"""

from enum import Enum
from itertools import islice
from typing import NamedTuple

import msgspec

from broker import tenancy
from broker.errors import BadRequest, NotFound
from broker.push import registry
from broker.push.events import Device, DeviceRegistered, DeviceRemoved, TopicsChanged
from broker.push.registry import stream_of
from storage import Decision, Rows, Stream
from storage.projection import Decide

SHARED_MAX = 100  # devices with one address: whoever replaces them does so in one event each


class OnTaken(Enum):
    """What becomes of others of a device's API that have its address: they SHARE it, the newcomer
    is REFUSEd for the first of them (AddressTaken), or it REPLACEs them."""

    SHARE = "share"
    REFUSE = "refuse"
    REPLACE = "replace"


IDENTITY = ("token_id", "update_token")
OWNER = ("client_id",)


class RegisterDevice(msgspec.Struct, frozen=True):
    """Make a device, or replace it. What only the broker knows of it is kept: when it was made,
    how many addresses it had, and the fields that `keep` names. `is_known`: it is there, with this
    address, or AddressMoved. A new one is subscribed to `topics` of a `space`; its client may have
    `limit` of them. Decision.reply: a Registered."""

    app: str
    device: Device
    keep: tuple[str, ...] = ()
    on_taken: OnTaken = OnTaken.SHARE
    is_known: bool = False
    limit: int | None = None
    topics: tuple[str, ...] = ()
    space: str = ""


class Registered(NamedTuple):
    """The device as it is, and the ids of those that it replaced."""

    device: Device
    replaced: tuple[str, ...] = ()


class AddressTaken(BadRequest):
    """`device`: who has it."""

    def __init__(self, device: str) -> None:
        super().__init__("another device has this address")
        self.device = device


class AddressMoved(BadRequest):
    """The device that had the address has another one now, or is gone."""

    def __init__(self) -> None:
        super().__init__("the device with this address has another one now")


class TooManyShare(BadRequest):
    """As many devices have the address as may have one."""

    def __init__(self) -> None:
        super().__init__(f"{SHARED_MAX} other devices have this address")


class AnotherApis(BadRequest):
    """The id is that of a device which was registered over another API."""

    def __init__(self) -> None:
        super().__init__("a device of another API has this id")


class AlreadyBound(BadRequest):
    """The device is another user's."""

    def __init__(self) -> None:
        super().__init__("the device is another user's")


class TooManyDevices(BadRequest):
    """The user has as many devices of a kind as a user may have."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"a user may have {limit} such devices", 40000, 422)


class PatchDevice(msgspec.Struct, frozen=True):
    """Change what is given of a device. Of `client_id` and `metadata` None takes it away."""

    app: str
    id: str
    client_id: str | msgspec.UnsetType | None = msgspec.UNSET
    metadata: dict[str, object] | msgspec.UnsetType | None = msgspec.UNSET
    transport: str | None = None
    recipient: bytes | None = None
    address: bytes = b""
    update_token: str | None = None
    on_taken: OnTaken = OnTaken.SHARE


class BindUser(msgspec.Struct, frozen=True):
    """Make a device a user's, who may have `limit` devices of its API and transport. One that is
    another's stays that: AlreadyBound."""

    app: str
    id: str
    user: str
    limit: int


class ReportDevice(msgspec.Struct, frozen=True):
    """What came of attempts to reach a device at its address `rev`."""

    app: str
    id: str
    rev: int
    state: str
    failures: int
    error: dict[str, object] | None = None


def register(rows: Rows, command: RegisterDevice, ms: int) -> Decision:
    tenancy.require_app(rows, command.app)
    before = registry.device(rows, command.app, command.device.id)
    if before and before.api != command.device.api:
        raise AnotherApis
    if command.is_known and (before is None or before.address != command.device.address):
        raise AddressMoved
    kept = {name: getattr(before, name) for name in command.keep} if before else {}
    device = msgspec.structs.replace(
        command.device,
        created_ms=before.created_ms if before else ms,
        rev=before.rev + 1 if before else 1,
        modified_ms=ms,
        updated_ms=ms,
        **kept,
    )
    if before is None and command.limit is not None and device.client_id is not None:
        _require_room(rows, command.app, device, device.client_id, command.limit)
    decision = _registered(rows, command.app, device, command.on_taken)
    if before is not None or not command.topics:
        return decision
    subscribed = TopicsChanged(device.id, command.space, on=command.topics)
    events = [*decision.events, (stream_of(command.app), subscribed)]
    return Decision(events, reply=decision.reply)


def _registered(rows: Rows, app: str, device: Device, on_taken: OnTaken) -> Decision:
    others = _others(rows, app, device) if device.address else ()
    if others and on_taken is OnTaken.REFUSE:
        raise AddressTaken(others[0])
    if len(others) >= SHARED_MAX and on_taken is OnTaken.SHARE:
        raise TooManyShare
    replaced = others if on_taken is OnTaken.REPLACE else ()
    stream = stream_of(app)
    events: list[tuple[Stream, object]] = [(stream, DeviceRemoved(id_)) for id_ in replaced]
    return Decision(
        [*events, (stream, DeviceRegistered(device))], reply=Registered(device, replaced)
    )


def _others(rows: Rows, app: str, device: Device) -> tuple[str, ...]:
    """The ids of those of its API with the same address, who are no more than SHARED_MAX."""
    holders = registry.addressed(rows, app, device.address)
    return tuple(one.id for one in holders if one.id != device.id and one.api == device.api)


def patch(rows: Rows, command: PatchDevice, ms: int) -> Decision:
    """Decision.reply: a Registered."""
    before = registry.device(rows, command.app, command.id)
    if before is None:
        raise NotFound("there is no such device")
    changes: dict[str, object] = {"modified_ms": ms}
    for name in ("client_id", "metadata"):
        if (value := getattr(command, name)) is not msgspec.UNSET:
            changes[name] = value
    if command.update_token is not None:
        changes["update_token"] = command.update_token
    if command.recipient is not None:
        changes |= {
            "recipient": command.recipient,
            "address": command.address,
            "transport": command.transport or before.transport,
            "rev": before.rev + 1,
            "updated_ms": ms,
            "state": "ACTIVE",
            "failures": 0,
            "error": None,
        }
    device = msgspec.structs.replace(before, **changes)
    return _registered(rows, command.app, device, command.on_taken)


def bind(rows: Rows, command: BindUser, ms: int) -> Decision:
    before = registry.device(rows, command.app, command.id)
    if before is None:
        raise NotFound("there is no such device")
    if before.client_id == command.user:
        return Decision()
    if before.client_id is not None:
        raise AlreadyBound
    _require_room(rows, command.app, before, command.user, command.limit)
    device = msgspec.structs.replace(before, client_id=command.user, modified_ms=ms)
    return _one(command.app, DeviceRegistered(device))


def _require_room(rows: Rows, app: str, device: Device, user: str, limit: int) -> None:
    """Raises TooManyDevices unless the user may have one more device of this kind."""
    like_it = (
        found
        for found in registry.client_devices(rows, app, user, api=device.api)
        if found.value.transport == device.transport
    )
    if sum(1 for _ in islice(like_it, limit)) >= limit:
        raise TooManyDevices(limit)


def report(rows: Rows, command: ReportDevice, ms: int) -> Decision:
    """What is told of an address that the device has no more says nothing of the one it has. An
    address that is dead stays dead: whoever says otherwise began before that was known."""
    before = registry.device(rows, command.app, command.id)
    if before is None or before.rev != command.rev or before.state == "FAILED":
        return Decision()
    device = msgspec.structs.replace(
        before, state=command.state, failures=command.failures, error=command.error
    )
    return Decision() if device == before else _one(command.app, DeviceRegistered(device))


def _one(app: str, event: object) -> Decision:
    return Decision([(stream_of(app), event)])


DECIDE: dict[type, Decide] = {
    RegisterDevice: register,
    PatchDevice: patch,
    BindUser: bind,
    ReportDevice: report,
}
