"""A small domain to exercise the log with: posts to channels, with ids, tallies and last posts.

Posts have a dedup projection (dropped on trim) and a tally projection (kept on trim), so that both
ways a trim can treat a projection are under test.
"""

from dataclasses import dataclass
from typing import Any

import msgpack

from storage import Decision, Domain, OnTrim, Record, Rows, Stream, Table

POSTS = 1
NOTES = 2


class Refused(Exception):
    """The ledger's refusal: an ordinary outcome of a command."""


@dataclass(frozen=True)
class Post:
    channel: str
    text: str
    id: str = ""
    count: int = 1
    refuse: bool = False
    break_fold: bool = False
    app: str = "app"
    kind: int = POSTS


def decide_post(rows: Rows, command: Post, ms: int) -> Decision:
    if command.refuse:
        raise Refused(command.text)
    stream = Stream(command.app, command.channel, command.kind)
    known = rows.get("ids", id_key(stream, command.id)) if command.id else None
    if known is not None:
        return Decision(duplicate=(int.from_bytes(known, "big"),))
    text = "BREAK" if command.break_fold else command.text
    events = [
        (stream, {"text": text, "id": command.id if n == 0 else ""}) for n in range(command.count)
    ]
    return Decision(events, reply=ms)


def id_key(stream: Stream, id_: str) -> bytes:
    return f"{stream.app}/{stream.channel}/{id_}".encode()


class Ids:
    """id -> serial, dropped with the record."""

    name = "ids"
    prefix = b"i"
    kinds = frozenset({POSTS, NOTES})
    on_trim = OnTrim.DROP

    def fold(self, table: Table, record: Record) -> None:
        if record.event["id"]:
            key = id_key(record.stream, record.event["id"])
            table.put(key, record.serial.to_bytes(8, "big"))

    def unfold(self, table: Table, record: Record) -> None:
        if record.event["id"]:
            table.delete(id_key(record.stream, record.event["id"]))


class Tallies:
    """How many posts a channel ever had, and the last: kept when they are trimmed."""

    name = "tallies"
    prefix = b"t"
    kinds = frozenset({POSTS})
    on_trim = OnTrim.KEEP

    def fold(self, table: Table, record: Record) -> None:
        if record.event["text"] == "BREAK":
            raise RuntimeError("a fold with a bug")
        key = f"{record.stream.app}/{record.stream.channel}".encode()
        count, _ = msgpack.unpackb(table.get(key) or msgpack.packb((0, "")))
        table.put(key, msgpack.packb((count + 1, record.event["text"])))

    def unfold(self, table: Table, record: Record) -> None:
        raise AssertionError("never called: tallies are kept")


def encode(event: Any) -> bytes:
    return bytes(msgpack.packb(event))


def ledger() -> Domain:
    return Domain({Post: decide_post}, (Ids(), Tallies()), encode, msgpack.unpackb)
