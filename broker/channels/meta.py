"""Metachannels: what happens to an app's connections and channels, as messages (reference 3.9).

`[meta]connection.lifecycle` and `[meta]channel.lifecycle` are views of streams that exist anyway,
so they can be resumed and rewound like any channel. `[meta]log` is a stream of its own, written
by `broker.live.app_log`. Nothing can be published to any of them by a client.
"""

import msgspec

from broker.channels.channel_name import ChannelName
from broker.event import Kind
from broker.events import (
    ChannelClosed,
    ChannelOpened,
    ConnectionClosed,
    ConnectionExpired,
    ConnectionLost,
    ConnectionOpened,
    ConnectionResumed,
)
from broker.live.hub import ChannelKey
from broker.messages.message import Message
from storage import Record

QUALIFIER = "meta"
OCCUPANCY = "occupancy"
LOG = "log"
_VIEWS = {
    "connection.lifecycle": Kind.CONNECTIONS,
    "channel.lifecycle": Kind.LIFECYCLE,
}
_NAMES: dict[type, str] = {
    ConnectionOpened: "connection.opened",
    ConnectionResumed: "connection.resumed",
    ConnectionLost: "connection.disconnected",
    ConnectionClosed: "connection.closed",
    ConnectionExpired: "connection.expired",
    ChannelOpened: "channel.opened",
    ChannelClosed: "channel.closed",
}


def followed(app: str, name: ChannelName) -> tuple[ChannelKey, tuple[Kind, ...]]:
    """Where what a metachannel shows is found in the log."""
    if name.name in _VIEWS:
        return ChannelKey(app, ""), (_VIEWS[name.name],)
    return log_key(app, name.name), (Kind.EPHEMERAL,)


def log_key(app: str, name: str = LOG) -> ChannelKey:
    """A channel that no client can name is where a metachannel's own messages lie."""
    return ChannelKey(app, f"[{QUALIFIER}]{name}")


def message(record: Record) -> Message | None:
    """What a lifecycle event is told as; None for one that is nobody's business."""
    name = _NAMES.get(type(record.event))
    if name is None:
        return None
    return Message(
        id=f"{record.serial:x}:0",
        name=name,
        data=msgspec.json.encode(_data(record.event)).decode(),
        encoding="json",
    )


def _data(event: object) -> dict[str, object]:
    if isinstance(event, ChannelOpened | ChannelClosed):
        active = isinstance(event, ChannelOpened)
        return {"channelId": event.channel, "name": event.channel, "status": {"isActive": active}}
    client_id = getattr(event, "client_id", None)
    data: dict[str, object] = {"connectionId": getattr(event, "connection", "")}
    return data if client_id is None else {**data, "clientId": client_id}
