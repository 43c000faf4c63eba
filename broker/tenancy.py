"""Apps, keys, namespaces and limits as they stand: the fold of the system log, and its look-ups.

The system log is never trimmed, so what an operator ever did can be read back. A revoked key keeps
its row, so that its id is not given out again and its holder is told why (40131).
"""

from functools import lru_cache

import msgspec

from broker.auth import capability
from broker.auth.credentials import Key
from broker.channels.channel_name import namespace as namespace_of
from broker.errors import NotFound
from broker.event import Event, Kind
from broker.events import (
    AppCreated,
    AppDeleted,
    KeyCreated,
    KeyRevoked,
    LimitsSet,
    LogCreated,
    NamespaceRemoved,
    NamespaceSet,
)
from storage import Decision, OnTrim, Record, Rows, Stream, Table
from storage.serial import ms_of

SYSTEM = Stream("", "", Kind.SYSTEM)
TABLE = "tenancy"
_SERIES = b"s"
_APP, _KEY, _NAMESPACE, _LIMITS = b"a", b"k", b"n", b"l"


class App(msgspec.Struct, frozen=True, omit_defaults=True):
    """`serial`: of its AppCreated, so that apps have an order even within a millisecond.
    presence_members_max: of each channel; None is no bound."""

    id: str
    serial: int
    name: str = ""
    presence_members_max: int | None = None

    @property
    def created_ms(self) -> int:
        return ms_of(self.serial)


