"""Removing devices: commands, and what they come to.

However many there are, no transaction is long: one command looks at LOOKED_AT_MAX devices at most,
and removes about REMOVED_AT_ONCE, fewer of those with many topics. Its reply says where the next
one goes on.
"""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from broker.push import registry, topic_rows
from broker.push.events import Device, DeviceRemoved, PushRemoved
from broker.push.registry import Found, stream_of
from storage import Decision, Rows
from storage.projection import Decide

REMOVED_AT_ONCE = 500
LOOKED_AT_MAX = 5_000
TOPICS_AS_ONE = 100  # so many topics are removed in the time of a device


class RemoveDevices(msgspec.Struct, frozen=True):
    """Remove one device (while it has its address `rev`, where that is given), those of a client,
    or all; of one API or of any; but none that was changed after `until_ms`. `after`: those behind
    this place. Decision.reply: a Removed."""

    app: str
    device: str | None = None
    client: str | None = None
    api: str | None = None
    rev: int | None = None
    until_ms: int | None = None
    after: bytes = b""


class Removed(NamedTuple):
    """The ids of those removed, and behind which place there may be more."""

    ids: tuple[str, ...]
    next: bytes | None


class RemovePush(msgspec.Struct, frozen=True):
    """Of a deleted app."""

    app: str


def remove(rows: Rows, command: RemoveDevices, ms: int) -> Decision:
    removed = _removed(rows, command)
    stream = stream_of(command.app)
    return Decision([(stream, DeviceRemoved(id_)) for id_ in removed.ids], reply=removed)


def _removed(rows: Rows, command: RemoveDevices) -> Removed:
    ids: list[str] = []
    place, weight = command.after, 0
    for number, (next_place, device) in enumerate(_named(rows, command)):
        is_meant = _is_meant(command, device)
        if is_meant:
            weight += 1 + topic_rows.count_all(rows, command.app, device.id) // TOPICS_AS_ONE
        if number == LOOKED_AT_MAX or (is_meant and ids and weight > REMOVED_AT_ONCE):
            return Removed(tuple(ids), place)
        if is_meant:
            ids.append(device.id)
        place = next_place
    return Removed(tuple(ids), None)


def _named(rows: Rows, command: RemoveDevices) -> Iterator[Found[Device]]:
    if command.device is not None:
        device = registry.device(rows, command.app, command.device)
        return iter(() if device is None else (Found(b"", device),))
    if command.client is not None:
        return registry.client_devices(rows, command.app, command.client, command.after)
    return registry.devices(rows, command.app, command.after)


def _is_meant(command: RemoveDevices, device: Device) -> bool:
    return (
        command.api in (None, device.api)
        and command.rev in (None, device.rev)
        and (command.until_ms is None or device.modified_ms <= command.until_ms)
    )


def remove_push(rows: Rows, command: RemovePush, ms: int) -> Decision:
    if next(registry.devices(rows, command.app), None) is None and (
        next(registry.channels(rows, command.app), None) is None
    ):
        return Decision()
    return Decision([(stream_of(command.app), PushRemoved())])


DECIDE: dict[type, Decide] = {
    RemoveDevices: remove,
    RemovePush: remove_push,
}
