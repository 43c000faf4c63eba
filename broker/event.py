"""What every event is, and the streams that events are in."""

from enum import IntEnum

import msgspec


class Kind(IntEnum):
    """The streams of a channel, an app or the system. Each has its own retention; values are in
    every stored key, so they never change."""

    MESSAGES = 1
    EPHEMERAL = 2
    PRESENCE = 3
    ATTACHMENTS = 4
    ANNOTATIONS = 5
    CHANNEL = 6
    CONNECTIONS = 7
    LIFECYCLE = 8
    NONCES = 9
    REVOCATIONS = 10
    STATS = 11
    VERSIONS = 12
    PUSH = 13
    PUBLISHES = 14
    AUDIT = 15
    SYSTEM = 16


class Event(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type"):
    """Base of all events; `type` is the tag in the log."""
