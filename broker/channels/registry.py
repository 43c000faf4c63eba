"""Which channels exist: one row per channel, made by its first event and kept when it is trimmed.

Row keys are digests, for names are the users' and LMDB keys are short; the row holds the name.
"""

from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b

import msgspec

from broker.event import Kind
from broker.events import ChannelCreated, ChannelRemoved
from storage import OnTrim, Record, Rows, Table
from storage.serial import ms_of

TABLE = "channels"
_APP_BYTES = 8
_NAME_BYTES = 16


class ChannelInfo(msgspec.Struct, frozen=True):
    app: str
    name: str
    created_ms: int


_encode = msgspec.msgpack.Encoder().encode
_read = msgspec.msgpack.Decoder(ChannelInfo).decode


@lru_cache(maxsize=65_536)
def channel_key(app: str, channel: str) -> bytes:
    """24 bytes; the channels of an app are neighbours."""
    return app_prefix(app) + blake2b(channel.encode(), digest_size=_NAME_BYTES).digest()


def app_prefix(app: str) -> bytes:
    return blake2b(app.encode(), digest_size=_APP_BYTES).digest()


class Channels:
    """The projection."""

    name = TABLE
    prefix = b"c"
    kinds = frozenset({int(Kind.CHANNEL)})
    on_trim = OnTrim.KEEP

    def fold(self, table: Table, record: Record) -> None:
        app, channel, _ = record.stream
        match record.event:
            case ChannelCreated():
                row = _encode(ChannelInfo(app, channel, ms_of(record.serial)))
                table.put(channel_key(app, channel), row)
            case ChannelRemoved():
                table.delete(channel_key(app, channel))

    def unfold(self, table: Table, record: Record) -> None:
        raise AssertionError("channels are kept when they are trimmed")


def channels(rows: Rows, app: str) -> Iterator[ChannelInfo]:
    """Every channel of an app, in no order that means anything."""
    for _, value in rows.scan(TABLE, app_prefix(app)):
        found = _read(value)
        if found.app == app:
            yield found


def channel(rows: Rows, app: str, name: str) -> ChannelInfo | None:
    value = rows.get(TABLE, channel_key(app, name))
    return _read(value) if value else None
