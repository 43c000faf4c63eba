"""Revoking tokens before they expire: what was revoked, and whether a token is among it.

A revocation names tokens of one key by what they all have in common: the client, the revocation key
they were given, or a resource of their capability, word for word. It concerns those issued before a
moment, and takes effect at another. Only a key that was made for it may revoke
(`revocable_tokens`). Connections that are already there are their session's to end; `matches` tells
it which.

A revocation outlives every token it is about, and is forgotten then (`REVOCATION_RETENTION_MS`).

Refuses to do: revoke keys (`broker.administration`), or read a clock.
"""

from collections.abc import Iterator
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from broker import tenancy
from broker.auth.credentials import Principal, refuse_revoked
from broker.auth.json_web_tokens import JWT_LIFETIME_MS_MAX
from broker.errors import BadRequest, NotFound, Unauthorized
from broker.event import Kind
from broker.events import TokensRevoked
from storage import Decision, OnTrim, Record, Rows, Stream, Table
from storage.projection import Decide
from storage.serial import ms_of

TABLE = "revocations"
TARGET_TYPES = ("clientId", "revocationKey", "channel")
INVALID_VALUE = 40003
NOT_REVOCABLE = 40163

ISSUED_BEFORE_AGE_MS_MAX = 3_600_000
# A client is promised 30 s to get another token, by whatever clock it measures them.
REAUTH_MARGIN_MS = 30_100
# What a token can live for at most, and an hour for a moment that lies back.
REVOCATION_RETENTION_MS = JWT_LIFETIME_MS_MAX + ISSUED_BEFORE_AGE_MS_MAX

_KEY_DIGEST_BYTES, _TARGET_DIGEST_BYTES = 8, 16
_WHEN_BYTES = 8
_AT_ONCE = 0


class Target(NamedTuple):
    """`type`: one of TARGET_TYPES."""

    type: str
    value: str


class RevokeTokens(msgspec.Struct, frozen=True):
    """Revoke tokens of one key. `issued_before`: ms, None for the moment that it is decided.
    `with_margin`: leave clients REAUTH_MARGIN_MS to get another token."""

    app: str
    key: str
    targets: tuple[Target, ...]
    issued_before: int | None = None
    with_margin: bool = False


def decide(rows: Rows, command: RevokeTokens, ms: int) -> Decision:
    """Decision.reply: the events, one per target in their order."""
    key = tenancy.key(rows, command.app, command.key)
    if key is None:
        raise NotFound(f"there is no key {command.app}.{command.key}")
    refuse_revoked(key)
    if not key.revocable_tokens:
        raise Unauthorized("tokens of this key cannot be revoked", NOT_REVOCABLE)
    issued_before = ms if command.issued_before is None else command.issued_before
    if not ms - ISSUED_BEFORE_AGE_MS_MAX <= issued_before <= ms:
        raise BadRequest("issuedBefore must lie within the past hour", INVALID_VALUE)
    applies_at = ms + REAUTH_MARGIN_MS if command.with_margin else ms
    events = tuple(
        TokensRevoked(key.name, target.type, target.value, issued_before, applies_at)
        for target in command.targets
    )
    stream = Stream(command.app, "", Kind.REVOCATIONS)
    return Decision([(stream, event) for event in events], reply=events)


class Revocations:
    """The projection: a row per revocation, under its key and its target."""

    name = TABLE
    prefix = b"r"
    kinds = frozenset({int(Kind.REVOCATIONS)})
    on_trim = OnTrim.DROP

    def fold(self, table: Table, record: Record) -> None:
        revoked: TokensRevoked = record.event
        # Compared with the wall clock, which serials may run ahead of: "now" must not mean "soon".
        due = revoked.applies_at > ms_of(record.serial)
        table.put(
            _row(record),
            _when(revoked.issued_before) + _when(revoked.applies_at if due else _AT_ONCE),
        )

    def unfold(self, table: Table, record: Record) -> None:
        table.delete(_row(record))


def revoked_from(rows: Rows, principal: Principal) -> int | None:
    """From when on (ms) the token of `principal` is refused; None if it was not revoked."""
    if principal.issued_ms is None:
        return None
    of_key = _digest(principal.key_name, _KEY_DIGEST_BYTES)
    if next(rows.scan(TABLE, of_key), None) is None:  # of almost every key
        return None
    moments = (
        applies_at
        for target in _targets(principal)
        for issued_before, applies_at in _of_target(rows, of_key, target)
        if principal.issued_ms < issued_before
    )
    return min(moments, default=None)


def matches(revocation: TokensRevoked, principal: Principal) -> bool:
    """Whether `principal` came with a token that `revocation` is about, in effect yet or not."""
    return (
        principal.issued_ms is not None
        and principal.key_name == revocation.key
        and principal.issued_ms < revocation.issued_before
        and Target(revocation.target_type, revocation.target_value) in _targets(principal)
    )


def _targets(principal: Principal) -> Iterator[Target]:
    """Everything that the token of `principal` could be named by."""
    if principal.client_id is not None:
        yield Target("clientId", principal.client_id)
    if principal.revocation_key is not None:
        yield Target("revocationKey", principal.revocation_key)
    for resource, _ in principal.capability.grants:
        yield Target("channel", resource)


def _of_target(rows: Rows, of_key: bytes, target: Target) -> Iterator[tuple[int, int]]:
    for _, row in rows.scan(TABLE, of_key + _target_digest(target)):
        yield (
            int.from_bytes(row[:_WHEN_BYTES], "big"),
            int.from_bytes(row[_WHEN_BYTES:], "big"),
        )


def _row(record: Record) -> bytes:
    revoked: TokensRevoked = record.event
    target = Target(revoked.target_type, revoked.target_value)
    of_key = _digest(revoked.key, _KEY_DIGEST_BYTES)
    return of_key + _target_digest(target) + record.serial.to_bytes(8, "big")


def _target_digest(target: Target) -> bytes:
    return _digest("\0".join(target), _TARGET_DIGEST_BYTES)


def _digest(text: str, size: int) -> bytes:
    """Names are the users', of any length."""
    return blake2b(text.encode(), digest_size=size).digest()


def _when(ms: int) -> bytes:
    return ms.to_bytes(_WHEN_BYTES, "big")


DECIDE: dict[type, Decide] = {RevokeTokens: decide}
