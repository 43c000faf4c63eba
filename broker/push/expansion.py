"""Who a notification is for, device by device, in an order that a cursor can go on in.

A publish to a channel of a hundred thousand devices is one event; who that is, is found out page by
page while it is delivered. A device that is subscribed itself and through its client, or to several
of the topics that are named, is found once.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple

from broker.push import registry
from broker.push.events import ABLY, MATRIX, Device, Selector, Subscription
from broker.push.rows import DIGEST_BYTES, subscribers_of
from storage import Rows

_TARGET_BYTES = 1 + DIGEST_BYTES
_NUMBER_BYTES = 2
_UNLESS_SAID = (ABLY, MATRIX)  # Matrix has no publish of its own


class Reached(NamedTuple):
    """`cursor`: behind which the next one is found."""

    cursor: bytes
    device: Device


class Page(NamedTuple):
    """`cursor`: where the next page begins; None when this was the last."""

    devices: tuple[Device, ...]
    cursor: bytes | None


def page(rows: Rows, app: str, selector: Selector, cursor: bytes, limit: int) -> Page:
    found = list(islice(_reached(rows, app, selector, cursor), limit + 1))
    devices = tuple(one.device for one in found[:limit])
    return Page(devices, found[limit - 1].cursor if len(found) > limit else None)


def _reached(rows: Rows, app: str, selector: Selector, cursor: bytes) -> Iterator[Reached]:
    for reached in _named(rows, app, selector, cursor):
        if _is_wanted(selector, reached.device):
            yield reached


def _is_wanted(selector: Selector, device: Device) -> bool:
    is_of = device.api in (selector.apis or _UNLESS_SAID)
    return is_of and (not selector.transports or device.transport in selector.transports)


def _named(rows: Rows, app: str, selector: Selector, cursor: bytes) -> Iterator[Reached]:
    if selector.device_id is not None:
        device = registry.device(rows, app, selector.device_id)
        if device is not None and not cursor:
            yield Reached(b"\xff", device)
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
            place = number.to_bytes(_NUMBER_BYTES, "big") + reached.cursor
            yield Reached(place, reached.device)


def _of_user(
    rows: Rows, app: str, selector: Selector, number: int, after: bytes
) -> Iterator[Reached]:
    user = selector.clients[number]
    if user in selector.clients[:number]:
        return
    for found in registry.client_devices(rows, app, user, after):
        if not selector.topics or _has_one(rows, app, selector, found.value, selector.topics):
            yield Reached(found.place, found.value)


def _of_topic(
    rows: Rows, app: str, selector: Selector, number: int, after: bytes
) -> Iterator[Reached]:
    """Those who have an earlier topic too were found there."""
    prefix = subscribers_of(app, selector.topics[number], selector.space)
    for found in registry.subscriptions(rows, prefix, after):
        device = registry.device(rows, app, found.value.device_id or "")
        earlier = selector.topics[:number]
        if device is not None and not _has_one(rows, app, selector, device, earlier):
            yield Reached(found.place, device)


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
            continue
        device = registry.device(rows, app, found.value.device_id)
        if device is not None:
            yield Reached(found.place, device)


def _at(rows: Rows, prefix: bytes, target: bytes) -> Iterator[Subscription]:
    for found in registry.subscriptions(rows, prefix + target):
        yield found.value


def _of_client(
    rows: Rows, app: str, subscription: Subscription, target: bytes, after: bytes
) -> Iterator[Reached]:
    for found in registry.client_devices(rows, app, subscription.client_id or "", after):
        own = Subscription(subscription.channel, device_id=found.value.id)
        if not registry.is_subscribed(rows, app, own):
            yield Reached(target + found.place, found.value)
