"""Annotations of a message summed up: the five methods, each a fold of one annotation.

    total.v1      {total}                             how many
    flag.v1       {total, clientIds, clipped}         who, each once
    distinct.v1   {name: {total, clientIds, …}}       who for each name, each once
    unique.v1     the same                            … and each client for one name only
    multiple.v1   {name: {total, clientCounts, …}}    how often, and by whom

A summary shows a bounded number of clients and counts them all: beside it lies a row for each
client that counts, so that one more annotation costs the same however many there are. `clipped`
says that more count than are shown. Names and ids are their clients' choice, so a summary is
bounded in bytes too: one that is full shows no further client, and takes no further name or type.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from broker.errors import BadRequest
from broker.events import Annotation
from broker.interactions.keys import MEMBER, SUMMARY, TABLE, of_message
from storage import Rows, Table

Summary = dict[str, Any]
CLIENTS_SHOWN_MAX = 100
NAMES_MAX = 100  # of one type
TYPES_MAX = 50  # of one message
BYTES_MAX = 65_536  # of a message's summary as it is stored; what crosses it stays
_DIGEST_BYTES = 16
_DELETE = 1

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, Any]).decode


class Ledger(NamedTuple):
    """Who counts, of one message and one type of annotation. `shows`: how many clients a summary
    shows."""

    table: Table
    prefix: bytes
    type: str
    shows: int = CLIENTS_SHOWN_MAX

    def key(self, *parts: str) -> bytes:
        packed = _encode((self.type, *parts))
        return self.prefix + blake2b(packed, digest_size=_DIGEST_BYTES).digest()

    def get(self, *parts: str) -> bytes | None:
        return self.table.get(self.key(*parts))

    def put(self, value: bytes, *parts: str) -> None:
        self.table.put(self.key(*parts), value)

    def delete(self, *parts: str) -> None:
        self.table.delete(self.key(*parts))


def _total(ledger: Ledger, summary: Summary, annotation: Annotation) -> Summary:
    step = -1 if annotation.action == _DELETE else 1
    total = max(0, summary.get("total", 0) + step)
    return {"total": total} if total else {}


def _flag(ledger: Ledger, summary: Summary, annotation: Annotation) -> Summary:
    return _one_more_or_less(ledger, summary, annotation, "")


def _distinct(ledger: Ledger, summary: Summary, annotation: Annotation) -> Summary:
    return _of_name(ledger, summary, annotation, annotation.name or "")


def _unique(ledger: Ledger, summary: Summary, annotation: Annotation) -> Summary:
    """Naming another thing takes back the one before."""
    client, name = annotation.client_id or "", annotation.name or ""
    held = ledger.get("", client)
    before = None if held is None else held.decode()
    if annotation.action == _DELETE:
        if before != name:
            return summary
        ledger.delete("", client)
        return _of_name(ledger, summary, annotation, name)
    if before is not None and before != name:
        taken_back = msgspec.structs.replace(annotation, action=_DELETE)
        summary = _of_name(ledger, summary, taken_back, before)
    ledger.put(name.encode(), "", client)
    return _of_name(ledger, summary, annotation, name)


def _multiple(ledger: Ledger, summary: Summary, annotation: Annotation) -> Summary:
    name = annotation.name or ""
    counted = _counted(ledger, summary.get(name, {}), annotation)
    return _with(summary, name, counted)


def _of_name(ledger: Ledger, summary: Summary, annotation: Annotation, name: str) -> Summary:
    return _with(summary, name, _one_more_or_less(ledger, summary.get(name, {}), annotation, name))


def _with(summary: Summary, name: str, value: Summary) -> Summary:
    if value:
        return {**summary, name: value}
    return {key: inner for key, inner in summary.items() if key != name}


def _one_more_or_less(
    ledger: Ledger, counted: Summary, annotation: Annotation, name: str
) -> Summary:
    """A set of clients, with or without this one."""
    client = annotation.client_id or ""
    is_in = ledger.get(name, client) is not None
    shown, total = list(counted.get("clientIds", ())), counted.get("total", 0)
    if annotation.action == _DELETE:
        if not is_in:
            return counted
        ledger.delete(name, client)
        return _clients(total - 1, [known for known in shown if known != client])
    if is_in:
        return counted
    ledger.put(b"", name, client)
    if len(shown) < ledger.shows:
        shown.append(client)
    return _clients(total + 1, shown)


def _clients(total: int, shown: list[str]) -> Summary:
    if not total:
        return {}
    return {"total": total, "clientIds": shown, "clipped": len(shown) < total}


def _counted(ledger: Ledger, counted: Summary, annotation: Annotation) -> Summary:
    """How often each client, and how often nobody in particular."""
    name, client = annotation.name or "", annotation.client_id
    total, unidentified = counted.get("total", 0), counted.get("totalUnidentified", 0)
    shown, clients = dict(counted.get("clientCounts", {})), counted.get("totalClientIds", 0)
    count = annotation.count or 1
    if client is None:
        taken = min(count, unidentified) if annotation.action == _DELETE else -count
        return _counts(total - taken, shown, unidentified - taken, clients)
    row = ledger.get(name, client)
    before = int.from_bytes(row, "big") if row else 0
    if annotation.action == _DELETE:
        ledger.delete(name, client)
        shown.pop(client, None)
        return _counts(total - before, shown, unidentified, clients - bool(before))
    ledger.put((before + count).to_bytes(8, "big"), name, client)
    if client in shown or len(shown) < ledger.shows:
        shown[client] = before + count
    return _counts(total + count, shown, unidentified, clients + (not before))


def _counts(total: int, shown: dict[str, int], unidentified: int, clients: int) -> Summary:
    if total <= 0:
        return {}
    return {
        "total": total,
        "clientCounts": shown,
        "totalUnidentified": unidentified,
        "clipped": len(shown) < clients,
        "totalClientIds": clients,
    }


Method = Callable[[Ledger, Summary, Annotation], Summary]
METHODS: dict[str, Method] = {
    "total.v1": _total,
    "flag.v1": _flag,
    "distinct.v1": _distinct,
    "unique.v1": _unique,
    "multiple.v1": _multiple,
}
NAMED = frozenset({"distinct.v1", "unique.v1", "multiple.v1"})
IDENTIFIED = frozenset({"flag.v1", "distinct.v1", "unique.v1"})


def method_of(type_: str) -> str | None:
    """How annotations of a type are summed up; None: they are not."""
    namespace, colon, method = type_.rpartition(":")
    return method if colon and namespace and method in METHODS else None


def fold(table: Table, app: str, channel: str, of: int, annotation: Annotation) -> None:
    method = method_of(annotation.type)
    if method is None:
        return
    key = of_message(SUMMARY, app, channel, of)
    row = table.get(key)
    summary = _decode(row) if row else {}
    shows = CLIENTS_SHOWN_MAX if len(row or b"") < BYTES_MAX else 0
    ledger = Ledger(table, of_message(MEMBER, app, channel, of), annotation.type, shows)
    found = METHODS[method](ledger, summary.get(annotation.type, {}), annotation)
    table.put(key, _encode(_with(summary, annotation.type, found)))


def summary_of(rows: Rows, app: str, channel: str, of: int) -> Summary | None:
    """By type of annotation; None for a message that was never annotated so that it counts."""
    row = rows.get(TABLE, of_message(SUMMARY, app, channel, of))
    return _decode(row) if row else None


def check_room(
    rows: Rows, app: str, channel: str, of: int, annotations: Sequence[Annotation]
) -> None:
    """Raises BadRequest 40000 where a summary would say more than it can."""
    row = rows.get(TABLE, of_message(SUMMARY, app, channel, of)) or b""
    names = {type_: _names(type_, found) for type_, found in _decode(row).items()} if row else {}
    for annotation in annotations:
        if annotation.action != _DELETE and method_of(annotation.type) is not None:
            _check_room(names, annotation, is_full=len(row) >= BYTES_MAX)


def _names(type_: str, summary: Summary) -> set[str]:
    return set(summary) if method_of(type_) in NAMED else set()


def _check_room(names: dict[str, set[str]], annotation: Annotation, *, is_full: bool) -> None:
    """`names`: by type; the annotation's come to them."""
    if annotation.type not in names and (is_full or len(names) >= TYPES_MAX):
        raise BadRequest("a message takes annotations of no more types than these")
    of_type = names.setdefault(annotation.type, set())
    if method_of(annotation.type) not in NAMED or annotation.name in of_type:
        return
    if is_full or len(of_type) >= NAMES_MAX:
        raise BadRequest("a message takes annotations of this type by no more names than these")
    of_type.add(annotation.name or "")
