"""Instances of Beams: commands, what they come to, and the fold of it, with its look-ups.

An instance is the id by which SDKs of Beams know an app, with a secret key: whoever has the key may
publish, delete users, and say who the user of a device is. An app has one instance at most: devices
belong to the app, so two instances would see each other's. It is removed with its app.

Ids and secrets are the caller's, so a retried command is recognised. With `keep`, creating what
exists already is a success that changes nothing: that is how configuration is reconciled.
"""

import re

import msgspec

from broker import tenancy
from broker.beams.events import BeamsInstanceCreated, BeamsInstanceRemoved
from broker.errors import BadRequest, NotFound
from broker.event import Kind
from broker.events import AppDeleted
from storage import Decision, OnTrim, Record, Rows, Table
from storage.projection import Decide

TABLE = "beams"
SECRET_CHARS_MAX = 256
_INSTANCE, _OF_APP = b"i", b"a"
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Instance(msgspec.Struct, frozen=True):
    """`secret`: its secret key, as SDKs of servers are given it."""

    app: str
    id: str
    secret: str

    def __repr__(self) -> str:
        return f"<Instance {self.app} {self.id}>"


class CreateInstance(msgspec.Struct, frozen=True):
    app: str
    instance: str
    secret: str
    keep: bool = False

    def __repr__(self) -> str:
        return f"<CreateInstance {self.app} {self.instance}>"


class RemoveInstance(msgspec.Struct, frozen=True):
    instance: str


_encode = msgspec.msgpack.Encoder().encode
_read = msgspec.msgpack.Decoder(Instance).decode


def create(rows: Rows, command: CreateInstance, ms: int) -> Decision:
    check_secret(command.secret)
    id_ = checked_id(command.instance)
    wanted = Instance(command.app, id_, command.secret)
    tenancy.require_app(rows, command.app)
    known = instance(rows, id_)
    if command.keep and known == wanted:
        return Decision()
    if known is not None:
        raise BadRequest(f"Beams instance {id_} exists already, with another app or secret")
    if (other := instance_of(rows, command.app)) is not None:
        raise BadRequest(f"app {command.app!r} has a Beams instance already: {other.id}")
    return tenancy.in_system_log(BeamsInstanceCreated(wanted.app, wanted.id, wanted.secret))


def remove(rows: Rows, command: RemoveInstance, ms: int) -> Decision:
    known = instance(rows, command.instance.lower())
    if known is None:
        raise NotFound(f"there is no Beams instance {command.instance!r}")
    return tenancy.in_system_log(BeamsInstanceRemoved(known.app, known.id))


def checked_id(text: str) -> str:
    """As it is kept: in small letters. Raises BadRequest for what is no UUID."""
    id_ = text.lower()
    if not _UUID.fullmatch(id_):
        raise BadRequest("a Beams instance's id must be a UUID")
    return id_


def check_secret(secret: str) -> None:
    """It travels in a header, behind `Bearer`."""
    bad = not 0 < len(secret) <= SECRET_CHARS_MAX or not secret.isascii()
    if bad or not secret.isprintable() or " " in secret:
        raise BadRequest(
            f"a Beams instance's secret must be 1 to {SECRET_CHARS_MAX} visible ASCII characters"
        )


class BeamsInstances:
    """The projection."""

    name = TABLE
    prefix = b"e"
    kinds = frozenset({int(Kind.SYSTEM)})
    on_trim = OnTrim.KEEP

    def fold(self, table: Table, record: Record) -> None:
        match record.event:
            case BeamsInstanceCreated(app, id_, secret):
                table.put(_INSTANCE + id_.encode(), _encode(Instance(app, id_, secret)))
                table.put(_of_app(app) + id_.encode(), b"")
            case BeamsInstanceRemoved(app, id_):
                table.delete(_INSTANCE + id_.encode())
                table.delete(_of_app(app) + id_.encode())
            case AppDeleted(app):
                for key, _ in list(table.scan(_of_app(app))):
                    table.delete(_INSTANCE + key.removeprefix(_of_app(app)))
                    table.delete(key)

    def unfold(self, table: Table, record: Record) -> None:
        raise AssertionError("the system log is never trimmed")


def _of_app(app: str) -> bytes:
    return _OF_APP + app.encode() + b"\0"


def instance(rows: Rows, id_: str) -> Instance | None:
    row = rows.get(TABLE, _INSTANCE + id_.encode())
    return _read(row) if row else None


def instances(rows: Rows) -> list[Instance]:
    """All, in the order of their ids."""
    return [_read(row) for _, row in rows.scan(TABLE, _INSTANCE)]


def instance_of(rows: Rows, app: str) -> Instance | None:
    prefix = _of_app(app)
    for key, _ in rows.scan(TABLE, prefix):
        return instance(rows, key.removeprefix(prefix).decode())
    return None


DECIDE: dict[type, Decide] = {
    CreateInstance: create,
    RemoveInstance: remove,
}
