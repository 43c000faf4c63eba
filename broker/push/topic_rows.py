"""What devices are subscribed to beside Ably's channels, as rows: interests of Beams, and channels
of Matrix pushers (reference push.md 5.1). Part of the fold of broker.push.registry.

The names of a space are short, so that a device's topics are in the order of their names.
"""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from broker.push import rows as keys
from broker.push.events import Subscription, TopicsChanged
from storage import Rows, Table

_encode = msgspec.msgpack.Encoder().encode
_ON, _OFF = b"1", b"0"


class Topic(NamedTuple):
    name: str
    is_on: bool


def fold(table: Table, app: str, event: TopicsChanged) -> None:
    before = _count(table.get(keys.topic_count_key(app, event.device, event.space)))
    step = 0
    for names, value in ((event.on, _ON), (event.off, _OFF), (event.gone, None)):
        for name in names:
            step += _put(table, app, event, name, value)
    key = keys.topic_count_key(app, event.device, event.space)
    if before + step:
        table.put(key, b"%d" % (before + step))
    elif before:
        table.delete(key)


def _put(table: Table, app: str, event: TopicsChanged, name: str, value: bytes | None) -> int:
    """By how many the device has more topics then."""
    key = keys.topic_key(app, event.device, event.space, name)
    was = table.get(key)
    subscription = Subscription(name, device_id=event.device, space=event.space)
    if value == _ON:
        table.put(keys.subscription_key(app, subscription), _encode(subscription))
    elif was == _ON:
        table.delete(keys.subscription_key(app, subscription))
    if value is not None:
        table.put(key, value)
    elif was is not None:
        table.delete(key)
    return (value is not None) - (was is not None)


def forget(table: Table, app: str, device: str) -> None:
    """All topics of a device that is removed."""
    prefix = keys.topics_of(app, device)
    for key, value in list(table.scan(prefix)):
        table.delete(key)
        if value == _ON:
            space, _, name = key[len(prefix) :].decode().partition("\0")
            subscription = Subscription(name, device_id=device, space=space)
            table.delete(keys.subscription_key(app, subscription))
    for key, _ in list(table.scan(keys.topic_counts_of(app, device))):
        table.delete(key)


def count(rows: Rows, app: str, device: str, space: str) -> int:
    """How many topics a device has, those that are off too."""
    return _count(rows.get(keys.TABLE, keys.topic_count_key(app, device, space)))


def count_all(rows: Rows, app: str, device: str) -> int:
    """Of all spaces."""
    counts = rows.scan(keys.TABLE, keys.topic_counts_of(app, device))
    return sum(_count(row) for _, row in counts)


def _count(row: bytes | None) -> int:
    return int(row) if row else 0


def topic(rows: Rows, app: str, device: str, space: str, name: str) -> Topic | None:
    value = rows.get(keys.TABLE, keys.topic_key(app, device, space, name))
    return None if value is None else Topic(name, value == _ON)


def topics(rows: Rows, app: str, device: str, space: str, after: str = "") -> Iterator[Topic]:
    """A device's topics of a space by name; `after`: behind this name."""
    prefix = keys.topics_of(app, device, space)
    start = prefix + after.encode()[: keys.TOPIC_BYTES_MAX] if after else b""
    for key, value in rows.scan(keys.TABLE, prefix, start):
        yield Topic(key[len(prefix) :].decode(), value == _ON)