class NamespaceRules(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What holds for the channels of a namespace (reference 5). None: the broker's default.

    retention_ms: 0 keeps messages for ever. messages_max, bytes_max: bounds of one channel.
    messages_per_s, bytes_per_s: what may be published to one channel; 0 is no limit.
    """

    persisted: bool = False
    identified: bool = False
    push_enabled: bool = False
    mutable_messages: bool = False
    retention_ms: int | None = None
    messages_max: int | None = None
    bytes_max: int | None = None
    messages_per_s: int | None = None
    bytes_per_s: int | None = None


class Limits(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What an app, or one of its keys with its tokens, may do. None: as the settings say; 0: no
    limit. connections_max: of an app only."""

    messages_per_s: int | None = None
    bytes_per_s: int | None = None
    requests_per_s: int | None = None
    connections_max: int | None = None


NO_RULES = NamespaceRules()
NO_LIMITS = Limits()
RATE_RULES = frozenset({"messages_per_s", "bytes_per_s"})


class _KeyRow(msgspec.Struct, frozen=True, omit_defaults=True):
    created: KeyCreated
    serial: int
    revoked: bool = False


_encode = msgspec.msgpack.Encoder().encode
_read_app = msgspec.msgpack.Decoder(App).decode
_read_key = msgspec.msgpack.Decoder(_KeyRow).decode
_read_rules = msgspec.msgpack.Decoder(NamespaceRules).decode
_read_limits = msgspec.msgpack.Decoder(Limits).decode


def _row(table: bytes, *names: str) -> bytes:
    return table + "\0".join(names).encode()


class Tenancy:
    """The projection: one row per app, key and namespace, and one per app or key with limits."""

    name = TABLE
    prefix = b"t"
    kinds = frozenset({int(Kind.SYSTEM)})
    on_trim = OnTrim.KEEP

    def fold(self, table: Table, record: Record) -> None:
        match record.event:
            case LogCreated(series):
                table.put(_SERIES, series.encode())
            case AppCreated(app, name, members_max):
                table.put(_row(_APP, app), _encode(App(app, record.serial, name, members_max)))
            case AppDeleted(app):
                _delete_app(table, app)
            case KeyCreated(app, key):
                table.put(_row(_KEY, app, key), _encode(_KeyRow(record.event, record.serial)))
            case KeyRevoked(app, key):
                row = _read_key(table.get(_row(_KEY, app, key)) or b"")
                revoked = _KeyRow(row.created, row.serial, revoked=True)
                table.put(_row(_KEY, app, key), _encode(revoked))
            case NamespaceSet(app, namespace, rules):
                table.put(_row(_NAMESPACE, app, namespace), _encode(rules))
            case NamespaceRemoved(app, namespace):
                table.delete(_row(_NAMESPACE, app, namespace))
            case LimitsSet(app, key, limits):
                _set_limits(table, _row(_LIMITS, app, key or ""), limits)

    def unfold(self, table: Table, record: Record) -> None:
        raise AssertionError("the system log is never trimmed")


def _set_limits(table: Table, row: bytes, limits: dict[str, int]) -> None:
    if limits:
        table.put(row, _encode(limits))
    else:
        table.delete(row)


def _delete_app(table: Table, app: str) -> None:
    for kind in (_KEY, _NAMESPACE, _LIMITS):
        for key, _ in list(table.scan(_row(kind, app, ""))):
            table.delete(key)
    table.delete(_row(_APP, app))


def series(rows: Rows) -> str | None:
    """The series that this log's serials carry; None before its first event."""
    value = rows.get(TABLE, _SERIES)
    return value.decode() if value else None


def app(rows: Rows, app_id: str) -> App | None:
    value = rows.get(TABLE, _row(_APP, app_id))
    return _read_app(value) if value else None


def app_exists(rows: Rows, app_id: str) -> bool:
    return rows.get(TABLE, _row(_APP, app_id)) is not None


def in_system_log(event: Event) -> Decision:
    """What a command of administration comes to."""
    return Decision([(SYSTEM, event)])


def require_app(rows: Rows, app_id: str) -> None:
    """Raises NotFound 40400."""
    if not app_exists(rows, app_id):
        raise NotFound(f"there is no app {app_id!r}")


def presence_members_max(rows: Rows, app_id: str) -> int | None:
    """How many members one channel of an app may have; None is no bound."""
    found = app(rows, app_id)
    return found.presence_members_max if found else None


def apps(rows: Rows) -> list[App]:
    """Every app, oldest first."""
    found = [_read_app(value) for _, value in rows.scan(TABLE, _APP)]
    return sorted(found, key=lambda item: item.serial)


def key(rows: Rows, app_id: str, key_id: str) -> Key | None:
    """A key of an app, revoked ones too."""
    value = rows.get(TABLE, _row(_KEY, app_id, key_id))
    return _key(value) if value else None


def keys(rows: Rows, app_id: str) -> list[Key]:
    """Every key of an app, oldest first."""
    found = [value for _, value in rows.scan(TABLE, _row(_KEY, app_id, ""))]
    return [_key(value) for value in sorted(found, key=lambda value: _read_key(value).serial)]


@lru_cache(maxsize=4_096)
def _key(value: bytes) -> Key:
    """Cached by the row's bytes: a key's capability is compiled once, and never stale."""
    row = _read_key(value)
    created = row.created
    return Key(
        app_id=created.app,
        key_id=created.key,
        secret=created.secret,
        capability=capability.parse(created.capability),
        revocable_tokens=created.revocable_tokens,
        revoked=row.revoked,
    )


def rules(rows: Rows, app_id: str, channel: str) -> NamespaceRules:
    """What holds for a channel: the rules of its namespace."""
    value = rows.get(TABLE, _row(_NAMESPACE, app_id, namespace_of(channel)))
    return _read_rules(value) if value else NO_RULES


def namespaces(rows: Rows, app_id: str) -> dict[str, NamespaceRules]:
    prefix = _row(_NAMESPACE, app_id, "")
    found = rows.scan(TABLE, prefix)
    return {row[len(prefix) :].decode(): _read_rules(value) for row, value in found}


def limits(rows: Rows, app_id: str, key_id: str = "") -> Limits:
    """Of an app, or of one of its keys."""
    value = rows.get(TABLE, _row(_LIMITS, app_id, key_id))
    return _read_limits(value) if value else NO_LIMITS


def limits_anything(rows: Rows) -> bool:
    """Whether any app, key or namespace has a rate or a number of its own."""
    if any(True for _ in rows.scan(TABLE, _LIMITS)):
        return True
    every = (_read_rules(value) for _, value in rows.scan(TABLE, _NAMESPACE))
    return any((one.messages_per_s, one.bytes_per_s) != (None, None) for one in every)
