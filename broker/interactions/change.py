"""A change of a message as a client asks for it."""

import msgspec

from broker.events import Operation
from broker.messages.message import Message


class Change(msgspec.Struct, frozen=True):
    """What a client wants of a message: `serial` names it, `message` has the fields to be others.
    `action`: update, delete or append."""

    serial: str
    action: int
    message: Message
    operation: Operation | None = None
