"""Credentials to a principal, whatever they are: the one place that REST and connections ask.

    API key          its own capability; it may speak for any client
    native token     broker.auth.tokens; exactly one dot
    JWT              broker.auth.json_web_tokens
    JWT around one   broker.auth.embedded_tokens

Whether a token was revoked is asked last, of the principal as it will act: with the client id that
it asserted, so that revoking a client's tokens also ends what a wildcard token does in its name.

Refuses to do: find credentials in a request (`api.authentication`), or read a clock.
"""

import msgspec

from broker.auth import json_web_tokens, tokens
from broker.auth.credentials import (
    AUTHENTICATION_FAILED,
    TOKEN_EXPIRED,
    TOKEN_REVOKED,
    UNKNOWN_KEY,
    Keyring,
    Principal,
    asserted,
    authenticate_key,
    known_key,
    refuse_revoked,
)
from broker.auth.embedded_tokens import Embedded, embedded
from broker.auth.json_web_tokens import INVALID_JWT
from broker.errors import NotFound, Unauthorized


def authenticate(
    keyring: Keyring,
    *,
    key: str | None = None,
    token: str | None = None,
    client_id: str | None = None,
    now_ms: int,
) -> Principal:
    """The caller that holds `key` or else `token`, as `client_id` if it says so (reference 2.6).

    Raises as `authenticate_key` and `authenticate_token` do; Unauthorized 40101 if there are no
    credentials.
    """
    if key:
        return authenticate_key(keyring, key, client_id=client_id)
    if token:
        return authenticate_token(keyring, token, client_id=client_id, now_ms=now_ms)
    raise Unauthorized("no authentication information provided", AUTHENTICATION_FAILED)


def authenticate_token(
    keyring: Keyring, token: str, *, client_id: str | None = None, now_ms: int
) -> Principal:
    """Check a token string, as `read_bearer` or a query gave it.

    Raises Unauthorized: 40101 not a token we know or a bad signature; 40102 `client_id` is not the
    token's; 40400 the app has no such key; 40131 key revoked; 40141 token revoked; 40142 expired;
    40144 malformed claims of a JWT; 40160 no capability left. NotFound 40400 if the token names an
    app that does not exist. BadRequest 40012 for a `client_id` that nobody can have.
    """
    principal = asserted(_verified(keyring, token, now_ms), client_id)
    revoked_from_ms = keyring.revoked_from(principal)
    if revoked_from_ms is None:
        return principal
    if revoked_from_ms <= now_ms:
        raise Unauthorized("the token has been revoked", TOKEN_REVOKED)
    return msgspec.structs.replace(principal, revoked_from_ms=revoked_from_ms)


def still_valid(keyring: Keyring, principal: Principal, now_ms: int) -> None:
    """Raises what `authenticate` would, had the caller come only now: something may have been
    revoked or deleted in between."""
    app_id, _, key_id = principal.key_name.partition(".")
    if not keyring.app_exists(app_id):
        raise NotFound("the app was deleted", UNKNOWN_KEY)
    refuse_revoked(known_key(keyring, app_id, key_id))
    revoked_from_ms = None if principal.kind == "key" else keyring.revoked_from(principal)
    if revoked_from_ms is not None and revoked_from_ms <= now_ms:
        raise Unauthorized("the token has been revoked", TOKEN_REVOKED)


def _verified(keyring: Keyring, token: str, now_ms: int) -> Principal:
    if token.count(".") == 1:
        return tokens.verify(keyring, token, now_ms=now_ms)
    inner = embedded(token)
    if inner is None:
        return json_web_tokens.verify(keyring, token, now_ms=now_ms)
    return _verified_inside(keyring, inner, now_ms)


def _verified_inside(keyring: Keyring, inner: Embedded, now_ms: int) -> Principal:
    if not isinstance(inner.token, str):
        raise Unauthorized("x-ably-token must be a token", INVALID_JWT)
    principal = tokens.verify(keyring, inner.token, now_ms=now_ms)
    if inner.expires is None:
        return principal
    expires_ms = json_web_tokens.time_ms({"exp": inner.expires}, "exp")
    if expires_ms <= now_ms:
        raise Unauthorized("the token has expired", TOKEN_EXPIRED)
    if principal.expires_ms is not None and expires_ms > principal.expires_ms:
        raise Unauthorized("the token in the JWT expires before the JWT does", INVALID_JWT)
    return msgspec.structs.replace(principal, expires_ms=expires_ms)
