"""The protocol's messages, as far as the load needs them, and what a client sends."""

from collections.abc import Callable
from typing import Any

import msgspec

from bench.realtime.frames import JSON, Format

HEARTBEAT, ACK, NACK = 0, 1, 2
CONNECTED, DISCONNECTED, CLOSED, ERROR = 4, 6, 8, 9
ATTACH, ATTACHED, DETACHED, PRESENCE, MESSAGE = 10, 11, 13, 14, 15
ENTER, LEAVE, UPDATE = 2, 3, 4

# what an ATTACH asks for
PRESENCE_MODE, PUBLISH_MODE, SUBSCRIBE_MODE, PRESENCE_SUBSCRIBE_MODE = (
    1 << 16,
    1 << 17,
    1 << 18,
    1 << 19,
)


class Details(msgspec.Struct):
    connectionKey: str = ""  # noqa: N815


class Item(msgspec.Struct):
    """A message, or a presence message with its action."""

    data: Any = ""
    action: int = 0


class Received(msgspec.Struct):
    action: int
    channel: str = ""
    count: int = 1
    msgSerial: int = 0  # noqa: N815
    channelSerial: str = ""  # noqa: N815
    connectionId: str = ""  # noqa: N815
    connectionDetails: Details | None = None  # noqa: N815
    messages: list[Item] = []
    presence: list[Item] = []
    error: dict[str, Any] | None = None


def reader(spoken: Format) -> Callable[[bytes], Received]:
    coding = msgspec.json if spoken is JSON else msgspec.msgpack
    read: Callable[[bytes], Received] = coding.Decoder(Received).decode
    return read


def body_of(item: Item) -> bytes:
    """What is neither text nor bytes is not of our making, and the checker is to see that."""
    if isinstance(item.data, bytes):
        return item.data
    return item.data.encode() if isinstance(item.data, str) else repr(item.data).encode()
