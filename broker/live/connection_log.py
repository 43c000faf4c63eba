"""Connections as the log knows them: opened, resumed, lost, closed, expired.

A connection outlives its transport, its process and the broker's restarts: what may resume it is
here. Its connectionKey is `<connectionId>!<secret>`; the log holds a hash of the secret, and the
hash before it, for a client that never saw the newest key comes back with the one it has.
"""

import hmac
from collections.abc import Iterator
from hashlib import blake2b

import msgspec

from broker import tenancy
from broker.errors import BadRequest
from broker.event import Kind
from broker.events import (
    BrokerStarted,
    ConnectionClosed,
    ConnectionExpired,
    ConnectionLost,
    ConnectionOpened,
    ConnectionResumed,
    WorkerEnded,
    WorkerStarted,
)
from storage import Decision, OnTrim, Record, Rows, Stream, Table
from storage.projection import Decide
from storage.serial import ms_of

TABLE = "connections"
INVALID_KEY = 80018
BROKER = Stream("", "", Kind.CONNECTIONS)
_EPOCH = b"e"
_CONNECTION = b"c"
_LOSS = b"l"
_WORKER = b"w"
_LAST_WORKER = b"n"
_EPOCH_BYTES = 8


class ConnectionRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """`lost_ms`: when its transport went, None while a process holds it. `took_over`: whoever has
    it took it from a transport that was alive."""

    app: str
    id: str
    key_hash: bytes
    epoch: int
    client_id: str | None = None
    previous_hash: bytes = b""
    lost_ms: int | None = None
    took_over: bool = False


class StartBroker(msgspec.Struct, frozen=True):
    """Begin an epoch, the only one. Decision.reply: its number. `lost_behind`: what the log says of
    a loss."""

    lost_behind: int | None = None


class StartWorker(msgspec.Struct, frozen=True):
    """Begin an epoch beside those that run. Decision.reply: its number."""


class EndWorker(msgspec.Struct, frozen=True):
    """Its process has ended."""

    epoch: int


class OpenConnection(msgspec.Struct, frozen=True):
    app: str
    connection: str
    key_hash: bytes
    epoch: int
    client_id: str | None = None


class ResumeConnection(msgspec.Struct, frozen=True):
    """`given`: hash of the secret that the client showed. Refused with 80018 unless it is the
    newest, or the one before it while `previous_allowed`. `supersedes`: the process that resumes
    it holds it already. Decision.reply: whether another process held it."""

    app: str
    connection: str
    given: bytes
    key_hash: bytes
    epoch: int
    previous_allowed: bool
    supersedes: bool = False


class LoseConnection(msgspec.Struct, frozen=True):
    app: str
    connection: str
    epoch: int


class CloseConnection(msgspec.Struct, frozen=True):
    app: str
    connection: str


class ExpireConnection(msgspec.Struct, frozen=True):
    """Does nothing to a connection that a running process holds."""

    app: str
    connection: str
    epoch: int


_OfConnection = ResumeConnection | LoseConnection | CloseConnection | ExpireConnection


def start(rows: Rows, command: StartBroker, ms: int) -> Decision:
    epoch = _next_epoch(rows)
    lost_behind = None if _is_known(rows, command.lost_behind) else command.lost_behind
    return Decision([(BROKER, BrokerStarted(epoch, lost_behind))], reply=epoch)


def _is_known(rows: Rows, lost_behind: int | None) -> bool:
    return any(int.from_bytes(row, "big") == lost_behind for _, row in rows.scan(TABLE, _LOSS))


def start_worker(rows: Rows, command: StartWorker, ms: int) -> Decision:
    epoch = _next_epoch(rows)
    return Decision([(BROKER, WorkerStarted(epoch))], reply=epoch)


def end_worker(rows: Rows, command: EndWorker, ms: int) -> Decision:
    if rows.get(TABLE, _worker_key(command.epoch)) is None:
        return Decision()
    return Decision([(BROKER, WorkerEnded(command.epoch))])


def open_(rows: Rows, command: OpenConnection, ms: int) -> Decision:
    tenancy.require_app(rows, command.app)
    event = ConnectionOpened(command.connection, command.key_hash, command.epoch, command.client_id)
    return _one(command.app, event)


def resume(rows: Rows, command: ResumeConnection, ms: int) -> Decision:
    row = _own(rows, command)
    elsewhere = row is not None and row.epoch != command.epoch and is_held(rows, row)
    if row is None or not _matches(row, command, elsewhere):
        raise BadRequest("invalid connection key", INVALID_KEY)
    took_over = command.supersedes or elsewhere
    event = ConnectionResumed(command.connection, command.key_hash, command.epoch, took_over)
    return Decision([(Stream(command.app, "", Kind.CONNECTIONS), event)], reply=elsewhere)


def _matches(row: ConnectionRow, command: ResumeConnection, elsewhere: bool) -> bool:
    """The key before is not for whom it was taken from: the two would take it for ever."""
    if hmac.compare_digest(row.key_hash, command.given):
        return True
    allowed = command.previous_allowed and not (elsewhere and row.took_over)
    return allowed and hmac.compare_digest(row.previous_hash, command.given)


def lose(rows: Rows, command: LoseConnection, ms: int) -> Decision:
    row = _own(rows, command)
    if row is None or row.epoch != command.epoch or row.lost_ms is not None:
        return Decision()
    return _one(command.app, ConnectionLost(command.connection))


