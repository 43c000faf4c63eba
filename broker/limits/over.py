"""What it is called to be over a limit: a limit by its setting's name, its code, its words.

The codes are Ably's. It has none for keys, which get the general one.
"""

from typing import NamedTuple

import msgspec

from broker.errors import BrokerError, Overloaded

GENERAL = 42910
CONNECTION_RATE = 42911
CHANNEL_RATE = 42913
CHANNEL_BANDWIDTH = 42914
APP_MESSAGES = 42917
APP_REQUESTS = 42918
FRAMES = 42924
TOO_MANY_CONNECTIONS = 40111


class Limit(NamedTuple):
    code: int
    what: str


LIMITS: dict[str, Limit] = {
    "app_messages_per_s": Limit(APP_MESSAGES, "messages a second in this app"),
    "key_messages_per_s": Limit(GENERAL, "messages a second with this key"),
    "connection_messages_per_s": Limit(CONNECTION_RATE, "messages a second on this connection"),
    "channel_messages_per_s": Limit(CHANNEL_RATE, "messages a second on this channel"),
    "app_bytes_per_s": Limit(APP_MESSAGES, "bytes a second in this app"),
    "key_bytes_per_s": Limit(GENERAL, "bytes a second with this key"),
    "connection_bytes_per_s": Limit(CONNECTION_RATE, "bytes a second on this connection"),
    "channel_bytes_per_s": Limit(CHANNEL_BANDWIDTH, "bytes a second on this channel"),
    "app_requests_per_s": Limit(APP_REQUESTS, "requests a second in this app"),
    "key_requests_per_s": Limit(GENERAL, "requests a second with this key"),
    "connection_frames_per_s": Limit(FRAMES, "protocol messages a second on this connection"),
}
"""Every limit that is a rate."""

CONNECTIONS = "app_connections_max"


class Over(msgspec.Struct, frozen=True):
    """A limit that was reached: `bound` of what it counts, and when there is room again."""

    limit: str
    bound: int
    wait_s: float

    @property
    def error(self) -> Overloaded:
        code, what = LIMITS[self.limit]
        error = Overloaded(
            f"more than {self.bound} {what} ({self.limit}); "
            f"there is room again in {self.wait_s:.3f} s",
            code,
        )
        error.retry_after_s = self.wait_s
        return error


def too_many_connections(bound: int) -> BrokerError:
    return BrokerError(
        f"this app has {bound} connections already ({CONNECTIONS})", TOO_MANY_CONNECTIONS, 403
    )
