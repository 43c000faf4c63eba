"""Which protocol messages of a connection were accepted: (connectionId, msgSerial) -> serial.

A client that lost its connection sends again what was not acknowledged, under the same msgSerial
(RTN19a). What is found here was published before: it is acknowledged with the first serials and
nothing happens again. The row is written in the transaction of the events, so neither a crash nor
a lost reply can come between.

Messages whose publisher chose their ids are told by those ids instead
(broker.messages.publishing.Dedup).
"""

from broker.event import Kind
from broker.events import MessageAnnotated, MessageAppended, MessagePublished, MessageUpdated
from storage import OnTrim, Record, Rows, Table

TABLE = "accepted"
_SERIAL_BYTES = 8


def _key(connection: str, msg_serial: int) -> bytes:
    return connection.encode() + b":" + msg_serial.to_bytes(_SERIAL_BYTES, "big")


def accepted(rows: Rows, connection: str, msg_serial: int) -> int | None:
    """The serial that a protocol message came to, if it was accepted: of its first message, or of
    its last presence change."""
    row = rows.get(TABLE, _key(connection, msg_serial))
    return None if row is None else int.from_bytes(row, "big")


class Accepted:
    """The projection. Rows go with their records; one that a later record wrote stays."""

    name = TABLE
    prefix = b"a"
    kinds = frozenset(
        {
            int(Kind.MESSAGES),
            int(Kind.EPHEMERAL),
            int(Kind.PRESENCE),
            int(Kind.VERSIONS),
            int(Kind.ANNOTATIONS),
        }
    )
    on_trim = OnTrim.DROP

    def fold(self, table: Table, record: Record) -> None:
        key = _key_of(record)
        if key is not None:
            table.put(key, record.serial.to_bytes(_SERIAL_BYTES, "big"))

    def unfold(self, table: Table, record: Record) -> None:
        key = _key_of(record)
        if key is not None and table.get(key) == record.serial.to_bytes(_SERIAL_BYTES, "big"):
            table.delete(key)


def _key_of(record: Record) -> bytes | None:
    """Of a publish only its first message has a row: the others' serials follow from its."""
    event = record.event
    if isinstance(event, MessagePublished):
        connection, msg_id = event.message.connection_id, event.message.id
        if event.keyed or connection is None or msg_id is None:
            return None
        # <connectionId>:<msgSerial>:<index>; what came another way has another head.
        head, _, place = msg_id.partition(":")
        is_first = head == connection and place.endswith(":0")
        return _key(connection, int(place[:-2])) if is_first else None
    if isinstance(event, MessageUpdated | MessageAppended | MessageAnnotated):
        return _key(*event.sent) if event.sent else None
    if event.msg_serial is None:
        return None
    return _key(event.member.connection_id, event.msg_serial)
