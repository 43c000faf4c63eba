"""Which channels are active: opened by the first attachment, member or publish, closed when nobody
was attached and nothing happened for a while (broker.live.idle_channels).

The events lie in one stream of the app, so that its channel lifecycle can be followed like any
other stream ([meta]channel.lifecycle).
"""

from collections.abc import Iterator

import msgspec

from broker.channels.registry import app_prefix, channel_key
from broker.events import ChannelCreated, ChannelOpened, Kind
from storage import OnTrim, Record, Rows, Stream, Table

TABLE = "active"


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
    """The projection: one row per active channel, holding its app and name."""

    name = TABLE
    prefix = b"v"
    kinds = frozenset({int(Kind.LIFECYCLE)})
    on_trim = OnTrim.KEEP

    def fold(self, table: Table, record: Record) -> None:
        app, channel = record.stream.app, record.event.channel
        if isinstance(record.event, ChannelOpened):
            table.put(channel_key(app, channel), _encode((app, channel)))
        else:
            table.delete(channel_key(app, channel))

    def unfold(self, table: Table, record: Record) -> None:
        raise AssertionError("what is active is kept when its events are trimmed")


_encode = msgspec.msgpack.Encoder().encode
_read = msgspec.msgpack.Decoder(tuple[str, str]).decode


def is_active(rows: Rows, app: str, channel: str) -> bool:
    return rows.get(TABLE, channel_key(app, channel)) is not None


def active(rows: Rows, app: str | None = None) -> Iterator[tuple[str, str]]:
    """(app, channel) of every active channel, of one app or of all."""
    for _, row in rows.scan(TABLE, app_prefix(app) if app is not None else b""):
        yield _read(row)
