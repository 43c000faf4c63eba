"""What an app allows of Matrix pushers: commands, what they come to, and the fold of it.

Two things are the operator's to say (reference push.md 2.3): which channels there are, and whether
the pushers of a client application (an `app_id`) must, may or must not be encrypted. Nothing said:
no channels, and encryption is optional. It goes with its app.

Invariants: at most CHANNELS_MAX channels and APP_IDS_MAX rules for an app, so that the rules are
one row, and small. A channel that is not there any more takes no subscription with it: pushers that
had it have it again should it come back.
"""

from typing import Literal, get_args

import msgspec

from broker import tenancy
from broker.errors import BadRequest
from broker.event import Kind
from broker.events import AppDeleted
from broker.matrix.events import MatrixChannelsSet, MatrixEncryptionSet
from broker.push.rows import TOPIC_BYTES_MAX
from storage import Decision, OnTrim, Record, Rows, Table
from storage.projection import Decide

TABLE = "matrix"
CHANNELS_MAX = 256
APP_IDS_MAX = 256
APP_ID_CHARS_MAX = 64
CHANNEL_CHARS_MAX = 128
Status = Literal["enabled", "disabled", "not_set"]
Encryption = Literal["required", "optional", "forbidden"]
STATUSES: tuple[Status, ...] = get_args(Status)
ENCRYPTION: tuple[Encryption, ...] = get_args(Encryption)


class MatrixRules(msgspec.Struct, frozen=True, omit_defaults=True):
    """`channels`: in the operator's order, each with what a new pusher begins with. `encryption`:
    of pushers whose app_id is not in `encryption_of`."""

    channels: dict[str, Status] = {}
    encryption: Encryption = "optional"
    encryption_of: dict[str, Encryption] = {}

    def encryption_for(self, app_id: str) -> Encryption:
        return self.encryption_of.get(app_id, self.encryption)

    @property
    def enabled_at_first(self) -> tuple[str, ...]:
        """The channels that a new pusher has."""
        return tuple(name for name, status in self.channels.items() if status == "enabled")


NO_RULES = MatrixRules()


class SetMatrixChannels(msgspec.Struct, frozen=True):
    app: str
    channels: dict[str, Status]


class SetMatrixEncryption(msgspec.Struct, frozen=True):
    """As MatrixEncryptionSet."""

    app: str
    rule: Encryption | None
    app_id: str | None = None


_encode = msgspec.msgpack.Encoder().encode
_read = msgspec.msgpack.Decoder(MatrixRules).decode


def set_channels(rows: Rows, command: SetMatrixChannels, ms: int) -> Decision:
    tenancy.require_app(rows, command.app)
    check_channels(command.channels)
    known = rules(rows, command.app).channels
    if list(known.items()) == list(command.channels.items()):
        return Decision()
    return tenancy.in_system_log(MatrixChannelsSet(command.app, dict(command.channels)))


def set_encryption(rows: Rows, command: SetMatrixEncryption, ms: int) -> Decision:
    tenancy.require_app(rows, command.app)
    check_encryption(command.rule, command.app_id)
    known = rules(rows, command.app)
    event = MatrixEncryptionSet(command.app, command.rule, command.app_id)
    wanted = _with_encryption(known, event)
    if len(wanted.encryption_of) > APP_IDS_MAX:
        raise BadRequest(f"there may be rules for {APP_IDS_MAX} app_ids")
    return Decision() if wanted == known else tenancy.in_system_log(event)


def check_channels(channels: dict[str, Status]) -> None:
    """Raises BadRequest 40000."""
    if len(channels) > CHANNELS_MAX:
        raise BadRequest(f"there may be {CHANNELS_MAX} Matrix channels, not {len(channels)}")
    for name, status in channels.items():
        fits = 0 < len(name) <= CHANNEL_CHARS_MAX and name.isprintable()
        if not fits or len(name.encode()) > TOPIC_BYTES_MAX:
            raise BadRequest(
                f"a Matrix channel's id must be 1 to {CHANNEL_CHARS_MAX} printable characters"
            )
        if status not in STATUSES:
            raise BadRequest(f"the status of {name!r} must be one of {', '.join(STATUSES)}")


def check_encryption(rule: str | None, app_id: str | None) -> None:
    """Raises BadRequest 40000."""
    if rule is not None and rule not in ENCRYPTION:
        raise BadRequest(f"encryption must be one of {', '.join(ENCRYPTION)}")
    if app_id is not None and not (0 < len(app_id) <= APP_ID_CHARS_MAX and app_id.isprintable()):
        raise BadRequest(f"an app_id must be 1 to {APP_ID_CHARS_MAX} printable characters")


class MatrixConfiguration:
    """The projection: one row for each app that something was said of."""

    name = TABLE
    prefix = b"y"
    kinds = frozenset({int(Kind.SYSTEM)})
    on_trim = OnTrim.KEEP

    def fold(self, table: Table, record: Record) -> None:
        match record.event:
            case MatrixChannelsSet(app, channels):
                known = _known(table.get(app.encode()))
                changed = msgspec.structs.replace(known, channels=channels)
                table.put(app.encode(), _encode(changed))
            case MatrixEncryptionSet(app):
                known = _known(table.get(app.encode()))
                table.put(app.encode(), _encode(_with_encryption(known, record.event)))
            case AppDeleted(app):
                table.delete(app.encode())

    def unfold(self, table: Table, record: Record) -> None:
        raise AssertionError("the system log is never trimmed")


def _with_encryption(known: MatrixRules, event: MatrixEncryptionSet) -> MatrixRules:
    if event.app_id is None:
        rule = event.rule or NO_RULES.encryption
        return msgspec.structs.replace(known, encryption=rule)
    of = {name: rule for name, rule in known.encryption_of.items() if name != event.app_id}
    if event.rule is not None:
        of[event.app_id] = event.rule  # type: ignore[assignment]  # checked when it was decided
    return msgspec.structs.replace(known, encryption_of=of)


def _known(row: bytes | None) -> MatrixRules:
    return _read(row) if row else NO_RULES


def rules(rows: Rows, app: str) -> MatrixRules:
    return _known(rows.get(TABLE, app.encode()))


DECIDE: dict[type, Decide] = {
    SetMatrixChannels: set_channels,
    SetMatrixEncryption: set_encryption,
}
