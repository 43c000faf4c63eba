"""Which channels are active: opened by the first attachment, member or publish, closed when nobody
was attached and nothing happened for a while (broker.live.idle_channels).

The events lie in one stream of the app, so that its channel lifecycle can be followed like any
other stream ([meta]channel.lifecycle).
"""

from collections.abc import Iterator
from hashlib import blake2b

import msgspec

from broker.channels.registry import app_prefix, channel_key
from broker.event import Kind
from broker.events import ChannelCreated, ChannelOpened
from storage import OnTrim, Record, Rows, Stream, Table

TABLE = "active"
_DIGEST, _NAME = b"d", b"n"
_NAME_BYTES_MAX = 440
_DIGEST_BYTES = 16


def opening(
    rows: Rows, app: str, channel: str, events: list[tuple[Stream, object]]
) -> list[tuple[Stream, object]]:
    """`events` of a channel, with those that its first one implies."""
    if not events or is_active(rows, app, channel):
        return events
    if rows.get("channels", channel_key(app, channel)) is None:
        events.append((Stream(app, channel, Kind.CHANNEL), ChannelCreated()))
    events.append((Stream(app, "", Kind.LIFECYCLE), ChannelOpened(channel)))
    return events


class ActiveChannels:
    """The projection: two rows per active channel. One is found by the channel's digest, the other
    lies in the order of names, so that enumerating by prefix is a seek."""

    name = TABLE
    prefix = b"V"  # "v" was another form of these rows, which old snapshots may hold
    kinds = frozenset({int(Kind.LIFECYCLE)})
    on_trim = OnTrim.KEEP

    def fold(self, table: Table, record: Record) -> None:
        app, channel = record.stream.app, record.event.channel
        if isinstance(record.event, ChannelOpened):
            table.put(_digest_key(app, channel), b"")
            table.put(_name_key(app, channel), _encode((app, channel)))
        else:
            table.delete(_digest_key(app, channel))
            table.delete(_name_key(app, channel))

    def unfold(self, table: Table, record: Record) -> None:
        raise AssertionError("what is active is kept when its events are trimmed")


_encode = msgspec.msgpack.Encoder().encode
_read = msgspec.msgpack.Decoder(tuple[str, str]).decode


def _digest_key(app: str, channel: str) -> bytes:
    return _DIGEST + channel_key(app, channel)


def _name_key(app: str, channel: str) -> bytes:
    """LMDB keys are short: of a long name the beginning, and a digest of the whole."""
    name = channel.encode()
    if len(name) > _NAME_BYTES_MAX:
        name = name[:_NAME_BYTES_MAX] + blake2b(name, digest_size=_DIGEST_BYTES).digest()
    return _NAME + app_prefix(app) + name


def is_active(rows: Rows, app: str, channel: str) -> bool:
    return rows.get(TABLE, _digest_key(app, channel)) is not None


def active(rows: Rows, app: str | None = None) -> Iterator[tuple[str, str]]:
    """(app, channel) of every active channel, of one app or of all."""
    for _, row in rows.scan(TABLE, _NAME + app_prefix(app) if app is not None else _NAME):
        yield _read(row)


class ChannelsPage(msgspec.Struct, frozen=True):
    """`next`: what to give as `after` for the page behind this one, None when it was the last."""

    names: tuple[str, ...]
    next: bytes | None


def active_page(rows: Rows, app: str, prefix: str, after: bytes, limit: int) -> ChannelsPage:
    """At most `limit` active channels whose names begin with `prefix`, in the order of their
    names."""
    of_app = _NAME + app_prefix(app)
    beginning = of_app + prefix.encode()[:_NAME_BYTES_MAX]
    names: list[str] = []
    last = b""
    for key, row in rows.scan(TABLE, beginning, of_app + after if after else b""):
        channel = _read(row)[1]
        if not channel.startswith(prefix):  # of a prefix that is longer than what keys hold
            continue
        if len(names) == limit:
            return ChannelsPage(tuple(names), last)
        names.append(channel)
        last = key[len(of_app) :]
    return ChannelsPage(tuple(names), None)
