"""Messages as a reader of the past sees them: each as it stands, where it was published.

Who resumes or rewinds reads pages from disk. What happened to a message meanwhile is in its state
already, so a page tells of each message once: where it was published, else where it was changed.
"""

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from broker.events import MessageAppended, MessagePublished, MessageUpdated
from broker.interactions.state import State, state_of
from storage import Record, View


class MessageShown(msgspec.Struct, frozen=True, gc=False):
    """In place of what a record says: how the message `of` stands."""

    of: int
    state: State


def as_they_stand(view: View, records: Sequence[Record]) -> list[Record]:
    """A page of a channel without what is told by a state that was read with it."""
    shown: set[int] = set()
    return [
        found for record in records if (found := _as_it_stands(view, record, shown)) is not None
    ]


def _as_it_stands(view: View, record: Record, shown: set[int]) -> Record | None:
    event = record.event
    if isinstance(event, MessagePublished) and event.mutable:
        of = record.serial
    elif isinstance(event, MessageUpdated | MessageAppended):
        of = event.of
    else:
        return record
    app, channel, _ = record.stream
    state = state_of(view, app, channel, of)
    if state is None:  # it never changed; or it is gone, and so is what changed it
        return record if of == record.serial else None
    if of in shown:
        return None
    shown.add(of)
    return replace(record, event=MessageShown(of, state))
