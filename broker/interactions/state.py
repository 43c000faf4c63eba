"""How a message stands: what it was published as, or its latest version, whole.

A message that can change has a row from the moment it is published, empty until it does; the row is
the proof that the message is still kept. What it was published as is in its record.
"""

import msgspec

from broker.errors import BadRequest
from broker.events import Operation
from broker.interactions.keys import STATE, TABLE, of_message
from broker.messages.message import INVALID_DATA, Message
from storage import Rows

CREATE, UPDATE, DELETE, APPEND = 0, 1, 2, 5
# Encodings whose results, put together, are the encoding of nothing.
_WHOLE = ("json", "cipher+")


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """`message`: whole, with the id, client and connection of its publisher. `version`: the serial
    of what changed it last. `appended`: since the last version of its own, it only grew."""

    message: Message
    version: int
    action: int = UPDATE
    operation: Operation | None = None
    appended: bool = False


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(State).decode


def state_of(rows: Rows, app: str, channel: str, serial: int) -> State | None:
    """The latest version; None for a message that never changed, or that cannot."""
    row = rows.get(TABLE, of_message(STATE, app, channel, serial))
    return decode(row) if row else None


def can_change(rows: Rows, app: str, channel: str, serial: int) -> bool:
    """Whether a message is there, and was published where messages can change."""
    return rows.get(TABLE, of_message(STATE, app, channel, serial)) is not None


def mixed(message: Message, change: Message) -> Message:
    """A message with what a change gives (RSL15): absent fields stay; data and encoding are one."""
    given = {
        name: value for name in ("name", "extras") if (value := getattr(change, name)) is not None
    }
    if change.data is not None:
        given |= {"data": change.data, "encoding": change.encoding}
    return msgspec.structs.replace(message, **given)


def grown(message: Message, fragment: Message) -> Message:
    """A message with a fragment behind its data. Raises BadRequest 40013 where the two do not go
    together: text with binary, and what was encoded as a whole."""
    if fragment.data is None or message.data is None:
        return mixed(message, fragment)
    if type(message.data) is not type(fragment.data) or message.encoding != fragment.encoding:
        raise BadRequest("what is appended must be of the kind that the data is", INVALID_DATA)
    if any(step.startswith(_WHOLE) for step in (message.encoding or "").split("/")):
        raise BadRequest("JSON and ciphertexts cannot be appended to", INVALID_DATA)
    whole = message.data + fragment.data
    return mixed(message, msgspec.structs.replace(fragment, data=whole))
