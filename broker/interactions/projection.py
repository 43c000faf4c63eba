"""The projection: how messages stand that can change, their versions, their annotations.

It follows three kinds of one channel. A message's rows are made with it and go with it; what comes
later about a message that is gone folds to nothing. The records about messages are kept for as long
as any message before them is (broker.retention), so dropping one of those drops no row.
"""

from broker.event import Kind
from broker.events import MessageAnnotated, MessageAppended, MessagePublished, MessageUpdated
from broker.interactions import annotating, versions
from broker.interactions.keys import OF_A_MESSAGE, STATE, TABLE, of_message
from storage import OnTrim, Record, Table


def _is_kept(table: Table, record: Record) -> bool:
    app, channel, _ = record.stream
    return table.get(of_message(STATE, app, channel, record.event.of)) is not None


class Interactions:
    name = TABLE
    prefix = b"x"
    kinds = frozenset({int(Kind.MESSAGES), int(Kind.VERSIONS), int(Kind.ANNOTATIONS)})
    on_trim = OnTrim.DROP

    def fold(self, table: Table, record: Record) -> None:
        event = record.event
        if isinstance(event, MessagePublished):
            if event.mutable:
                app, channel, _ = record.stream
                table.put(of_message(STATE, app, channel, record.serial), b"")
        elif isinstance(event, MessageUpdated | MessageAppended):
            versions.fold(table, record)
        elif isinstance(event, MessageAnnotated) and _is_kept(table, record):
            annotating.fold(table, record)

    def unfold(self, table: Table, record: Record) -> None:
        if not (isinstance(record.event, MessagePublished) and record.event.mutable):
            return
        app, channel, _ = record.stream
        for what in OF_A_MESSAGE:
            for key, _ in list(table.scan(of_message(what, app, channel, record.serial))):
                table.delete(key)
