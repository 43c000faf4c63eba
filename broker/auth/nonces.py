"""Nonces of token requests that were honoured, so that none is honoured twice.

Decided in the log's transaction, so a replay is refused across restarts and however many arrive at
once. What counts is the nonce with its timestamp: a replay has both, for both are signed, and
clients do send a nonce again with another timestamp. It is forgotten when the timestamp alone would
refuse the request (`NONCE_RETENTION_MS`).

Refuses to do: judge the rest of a token request (`broker.auth.token_requests`).
"""

from hashlib import blake2b

import msgspec

from broker import tenancy
from broker.auth.credentials import refuse_revoked
from broker.errors import NotFound, Unauthorized
from broker.event import Kind
from broker.events import NonceUsed
from storage import Decision, OnTrim, Record, Rows, Stream, Table
from storage.projection import Decide

TABLE = "nonces"
STALE_TIMESTAMP = 40104
NONCE_REPLAYED = 40105

TIMESTAMP_WINDOW_MS = 2 * 60 * 1000
# A timestamp may lie a window ahead, and is good for a window behind it.
NONCE_RETENTION_MS = 15 * 60 * 1000
_DIGEST_BYTES = 16


class UseNonce(msgspec.Struct, frozen=True):
    """Honour a token request whose MAC proved right, of `key` (an id), made at `timestamp_ms`."""

    app: str
    key: str
    nonce: str
    timestamp_ms: int


def decide(rows: Rows, command: UseNonce, ms: int) -> Decision:
    key = tenancy.key(rows, command.app, command.key)
    if key is None:
        raise NotFound(f"there is no key {command.app}.{command.key}")
    refuse_revoked(key)
    if abs(command.timestamp_ms - ms) > TIMESTAMP_WINDOW_MS:
        raise Unauthorized("the token request's timestamp is not current", STALE_TIMESTAMP)
    event = NonceUsed(key.name, command.nonce, command.timestamp_ms)
    if rows.get(TABLE, _row(event)) is not None:
        raise Unauthorized("the token request's nonce was used before", NONCE_REPLAYED)
    return Decision([(Stream(command.app, "", Kind.NONCES), event)])


class Nonces:
    """The projection: a row per nonce in use."""

    name = TABLE
    prefix = b"u"
    kinds = frozenset({int(Kind.NONCES)})
    on_trim = OnTrim.DROP

    def fold(self, table: Table, record: Record) -> None:
        table.put(_row(record.event), b"")

    def unfold(self, table: Table, record: Record) -> None:
        table.delete(_row(record.event))


def _row(used: NonceUsed) -> bytes:
    """By digest: nonces are the users', of any length."""
    text = f"{used.key}\0{used.timestamp_ms}\0{used.nonce}"
    return blake2b(text.encode(), digest_size=_DIGEST_BYTES).digest()


DECIDE: dict[type, Decide] = {UseNonce: decide}
