"""Devices and their subscriptions as they stand: the fold of an app's push stream, with look-ups.

The stream is kept whole: it holds one event for each change of a device, and nothing in it can be
read once the device is gone (broker.push.sealing).
"""

from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

import msgspec

from broker.channels.registry import app_prefix
from broker.event import Kind
from broker.push import rows as keys
from broker.push import topic_rows as topics
from broker.push.events import (
    ChannelSubscribed,
    ChannelUnsubscribed,
    Device,
    DeviceRegistered,
    DeviceRemoved,
    PushRemoved,
    Subscription,
    TopicsChanged,
)
from storage import OnTrim, Record, Rows, Stream, Table

TABLE = keys.TABLE
T = TypeVar("T")

_encode = msgspec.msgpack.Encoder().encode
_read_device = msgspec.msgpack.Decoder(Device).decode
_read_subscription = msgspec.msgpack.Decoder(Subscription).decode
_read_channel = msgspec.msgpack.Decoder(tuple[str, int]).decode


def stream_of(app: str) -> Stream:
    return Stream(app, "", Kind.PUSH)


class PushRegistry:
    """The projection."""

    name = TABLE
    prefix = b"h"
    kinds = frozenset({int(Kind.PUSH)})
    on_trim = OnTrim.KEEP

    def fold(self, table: Table, record: Record) -> None:
        app = record.stream.app
        match record.event:
            case DeviceRegistered(device):
                _put_device(table, app, device)
            case DeviceRemoved(device):
                _remove_device(table, app, device)
            case ChannelSubscribed(subscription):
                _subscribe(table, app, subscription)
            case ChannelUnsubscribed(subscription):
                _unsubscribe(table, app, subscription)
            case TopicsChanged():
                topics.fold(table, app, record.event)
            case PushRemoved():
                _remove_all(table, app)

    def unfold(self, table: Table, record: Record) -> None:
        raise AssertionError("devices are kept when their events are trimmed")


def _put_device(table: Table, app: str, device: Device) -> None:
    key = keys.device_key(app, device.id)
    row = table.get(key)
    for stale in _found_by(app, _read_device(row)) if row else ():
        table.delete(stale)
    for found_by in _found_by(app, device):
        table.put(found_by, device.id.encode())
    table.put(key, _encode(device))


def _found_by(app: str, device: Device) -> Iterator[bytes]:
    """The keys of the rows that lead to a device."""
    if device.client_id is not None:
        yield keys.client_key(app, device.client_id, device.id)
    if device.address:
        yield keys.address_key(app, device.address, device.id)


def _remove_device(table: Table, app: str, device: str) -> None:
    row = table.get(keys.device_key(app, device))
    if row is None:
        return
    for found_by in _found_by(app, _read_device(row)):
        table.delete(found_by)
    table.delete(keys.device_key(app, device))
    topics.forget(table, app, device)
    for _, found in list(table.scan(keys.subscriptions_of(app, device=device))):
        _unsubscribe(table, app, _read_subscription(found))


def _subscribe(table: Table, app: str, subscription: Subscription) -> None:
    key = keys.subscription_key(app, subscription)
    if table.get(key) is not None:
        return
    row = _encode(subscription)
    table.put(key, row)
    table.put(keys.target_key(app, subscription), row)
    _count(table, app, subscription.channel, 1)


def _unsubscribe(table: Table, app: str, subscription: Subscription) -> None:
    key = keys.subscription_key(app, subscription)
    if table.get(key) is None:
        return
    table.delete(key)
    table.delete(keys.target_key(app, subscription))
    _count(table, app, subscription.channel, -1)


def _count(table: Table, app: str, channel: str, step: int) -> None:
    key = keys.channel_name_key(app, channel)
    row = table.get(key)
    count = (_read_channel(row)[1] if row else 0) + step
    if count:
        table.put(key, _encode((channel, count)))
    else:
        table.delete(key)


def _remove_all(table: Table, app: str) -> None:
    for what in keys.OF_AN_APP:
        for key, _ in list(table.scan(what + app_prefix(app))):
            table.delete(key)


def device(rows: Rows, app: str, id_: str) -> Device | None:
    row = rows.get(TABLE, keys.device_key(app, id_))
    return _read_device(row) if row else None


def is_subscribed(rows: Rows, app: str, subscription: Subscription) -> bool:
    return rows.get(TABLE, keys.subscription_key(app, subscription)) is not None


class Found(NamedTuple, Generic[T]):
    """`place`: where it stands in the order that it was found in; what a page begins behind."""

    place: bytes
    value: T


def devices(
    rows: Rows, app: str, after: bytes = b"", api: str | None = None
) -> Iterator[Found[Device]]:
    """Every device of an app, or those registered over one API, in an order of their own."""
    prefix = keys.DEVICE + app_prefix(app)
    for key, row in rows.scan(TABLE, prefix, prefix + after if after else b""):
        found = _read_device(row)
        if api in (None, found.api):
            yield Found(key[len(prefix) :], found)


def addressed(rows: Rows, app: str, address: bytes) -> Iterator[Device]:
    """The devices with an address."""
    for _, row in rows.scan(TABLE, keys.addressed(app, address)):
        found = device(rows, app, row.decode())
        if found is not None:
            yield found


def client_devices(
    rows: Rows, app: str, client: str, after: bytes = b"", api: str | None = None
) -> Iterator[Found[Device]]:
    prefix = keys.devices_of(app, client)
    for key, row in rows.scan(TABLE, prefix, prefix + after if after else b""):
        found = device(rows, app, row.decode())
        if found is not None and api in (None, found.api):
            yield Found(key[len(prefix) :], found)


def subscriptions(rows: Rows, prefix: bytes, after: bytes = b"") -> Iterator[Found[Subscription]]:
    """`prefix`: of broker.push.rows, what begins the rows that are looked for."""
    for key, row in rows.scan(TABLE, prefix, prefix + after if after else b""):
        yield Found(key[len(prefix) :], _read_subscription(row))


def channels(rows: Rows, app: str, after: bytes = b"") -> Iterator[Found[str]]:
    """The names of channels with subscriptions, in their order."""
    prefix = keys.CHANNEL + app_prefix(app)
    for key, row in rows.scan(TABLE, prefix, prefix + after if after else b""):
        yield Found(key[len(prefix) :], _read_channel(row)[0])