def close(rows: Rows, command: CloseConnection, ms: int) -> Decision:
    if _own(rows, command) is None:
        return Decision()
    return _one(command.app, ConnectionClosed(command.connection))


def expire(rows: Rows, command: ExpireConnection, ms: int) -> Decision:
    row = _own(rows, command)
    if row is None or is_held(rows, row):
        return Decision()
    return _one(command.app, ConnectionExpired(command.connection))


def _own(rows: Rows, command: _OfConnection) -> ConnectionRow | None:
    """A connection, if it is the app's: ids are public."""
    row = connection(rows, command.connection)
    return row if row is not None and row.app == command.app else None


def _one(app: str, event: object) -> Decision:
    return Decision([(Stream(app, "", Kind.CONNECTIONS), event)])


class ConnectionLog:
    """The projection: one row per connection that may be resumed, the latest epoch, and what was
    lost: serial at which an epoch began after a loss -> serial behind which nothing is left."""

    name = TABLE
    prefix = b"n"
    kinds = frozenset({int(Kind.CONNECTIONS)})
    on_trim = OnTrim.KEEP

    def fold(self, table: Table, record: Record) -> None:
        match record.event:
            case BrokerStarted(epoch, lost_behind):
                table.put(_EPOCH, epoch.to_bytes(_EPOCH_BYTES, "big"))
                if lost_behind is not None:
                    ended = record.serial.to_bytes(8, "big")
                    table.put(_LOSS + ended, lost_behind.to_bytes(8, "big"))
                for key, _ in list(table.scan(_WORKER)):
                    table.delete(key)
            case WorkerStarted(epoch):
                table.put(_LAST_WORKER, epoch.to_bytes(_EPOCH_BYTES, "big"))
                table.put(_worker_key(epoch), b"")
            case WorkerEnded(epoch):
                table.delete(_worker_key(epoch))
            case ConnectionOpened(id_, key_hash, epoch, client_id):
                app = record.stream.app
                _put(table, ConnectionRow(app, id_, key_hash, epoch, client_id))
            case ConnectionResumed(id_, key_hash, epoch, took_over):
                fields = {"epoch": epoch, "lost_ms": None, "took_over": took_over}
                _change(table, id_, key_hash=key_hash, **fields)
            case ConnectionLost(id_):
                _change(table, id_, lost_ms=ms_of(record.serial))
            case ConnectionClosed(id_) | ConnectionExpired(id_):
                table.delete(_key(id_))

    def unfold(self, table: Table, record: Record) -> None:
        raise AssertionError("connections are kept when their events are trimmed")


def _put(table: Table, row: ConnectionRow) -> None:
    table.put(_key(row.id), _encode(row))


def _change(table: Table, id_: str, **fields: object) -> None:
    value = table.get(_key(id_))
    if value is None:
        return
    row = _read(value)
    if "key_hash" in fields:
        fields["previous_hash"] = row.key_hash
    _put(table, msgspec.structs.replace(row, **fields))


_encode = msgspec.msgpack.Encoder().encode
_read = msgspec.msgpack.Decoder(ConnectionRow).decode


def _key(connection: str) -> bytes:
    return _CONNECTION + blake2b(connection.encode(), digest_size=16).digest()


def connection(rows: Rows, id_: str) -> ConnectionRow | None:
    value = rows.get(TABLE, _key(id_))
    return _read(value) if value else None


def connections(rows: Rows) -> Iterator[ConnectionRow]:
    """Every connection that may be resumed, of every app."""
    for _, value in rows.scan(TABLE, _CONNECTION):
        yield _read(value)


def was_lost(rows: Rows, serial: int) -> bool:
    """Whether a serial is of a time of which the log has lost what happened."""
    after = _LOSS + serial.to_bytes(8, "big")
    loss = next(iter(rows.scan(TABLE, _LOSS, after)), None)
    return loss is not None and int.from_bytes(loss[1], "big") < serial


def latest_epoch(rows: Rows) -> int:
    """Of the process that writes the log, or did."""
    return int.from_bytes(rows.get(TABLE, _EPOCH) or b"", "big")


def _next_epoch(rows: Rows) -> int:
    worker = int.from_bytes(rows.get(TABLE, _LAST_WORKER) or b"", "big")
    return max(latest_epoch(rows), worker) + 1


def _worker_key(epoch: int) -> bytes:
    return _WORKER + epoch.to_bytes(_EPOCH_BYTES, "big")


def live_epochs(rows: Rows) -> tuple[int, ...]:
    """Of the process that writes the log, then of the workers beside it."""
    workers = (int.from_bytes(key[len(_WORKER) :], "big") for key, _ in rows.scan(TABLE, _WORKER))
    return (latest_epoch(rows), *workers)


def is_held(rows: Rows, row: ConnectionRow) -> bool:
    """Whether a process that runs holds a connection."""
    if row.lost_ms is not None:
        return False
    return row.epoch == latest_epoch(rows) or rows.get(TABLE, _worker_key(row.epoch)) is not None


DECIDE: dict[type, Decide] = {
    StartBroker: start,
    StartWorker: start_worker,
    EndWorker: end_worker,
    OpenConnection: open_,
    ResumeConnection: resume,
    LoseConnection: lose,
    CloseConnection: close,
    ExpireConnection: expire,
}
