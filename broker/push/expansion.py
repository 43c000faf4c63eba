"""Who a notification is for, device by device, in an order that a cursor can go on in.

A publish to a channel of a hundred thousand devices is one event; who that is, is found out page by
page while it is delivered. A device that is subscribed itself and through its client, or to several
of the topics that are named, is found once.

A page is bounded in whom it finds and in whom it looks at, so it may hold few of many, or nobody.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from broker.push import registry
from broker.push.events import ABLY, MATRIX, Device, Selector, Subscription
from broker.push.rows import DIGEST_BYTES, digest, subscribers_of, target_of
from storage import Rows

LOOKED_AT_MAX = 2_000
_TARGET_BYTES = 1 + DIGEST_BYTES
_NUMBER_BYTES = 2
_AT_ONCE = b"\xff"
_BEHIND_ALL = b"\xff" * DIGEST_BYTES  # of a client's devices
_UNLESS_SAID = (ABLY, MATRIX)  # Matrix has no publish of its own


class Reached(NamedTuple):
    """`cursor`: behind which the next one is found. `device`: None where there is nobody for this
    notification, or not in this place."""

    cursor: bytes
    device: Device | None


class Page(NamedTuple):
    """`cursor`: where the next page begins; None when this was the last."""

    devices: tuple[Device, ...]
    cursor: bytes | None


def page(rows: Rows, app: str, selector: Selector, cursor: bytes, limit: int) -> Page:
    devices: list[Device] = []
    last = cursor
    for number, reached in enumerate(_named(rows, app, selector, cursor)):
        device = reached.device
        is_wanted = device is not None and _is_wanted(selector, device)
        if number == LOOKED_AT_MAX or (is_wanted and len(devices) == limit):
            return Page(tuple(devices), last)
        if device is not None and is_wanted:
            devices.append(device)
        last = reached.cursor
    return Page(tuple(devices), None)


def place_of(rows: Rows, app: str, selector: Selector, device: Device) -> bytes | None:
    """The cursor that a device is reached at; None if it is not. Cursors grow on the way."""
    if not _is_wanted(selector, device):
        return None
    if selector.device_id is not None:
        return _AT_ONCE if selector.device_id == device.id else None
    if selector.client_id is not None:
        return digest(device.id) if selector.client_id == device.client_id else None
    if selector.channel is not None:
        return _place_in_channel(rows, app, selector.channel, device)
    topics = (
        n for n, t in enumerate(selector.topics) if _has_one(rows, app, selector, device, (t,))
    )
    topic = next(topics, None)
    if selector.clients:
        return _place_of_user(selector, device, is_named=not selector.topics or topic is not None)
    if topic is None:
        return None
    return _numbered(topic) + target_of(Subscription("", device_id=device.id))


def _place_of_user(selector: Selector, device: Device, is_named: bool) -> bytes | None:
    if device.client_id not in selector.clients or not is_named:
        return None
    return _numbered(selector.clients.index(device.client_id)) + digest(device.id)


def _place_in_channel(rows: Rows, app: str, channel: str, device: Device) -> bytes | None:
    own = Subscription(channel, device_id=device.id)
    if registry.is_subscribed(rows, app, own):
        return target_of(own)
    if device.client_id is None:
        return None
    of_client = Subscription(channel, client_id=device.client_id)
    is_subscribed = registry.is_subscribed(rows, app, of_client)
    return target_of(of_client) + digest(device.id) if is_subscribed else None


def _is_wanted(selector: Selector, device: Device) -> bool:
    is_of = device.api in (selector.apis or _UNLESS_SAID)
    return is_of and (not selector.transports or device.transport in selector.transports)


def _named(rows: Rows, app: str, selector: Selector, cursor: bytes) -> Iterator[Reached]:
    if selector.device_id is not None:
        device = registry.device(rows, app, selector.device_id)
        if device is not None and not cursor:
            yield Reached(_AT_ONCE, device)
    elif selector.client_id is not None:
        for found in registry.client_devices(rows, app, selector.client_id, cursor):
            yield Reached(found.place, found.value)
    elif selector.channel is not None:
        yield from _of_channel(rows, app, selector.channel, cursor)
    elif selector.clients:
        yield from _one_by_one(selector.clients, cursor, partial(_of_user, rows, app, selector))
    elif selector.topics:
        yield from _one_by_one(selector.topics, cursor, partial(_of_topic, rows, app, selector))


def _one_by_one(
    names: Sequence[str], cursor: bytes, of: Callable[[int, bytes], Iterator[Reached]]
) -> Iterator[Reached]:
    """The devices of one name after the other. A cursor is the name's number, and one within."""
    first, within = int.from_bytes(cursor[:_NUMBER_BYTES], "big"), cursor[_NUMBER_BYTES:]
    for number in range(first, len(names)):
        for reached in of(number, within if number == first else b""):
            yield Reached(_numbered(number) + reached.cursor, reached.device)


def _numbered(number: int) -> bytes:
    return number.to_bytes(_NUMBER_BYTES, "big")


def _of_user(
    rows: Rows, app: str, selector: Selector, number: int, after: bytes
) -> Iterator[Reached]:
    user = selector.clients[number]
    if user in selector.clients[:number]:
        return
    for found in registry.client_devices(rows, app, user, after):
        topics = selector.topics
        is_named = not topics or _has_one(rows, app, selector, found.value, topics)
        yield Reached(found.place, found.value if is_named else None)


def _of_topic(
    rows: Rows, app: str, selector: Selector, number: int, after: bytes
) -> Iterator[Reached]:
    """Those who have an earlier topic too were found there."""
    prefix = subscribers_of(app, selector.topics[number], selector.space)
    for found in registry.subscriptions(rows, prefix, after):
        device = registry.device(rows, app, found.value.device_id or "")
        earlier = selector.topics[:number]
        was_found = device is not None and _has_one(rows, app, selector, device, earlier)
        yield Reached(found.place, None if was_found else device)


def _has_one(
    rows: Rows, app: str, selector: Selector, device: Device, topics: Sequence[str]
) -> bool:
    return any(
        registry.is_subscribed(rows, app, Subscription(topic, device.id, space=selector.space))
        for topic in topics
    )


def _of_channel(rows: Rows, app: str, channel: str, cursor: bytes) -> Iterator[Reached]:
    """A cursor is the place of a subscription; of a client's, the place of its device too."""
    prefix = subscribers_of(app, channel)
    target, within = cursor[:_TARGET_BYTES], cursor[_TARGET_BYTES:]
    if within:
        row = next(_at(rows, prefix, target), None)
        if row is not None:
            yield from _of_client(rows, app, row, target, within)
    for found in registry.subscriptions(rows, prefix, target):
        if found.value.device_id is None:
            yield from _of_client(rows, app, found.value, found.place, b"")
            yield Reached(found.place + _BEHIND_ALL, None)
        else:
            yield Reached(found.place, registry.device(rows, app, found.value.device_id))


def _at(rows: Rows, prefix: bytes, target: bytes) -> Iterator[Subscription]:
    for found in registry.subscriptions(rows, prefix + target):
        yield found.value


def _of_client(
    rows: Rows, app: str, subscription: Subscription, target: bytes, after: bytes
) -> Iterator[Reached]:
    for found in registry.client_devices(rows, app, subscription.client_id or "", after):
        own = Subscription(subscription.channel, device_id=found.value.id)
        is_found_itself = registry.is_subscribed(rows, app, own)
        yield Reached(target + found.place, None if is_found_itself else found.value)
