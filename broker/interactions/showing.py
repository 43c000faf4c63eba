"""Messages as a reader of the past sees them: each as it stands, where it was published.

Who resumes or rewinds reads pages from disk. What happened to a message meanwhile is in its state
already, so a page tells of each message once: where it was published, else where it was changed.
"""

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from broker.events import MessageAppended, MessagePublished, MessageUpdated
from broker.interactions.state import CREATE, State, state_of
from broker.interactions.summaries import Summary, summary_of
from broker.messages.message import Message
from storage import Record, View


class MessageShown(msgspec.Struct, frozen=True, gc=False):
    """In place of what a record says: how the message `of` stands, with its annotations."""

    of: int
    state: State
    summary: Summary | None = None

    @property
    def publisher(self) -> str | None:
        """The connection whose doing it is: of a message that was annotated only."""
        return self.state.message.connection_id if self.state.action == CREATE else None


def as_they_stand(view: View, records: Sequence[Record]) -> list[Record]:
    """A page of a channel without what is told by a state that was read with it."""
    shown: set[int] = set()
    return [
        found for record in records if (found := _as_it_stands(view, record, shown)) is not None
    ]


def _as_it_stands(view: View, record: Record, shown: set[int]) -> Record | None:
    event = record.event
    if isinstance(event, MessagePublished) and event.mutable:
        return replace(record, event=_shown(view, record, record.serial, shown) or event)
    if isinstance(event, MessageUpdated | MessageAppended):
        found = None if event.of in shown else _shown(view, record, event.of, shown)
        return replace(record, event=found) if found else None
    return record


def _shown(view: View, record: Record, of: int, shown: set[int]) -> MessageShown | None:
    """None for a message that is as it was published, or that is gone."""
    app, channel, _ = record.stream
    state, summary = state_of(view, app, channel, of), summary_of(view, app, channel, of)
    if state is None and summary is not None and of == record.serial:
        state = State(record.event.message, of, CREATE)
    if state is None:
        return None
    shown.add(of)
    return MessageShown(of, state, summary)


def message_of(view: View, record: Record) -> Message:
    """The message of a MessagePublished record, in its latest version."""
    message: Message = record.event.message
    if not record.event.mutable:
        return message
    app, channel, _ = record.stream
    state = state_of(view, app, channel, record.serial)
    return state.message if state else message
