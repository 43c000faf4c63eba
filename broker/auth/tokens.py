"""Native tokens: `appId.<opaque>`, issued by us and never stored.

The opaque part is URL-safe base64 of

    version 1 | claims, a MessagePack array | HMAC-SHA256 of both, 32 bytes

under a key derived from the API key's name and secret. So a token outlives a restart, costs nothing
to keep, and is worth what its key is worth: revoke the key and its tokens are gone.

Invariants: two tokens are never equal (`token_id` is random); one token has one spelling; a
principal's capability is within its key's as the key is now; who may learn what decides the order
of the checks, as in `broker.auth.credentials`; no error and no repr shows a token.

Refuses to do: decide who gets a token (`broker.auth.token_requests`), or know which tokens were
revoked (`broker.auth.revocations`). It reads no clock and draws no randomness.
"""

import binascii
import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from broker.auth import capability as capabilities
from broker.auth.capability import Capability
from broker.auth.credentials import (
    AUTHENTICATION_FAILED,
    NOT_PERMITTED,
    TOKEN_CHARS_MAX,
    TOKEN_EXPIRED,
    UNKNOWN_APP,
    Key,
    Keyring,
    Principal,
    known_key,
    refuse_revoked,
)
from broker.errors import BadRequest, NotFound, Unauthorized

_VERSION = b"\x01"
_MAC_BYTES = 32
_PURPOSE = b"tidelog native token\0"


class Claims(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """What a token says. Order is the format: fields may be added at the end, with a default.

    key_id: of the key that issued it. capability: canonical JSON. client_id: None is anonymous.
    device_id: whose it is, if it identifies a device (broker.push.identity).
    """

    key_id: str
    issued_ms: int
    expires_ms: int
    capability: str
    token_id: str
    client_id: str | None = None
    revocation_key: str | None = None
    device_id: str | None = None


class TokenDetails(msgspec.Struct, frozen=True, kw_only=True):
    """An issued token (TD1-TD7). `token` is a secret; `repr` hides it."""

    token: str
    key_name: str
    issued_ms: int
    expires_ms: int
    capability: str
    client_id: str | None = None

    def __repr__(self) -> str:
        return f"<TokenDetails of {self.key_name}>"

    def __rich_repr__(self) -> Any:
        yield "key_name", self.key_name


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Claims).decode


class _Token(NamedTuple):
    """A token taken apart; nothing of it is to be believed before its MAC was checked."""

    app_id: str
    claims: Claims
    signed: bytes
    mac: bytes

    def __repr__(self) -> str:
        return f"<token of {self.app_id}>"


def issue(key: Key, claims: Claims) -> TokenDetails:
    """Sign `claims` with `key`. Raises BadRequest 40000 if the token would be too long for SDKs,
    or its capability overlaps its key's in more ways than can be checked again."""
    _within(claims.capability, key.capability)
    signed = _VERSION + _encode(claims)
    opaque = urlsafe_b64encode(signed + _mac(key, signed)).rstrip(b"=").decode()
    token = f"{key.app_id}.{opaque}"
    if len(token) > TOKEN_CHARS_MAX:
        raise BadRequest("the token would be too long: its capability or clientId is")
    return TokenDetails(
        token=token,
        key_name=key.name,
        issued_ms=claims.issued_ms,
        expires_ms=claims.expires_ms,
        capability=claims.capability,
        client_id=claims.client_id,
    )


def verify(keyring: Keyring, text: str, *, now_ms: int) -> Principal:
    """The principal of a native token, revoked or not.

    Raises Unauthorized: 40101 not one of ours; 40400 the app has no such key; 40131 key revoked;
    40142 expired; 40160 its key no longer permits any of it. NotFound 40400 for an app that does
    not exist.
    """
    token = _take_apart(text)
    if not keyring.app_exists(token.app_id):
        raise NotFound("the token names an app that does not exist", UNKNOWN_APP)
    key = known_key(keyring, token.app_id, token.claims.key_id)
    if not hmac.compare_digest(token.mac, _mac(key, token.signed)):
        raise _unrecognised()
    refuse_revoked(key)
    if token.claims.expires_ms <= now_ms:
        raise Unauthorized("the token has expired", TOKEN_EXPIRED)
    return _principal(key, token.claims)


def _principal(key: Key, claims: Claims) -> Principal:
    return Principal(
        app_id=key.app_id,
        key_name=key.name,
        capability=_capability(claims.capability, key),
        client_id=claims.client_id,
        kind="token",
        issued_ms=claims.issued_ms,
        expires_ms=claims.expires_ms,
        revocation_key=claims.revocation_key,
        device_id=claims.device_id,
        token_id=claims.token_id if claims.device_id else None,
    )


def _take_apart(text: str) -> _Token:
    app_id, _, opaque = text.partition(".")
    if not app_id or not text.isascii() or len(text) > TOKEN_CHARS_MAX:
        raise _unrecognised()
    try:
        raw = urlsafe_b64decode(opaque + "=" * (-len(opaque) % 4))
        claims = _decode(raw[len(_VERSION) : -_MAC_BYTES])
    except (binascii.Error, msgspec.MsgspecError, ValueError, RecursionError):
        raise _unrecognised() from None
    # The decoder passes over characters outside its alphabet, and over bits that do not count.
    one_spelling = urlsafe_b64encode(raw).rstrip(b"=").decode() == opaque
    if not one_spelling or not raw.startswith(_VERSION):
        raise _unrecognised()
    return _Token(app_id, claims, raw[:-_MAC_BYTES], raw[-_MAC_BYTES:])


def _mac(key: Key, signed: bytes) -> bytes:
    # A derived key: what the secret itself signs, JWTs and token requests, can never pass for one.
    derived = hmac.digest(key.secret.encode(), _PURPOSE + key.name.encode(), hashlib.sha256)
    return hmac.digest(derived, signed, hashlib.sha256)


def _capability(text: str, key: Key) -> Capability:
    try:
        granted = _within(text, key.capability)
    except BadRequest:
        granted = None
    if not granted:
        raise Unauthorized("the key permits nothing of what the token does", NOT_PERMITTED)
    return granted


@lru_cache(maxsize=256)
def _within(text: str, key_capability: Capability) -> Capability:
    """Cached: it is asked with every request, and a client's requests carry one token. Only what a
    MAC has vouched for gets here."""
    return capabilities.intersect(capabilities.parse(text), key_capability)


def _unrecognised() -> Unauthorized:
    return Unauthorized("the token is not one we know", AUTHENTICATION_FAILED)
