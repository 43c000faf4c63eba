"""`/device_api/v1/instances/<instance>/devices/<platform>/<device>`: which device a path names.

A device is found only with its own instance and platform. An id that no device can have is not
found either, except on routes for which Beams' documents have an error of its own.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from api.beams.errors import (
    DEVICE_NOT_FOUND,
    NO_DEVICE_ID,
    TOO_MANY_DEVICES,
    TOO_MANY_INTERESTS,
    USER_IS_SET,
    BeamsError,
    Refusal,
)
from api.beams.paths import find_instance, instance_id, required
from api.beams.platforms import PLATFORMS
from broker import Broker
from broker.beams.instances import Instance
from broker.beams.service import new_uuid
from broker.errors import BrokerError, NotFound
from broker.push.events import BEAMS, Device
from broker.push.registration import AlreadyBound, TooManyDevices
from broker.push.topics import TooManyTopics

DEVICES = "/device_api/v1/instances/<segment:instance>/devices"
PLATFORM = f"{DEVICES}/<any({', '.join(PLATFORMS)}):platform>"
DEVICE = f"{PLATFORM}/<segment:device>"
_ID = re.compile(rf"({'|'.join(PLATFORMS)})-[0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}")

# What a broker says of a device, as Beams says it.
_REFUSALS: dict[type[BrokerError], Refusal] = {
    NotFound: DEVICE_NOT_FOUND,
    AlreadyBound: USER_IS_SET,
    TooManyDevices: TOO_MANY_DEVICES,
    TooManyTopics: TOO_MANY_INTERESTS,
}


class DevicePath(NamedTuple):
    """What a path names, there or not."""

    instance: str
    platform: str
    device: str

    @property
    def is_possible(self) -> bool:
        """Whether a device may have this id, of any platform."""
        return _ID.fullmatch(self.device) is not None

    @property
    def is_of_platform(self) -> bool:
        found = _ID.fullmatch(self.device)
        return found is not None and found[1] == self.platform


def named(
    instance: str, platform: str, device: str, impossible: Refusal | None = None
) -> DevicePath:
    """The parts of a path. `impossible`: what is said of an id that no device can have."""
    path = DevicePath(instance_id(instance), platform, required(device, NO_DEVICE_ID))
    if impossible is not None and not path.is_possible:
        raise BeamsError(impossible)
    return path


def new_id(platform: str) -> str:
    return f"{platform}-{new_uuid()}"


def find(broker: Broker, path: DevicePath) -> tuple[Instance, Device]:
    """The instance and the device of a path."""
    instance = find_instance(broker, path.instance)
    return instance, find_device(broker, instance, path)


def find_device(broker: Broker, instance: Instance, path: DevicePath) -> Device:
    found = None
    if path.is_of_platform:
        found = broker.push.device(instance.app, path.device, BEAMS)
    if found is None:
        raise BeamsError(DEVICE_NOT_FOUND)
    return found


@contextmanager
def as_refusals() -> Iterator[None]:
    """What the broker refuses to do with a device, as Beams says it."""
    try:
        yield
    except tuple(_REFUSALS) as error:
        raise BeamsError(_REFUSALS[type(error)]) from None
