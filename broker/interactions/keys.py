"""Keys of the rows about messages that can change: under the channel, then the message's serial.

Everything about one message lies together, its state apart from what there may be many of.
"""

from broker.channels.registry import channel_key

TABLE = "interactions"
SERIAL_BYTES = 8
# What a row is about comes first, so that states can be read for a page of messages in one sweep.
STATE, VERSION, ANNOTATION, ANNOTATION_ID, SUMMARY, MEMBER = b"m", b"v", b"a", b"i", b"s", b"c"
OF_A_MESSAGE = (STATE, VERSION, ANNOTATION, ANNOTATION_ID, SUMMARY, MEMBER)


def of_message(what: bytes, app: str, channel: str, serial: int) -> bytes:
    """The key of a message's row of that kind, or what begins those of its rows."""
    return what + channel_key(app, channel) + serial.to_bytes(SERIAL_BYTES, "big")


def of_record(what: bytes, app: str, channel: str, serial: int, record: int) -> bytes:
    """The key of the row about one record (a version, an annotation) of a message."""
    return of_message(what, app, channel, serial) + record.to_bytes(SERIAL_BYTES, "big")
