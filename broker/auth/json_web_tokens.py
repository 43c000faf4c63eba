"""JSON Web Tokens: what an app's own server signed with a key, checked and made a `Principal`.

Who may learn what decides the order of the checks: that a key is revoked or a token expired is told
only after the signature proved right. Nothing above this module sees a claim.

Invariants: a principal's capability is within its key's; only the algorithms listed here verify
anything, whatever a header asks for; no error holds a secret; no clock is read (`now_ms` comes with
the call). The codes follow the table that `broker.auth.credentials` names.

Refuses to do: native tokens, those embedded in a JWT (`broker.auth.embedded_tokens`), and to know
which tokens were revoked (`broker.auth.revocations`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jwt
import msgspec
from jwt.algorithms import HMACAlgorithm

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

INVALID_JWT = 40144

JWT_LIFETIME_MS_MAX = 24 * 60 * 60 * 1000
CLOCK_SKEW_MS = 5 * 60 * 1000
_SECONDS_MAX = 100_000_000_000  # the year 5138


def verify(keyring: Keyring, token: str, *, now_ms: int) -> Principal:
    """The principal of a JWT, revoked or not.

    Raises Unauthorized: 40101 not a JWT or a bad signature; 40400 the app has no such key; 40131
    key revoked; 40144 malformed claims; 40142 expired; 40160 no capability left. NotFound 40400 if
    the token names an app that does not exist.
    """
    header = _jwt_header(token)
    app_id, key_id = _key_name(header)
    if not keyring.app_exists(app_id):
        raise NotFound("the token names an app that does not exist", UNKNOWN_APP)
    key = known_key(keyring, app_id, key_id)
    claims = _verified_claims(token, key)
    refuse_revoked(key)
    issued_ms, expires_ms = _times(claims, now_ms)
    return Principal(
        app_id=app_id,
        key_name=key.name,
        capability=_token_capability(claims, key),
        client_id=_text_claim(claims, "x-ably-clientId"),
        kind="jwt",
        issued_ms=issued_ms,
        expires_ms=expires_ms,
        revocation_key=_text_claim(claims, "x-ably-revocation-key"),
    )


class _SecretOfAnyLength(HMACAlgorithm):
    """HMAC without PyJWT's warning on short secrets.

    Secrets are chosen when a key is made, and the operator is told there; a warning per request
    would help nobody.
    """

    def check_key_length(self, key: bytes) -> None:
        return None


_HASHES = {
    "HS256": HMACAlgorithm.SHA256,
    "HS384": HMACAlgorithm.SHA384,
    "HS512": HMACAlgorithm.SHA512,
}
_ALGORITHMS = tuple(_HASHES)


def _signatures() -> jwt.PyJWS:
    """A verifier of exactly our algorithms. PyJWS, not PyJWT: that one reads the clock."""
    verifier = jwt.PyJWS(algorithms=[])
    for name, function in _HASHES.items():
        verifier.register_algorithm(name, _SecretOfAnyLength(function))
    return verifier


_JWS = _signatures()


def _jwt_header(token: str) -> Mapping[str, Any]:
    """The unverified JOSE header of something that is shaped like a JWT."""
    if len(token) > TOKEN_CHARS_MAX:
        raise _unrecognised()
    try:
        header = _JWS.get_unverified_header(token)
    except (jwt.DecodeError, ValueError, RecursionError):
        raise _unrecognised() from None
    except jwt.PyJWTError as error:
        raise _malformed("header", str(error)) from None
    if header.get("alg") not in _ALGORITHMS:
        raise _malformed("header alg", f"must be one of {', '.join(_ALGORITHMS)}")
    return header


def _key_name(header: Mapping[str, Any]) -> tuple[str, str]:
    """(app id, key id) from the header's kid."""
    app_id, _, key_id = str(header.get("kid", "")).partition(".")
    if not app_id or not key_id or not (app_id + key_id).isascii():
        raise _malformed("header kid", "must be appId.keyId")
    return app_id, key_id


def signed_payload(token: str, secret: str, algorithms: Sequence[str]) -> bytes:
    """What a token says that was signed with a secret by one of our algorithms. Raises Unauthorized
    40101."""
    if len(token) > TOKEN_CHARS_MAX:
        raise _unrecognised()
    try:
        payload: bytes = _JWS.decode(token, secret, algorithms=list(algorithms))
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise Unauthorized("the token's signature is wrong", AUTHENTICATION_FAILED) from None
    return payload


def _verified_claims(token: str, key: Key) -> Mapping[str, Any]:
    payload = signed_payload(token, key.secret, _ALGORITHMS)
    try:
        claims = msgspec.json.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise _malformed("payload", "must be JSON") from None
    if not isinstance(claims, dict):
        raise _malformed("payload", "must be a JSON object")
    return claims


def _times(claims: Mapping[str, Any], now_ms: int) -> tuple[int, int]:
    """When the token was issued and when it expires, in ms. Raises 40142 if it has, 40144 if its
    times are not usable."""
    issued_ms, expires_ms = time_ms(claims, "iat"), time_ms(claims, "exp")
    if expires_ms - issued_ms > JWT_LIFETIME_MS_MAX:
        raise _malformed("claim exp", "must be at most 24 hours after iat")
    # One from the future would carry the 24 hours there with it, and escape being revoked.
    if issued_ms > now_ms + CLOCK_SKEW_MS:
        raise _malformed("claim iat", "is in the future")
    if "nbf" in claims and time_ms(claims, "nbf") > now_ms + CLOCK_SKEW_MS:
        raise _malformed("claim nbf", "is in the future")
    if expires_ms <= now_ms:
        raise Unauthorized("the token has expired", TOKEN_EXPIRED)
    return issued_ms, expires_ms


def time_ms(claims: Mapping[str, Any], name: str) -> int:
    """A NumericDate (RFC 7519) in milliseconds. Raises Unauthorized 40144."""
    seconds = claims.get(name)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise _malformed(f"claim {name}", "must be a number of seconds since the epoch")
    if not 0 <= seconds <= _SECONDS_MAX:  # a millisecond value lands here and is told the unit
        raise _malformed(f"claim {name}", "is out of range: it counts seconds")
    return int(seconds * 1000)


def _token_capability(claims: Mapping[str, Any], key: Key) -> Capability:
    claim = claims.get("x-ably-capability")
    if claim is None:
        return key.capability
    try:
        granted = capabilities.intersect(capabilities.parse(claim), key.capability)
    except BadRequest as error:
        raise _malformed("claim x-ably-capability", error.message) from None
    if not granted:
        raise Unauthorized("the key permits nothing that the token asks for", NOT_PERMITTED)
    return granted


def _text_claim(claims: Mapping[str, Any], name: str) -> str | None:
    text = claims.get(name)
    if text is not None and not (isinstance(text, str) and text):
        raise _malformed(f"claim {name}", "must be a non-empty string")
    return text


def _malformed(part: str, reason: str) -> Unauthorized:
    return Unauthorized(f"invalid JWT: {part} {reason}", INVALID_JWT)


def _unrecognised() -> Unauthorized:
    return Unauthorized("the token is not one we know", AUTHENTICATION_FAILED)
