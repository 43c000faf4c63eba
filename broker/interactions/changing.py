"""Updating, deleting and appending to a message: one command, decided where it is right.

What was published never changes; a change is another event, which says how the message stands now.
Absent fields of a change leave the message's as they are (RSL15). A repeat over a resumed
connection is told by its msgSerial, as a publish is.
"""

import msgspec

from broker import tenancy
from broker.channels.lifecycle import opening
from broker.errors import BadRequest, NotFound
from broker.event import Kind
from broker.events import MessageAppended, MessageUpdated, Operation
from broker.interactions.keys import STATE, TABLE, of_message
from broker.interactions.state import APPEND, State, decode, grown, mixed
from broker.messages.acceptance import accepted
from broker.messages.message import Message
from broker.messages.publish import TOO_LARGE, size_bytes
from storage import Decision, Rows, Stream
from storage.projection import Decide

NOT_MUTABLE = 93002


class ChangeMessage(msgspec.Struct, frozen=True, gc=False):
    """`of`: the message's serial, `original`: what it was published as. `change`: its data, name
    and extras, where they are to be others; `action`: update, delete or append. `resent`: it may
    have been accepted before, as `sent`."""

    app: str
    channel: str
    of: int
    action: int
    id: str
    original: Message
    change: Message
    bytes_max: int
    operation: Operation | None = None
    sent: tuple[str, int] | None = None
    resent: bool = False


def decide(rows: Rows, command: ChangeMessage, ms: int) -> Decision:
    """Raises BadRequest 93002 where messages cannot change, 40009 for one that grew too large;
    NotFound for one that is not there."""
    tenancy.require_app(rows, command.app)
    if command.sent and command.resent:
        serial = accepted(rows, *command.sent)
        if serial is not None:
            return Decision(duplicate=(serial,))
    if not tenancy.rules(rows, command.app, command.channel).mutable_messages:
        raise BadRequest("messages of this channel cannot be changed", NOT_MUTABLE)
    row = rows.get(TABLE, of_message(STATE, command.app, command.channel, command.of))
    if row is None:
        raise NotFound("there is no message of this serial that could be changed")
    event = _event(command, decode(row) if row else None)
    stream = Stream(command.app, command.channel, Kind.VERSIONS)
    return Decision(opening(rows, command.app, command.channel, [(stream, event)]))


def _event(command: ChangeMessage, state: State | None) -> MessageUpdated | MessageAppended:
    message = state.message if state else command.original
    if command.action != APPEND:
        whole = _within(mixed(message, command.change), command.bytes_max)
        of_change = (command.operation, command.sent)
        return MessageUpdated(command.of, command.id, whole, command.action, *of_change)
    whole = _within(grown(message, command.change), command.bytes_max)
    data = command.change.data
    encoding = None if data is None else whole.encoding
    fragment = msgspec.structs.replace(whole, data=data, encoding=encoding)
    return MessageAppended(
        command.of,
        command.id,
        fragment,
        base=None if state else message,
        operation=command.operation,
        sent=command.sent,
    )


def _within(message: Message, bytes_max: int) -> Message:
    size = size_bytes(message)
    if size > bytes_max:
        reason = f"the message would be {size} bytes, the limit is {bytes_max}"
        raise BadRequest(reason, TOO_LARGE, status=413)
    return message


DECIDE: dict[type, Decide] = {ChangeMessage: decide}
