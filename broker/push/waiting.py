"""Deliveries that are to be tried again, as rows: part of the fold of broker.push.outbox_log.

waiting    app, publish, device           the Waiting
due        at_ms, app, publish, device    the same, found by when
in line    app, device, publish           nothing: of devices that are told in order, who waits
lines      app, device                    the Line: where it begins, how long it is

Of the deliveries to a device that is told in order only the earliest publish's is among the due:
the others have their turn when it is settled, in the same transaction, so no crash leaves them
behind. A fold's scan costs more the more its commit changes, so there is one only where somebody is
next in a line.
"""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from broker.channels.registry import app_prefix
from broker.push.events import Attempt
from broker.push.rows import digest
from storage import Rows, Table

TABLE = "outbox"
_DUE, _WAITING, _IN_LINE, _LINE = b"d", b"w", b"l", b"n"
_NUMBER_BYTES = 8


class Waiting(msgspec.Struct, frozen=True, omit_defaults=True):
    """A delivery that is to be tried again."""

    app: str
    publish: int
    attempt: Attempt


class Due(NamedTuple):
    """`at_ms`: when it is to be tried."""

    at_ms: int
    waiting: Waiting


class Line(NamedTuple):
    """Who waits for one device: the earliest publish, and how many there are."""

    first: int
    length: int


_encode = msgspec.msgpack.Encoder().encode
_read = msgspec.msgpack.Decoder(Waiting).decode
_read_line = msgspec.msgpack.Decoder(Line).decode


def put(table: Table, waiting: Waiting) -> None:
    """One that does not wait yet."""
    row = _encode(waiting)
    table.put(_key_of(waiting), row)
    if not waiting.attempt.in_order or _joins(table, waiting):
        table.put(_due_key(waiting), row)


def _joins(table: Table, waiting: Waiting) -> bool:
    """Whether it is the first in the line."""
    app, device, of = waiting.app, waiting.attempt.device, waiting.publish
    line = _line(table, app, device)
    table.put(_in_line(app, device) + number(of), b"")
    if line is None:
        _put_line(table, app, device, Line(of, 1))
        return True
    if of < line.first and (first := get(table, app, line.first, device)) is not None:
        table.delete(_due_key(first))
    _put_line(table, app, device, Line(min(of, line.first), line.length + 1))
    return of < line.first


def again(table: Table, before: Waiting, attempt: Attempt) -> None:
    """One that waits goes on waiting, where it is in its line."""
    table.delete(_due_key(before))
    attempt = msgspec.structs.replace(attempt, in_order=before.attempt.in_order)
    waiting = msgspec.structs.replace(before, attempt=attempt)
    row = _encode(waiting)
    table.put(_key_of(waiting), row)
    line = _line(table, waiting.app, attempt.device) if attempt.in_order else None
    if line is None or line.first == waiting.publish:
        table.put(_due_key(waiting), row)


def remove(table: Table, waiting: Waiting) -> None:
    table.delete(_due_key(waiting))
    table.delete(_key_of(waiting))
    if waiting.attempt.in_order:
        _leaves(table, waiting)


def remove_all(table: Table, app: str, publish: int) -> None:
    """All that waits of a notification."""
    for _, row in list(table.scan(_of_publish(app, publish))):
        remove(table, _read(row))


def _leaves(table: Table, waiting: Waiting) -> None:
    app, device = waiting.app, waiting.attempt.device
    table.delete(_in_line(app, device) + number(waiting.publish))
    line = _line(table, app, device)
    if line is None or line.length == 1:
        table.delete(_line_key(app, device))
        return
    first = line.first
    if first == waiting.publish:
        first = next(_publishes_in(table.scan(_in_line(app, device))))
        next_one = get(table, app, first, device)
        assert next_one is not None, "who is in line waits"
        table.put(_due_key(next_one), _encode(next_one))
    _put_line(table, app, device, Line(first, line.length - 1))


def get(table: Table, app: str, publish: int, device: str) -> Waiting | None:
    row = table.get(_key(app, publish, device))
    return _read(row) if row else None


def is_waiting(rows: Rows, app: str, publish: int, device: str) -> bool:
    return rows.get(TABLE, _key(app, publish, device)) is not None


def first_in_line(rows: Rows, app: str, device: str) -> int | None:
    """The earliest publish that waits for a device which is told in order."""
    row = rows.get(TABLE, _line_key(app, device))
    return _read_line(row).first if row else None


def due(rows: Rows) -> Iterator[Due]:
    """Every delivery that is to be tried again and has its turn, the earliest first."""
    for key, row in rows.scan(TABLE, _DUE):
        yield Due(int.from_bytes(key[1 : 1 + _NUMBER_BYTES], "big"), _read(row))


def number(value: int) -> bytes:
    return value.to_bytes(_NUMBER_BYTES, "big")


def _publishes_in(line: Iterator[tuple[bytes, bytes]]) -> Iterator[int]:
    for key, _ in line:
        yield int.from_bytes(key[-_NUMBER_BYTES:], "big")


def _line(table: Table, app: str, device: str) -> Line | None:
    row = table.get(_line_key(app, device))
    return _read_line(row) if row else None


def _put_line(table: Table, app: str, device: str, line: Line) -> None:
    table.put(_line_key(app, device), _encode(line))


def _of_publish(app: str, publish: int) -> bytes:
    return _WAITING + app_prefix(app) + number(publish)


def _key(app: str, publish: int, device: str) -> bytes:
    return _of_publish(app, publish) + digest(device)


def _key_of(waiting: Waiting) -> bytes:
    return _key(waiting.app, waiting.publish, waiting.attempt.device)


def _due_key(waiting: Waiting) -> bytes:
    return _DUE + number(waiting.attempt.at_ms) + _key_of(waiting)[1:]


def _in_line(app: str, device: str) -> bytes:
    """What begins the rows of those who wait for one device."""
    return _IN_LINE + app_prefix(app) + digest(device)


def _line_key(app: str, device: str) -> bytes:
    return _LINE + app_prefix(app) + digest(device)
