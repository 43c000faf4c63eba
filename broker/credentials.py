"""Who is calling and what they may do: API keys, JWTs, and the principal both become.

A credential is read, checked against a `Keyring`, and turned into a `Principal`; nothing above this
module sees a secret or a claim. Who may learn what decides the order of the checks: a revoked key
and an expired token are told so only after secret or signature proved right.

Invariants: a principal's capability is within its key's; secrets are compared in constant time and
appear in no repr, no error and no log; no clock is read (`now_ms` comes with the call).

Error codes follow the table of "Validation failures" in the protocol (RSA4a2, RSA4b): codes 40140
to 40149 make an SDK renew its token and try again, so plain garbage gets 40101 instead.

Refuses to do: native tokens, tokens embedded in a JWT (`x-ably-token`), and revocation of tokens.
`authenticate_token` is where they will join: a token without dots-and-JSON is refused there.
"""

import base64
import hmac
from collections.abc import Mapping
from typing import Any, Literal, Protocol

import jwt
import msgspec
from jwt.algorithms import HMACAlgorithm

from broker import capability as capabilities
from broker.capability import Capability
from broker.errors import BadRequest, NotFound, Unauthorized

AUTHENTICATION_FAILED = 40101
INVALID_CLIENT_ID = 40012
KEY_REVOKED = 40131
TOKEN_EXPIRED = 40142
INVALID_JWT = 40144
NOT_PERMITTED = 40160
UNKNOWN = 40400

WILDCARD = "*"

TOKEN_CHARS_MAX = 131_072  # the SDKs refuse longer ones themselves (RSA4f)
JWT_LIFETIME_MS_MAX = 24 * 60 * 60 * 1000
CLOCK_SKEW_MS = 5 * 60 * 1000
_KEY_CHARS_MAX = 1024
_SECONDS_MAX = 100_000_000_000  # the year 5138
_URL_SAFE_TO_STANDARD = str.maketrans("-_", "+/")


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """An API key of an app. `repr` hides the secret; `string` is the only way to see it whole."""

    app_id: str
    key_id: str
    secret: str
    capability: Capability
    revocable_tokens: bool = False
    revoked: bool = False

    @property
    def name(self) -> str:
        """`appId.keyId`, the public half."""
        return f"{self.app_id}.{self.key_id}"

    @property
    def string(self) -> str:
        """`appId.keyId:secret`, as SDKs are configured with (RSA11). A secret: never log it."""
        return f"{self.name}:{self.secret}"

    def __repr__(self) -> str:
        return f"<Key {self.name}{' revoked' if self.revoked else ''}>"

    def __rich_repr__(self) -> Any:
        yield "name", self.name


class KeyString(msgspec.Struct, frozen=True):
    """The three parts of `appId.keyId:secret`."""

    app_id: str
    key_id: str
    secret: str

    def __repr__(self) -> str:
        return f"<KeyString {self.app_id}.{self.key_id}>"

    def __rich_repr__(self) -> Any:
        yield "name", f"{self.app_id}.{self.key_id}"


class Keyring(Protocol):
    """Where keys are looked up; the tenancy projection, or a dict in a test."""

    def key(self, app_id: str, key_id: str) -> Key | None:
        """The key, revoked ones too, or None if the app has none of that id."""

    def app_exists(self, app_id: str) -> bool: ...


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """An authenticated caller.

    client_id: the identity bound to the credentials; "*" for a token that may take any (RSA7b4);
        None if there is none: a key may then speak for anyone, an anonymous token for nobody.
    expires_ms: when a token stops working, milliseconds since the epoch; None for a key.
    """

    app_id: str
    key_name: str
    capability: Capability
    client_id: str | None = None
    kind: Literal["key", "jwt"] = "key"
    expires_ms: int | None = None

    def require(self, operation: str, channel: str) -> None:
        """Raises Unauthorized 40160 unless the capability permits `operation` on `channel`."""
        if not self.capability.permits(operation, channel):
            raise Unauthorized(
                f"the credentials do not permit {operation!r} on this channel", NOT_PERMITTED
            )

    def require_app_wide(self, operation: str) -> None:
        """Raises Unauthorized 40160 unless `operation` is permitted on the whole app."""
        if not self.capability.permits_app_wide(operation):
            raise Unauthorized(
                f'the credentials do not permit {operation!r} on resource "*"', NOT_PERMITTED
            )

    def identify(self, claimed: str | None) -> str | None:
        """The client id of something this caller publishes, given the one it wrote on it.

        A bound id is implied and may be repeated (RSA7a1, RSL1m1-4); anyone else's is refused.
        Raises BadRequest 40012: mismatch, empty, the literal "*", or any id on an anonymous token.
        """
        bound = None if self.client_id == WILDCARD else self.client_id
        if claimed is None:
            return bound
        check_client_id(claimed)
        if bound is not None and claimed != bound:
            raise BadRequest("clientId does not match that of the credentials", INVALID_CLIENT_ID)
        if self.kind != "key" and self.client_id is None:
            raise BadRequest("an anonymous token cannot use a clientId", INVALID_CLIENT_ID)
        return claimed


def check_client_id(client_id: object) -> str:
    """A concrete client id: a non-empty string that is not "*" (RSA7c). Raises BadRequest 40012."""
    if not isinstance(client_id, str):
        raise BadRequest("clientId must be a string", INVALID_CLIENT_ID)
    if not client_id or client_id == WILDCARD:
        raise BadRequest('clientId must not be empty or "*"', INVALID_CLIENT_ID)
    return client_id


def parse_key(text: str) -> KeyString:
    """Split `appId.keyId:secret`: the name ends at the first ":", the app id at the first ".".

    Raises Unauthorized 40101, which never quotes the text: part of it may be a secret.
    """
    name, _, secret = text.partition(":")
    app_id, _, key_id = name.partition(".")
    if not (app_id and key_id and secret) or len(text) > _KEY_CHARS_MAX:
        raise Unauthorized("malformed API key: expected appId.keyId:secret", AUTHENTICATION_FAILED)
    return KeyString(app_id, key_id, secret)


def authenticate_key(keyring: Keyring, text: str, *, client_id: str | None = None) -> Principal:
    """Check an API key string (Basic auth, `key=`).

    client_id: an identity the caller asserts with the key (RSA7e), already decoded.
    Raises Unauthorized: 40101 malformed, unknown app or wrong secret; 40400 the app has no such
    key; 40131 revoked. BadRequest 40012 for an unusable client id.
    """
    given = parse_key(text)
    if not keyring.app_exists(given.app_id):
        raise Unauthorized("no such app", AUTHENTICATION_FAILED)
    key = _known_key(keyring, given.app_id, given.key_id)
    if not _same(given.secret, key.secret):
        raise Unauthorized("wrong API key secret", AUTHENTICATION_FAILED)
    _refuse_revoked(key)
    return Principal(
        app_id=key.app_id,
        key_name=key.name,
        capability=key.capability,
        client_id=None if client_id is None else check_client_id(client_id),
    )


def authenticate_token(keyring: Keyring, token: str, *, now_ms: int) -> Principal:
    """Check a token string, as `read_bearer` or a query gave it; today that is a JWT.

    Raises Unauthorized: 40101 not a token we know or a bad signature; 40400 the app has no such
    key; 40131 key revoked; 40144 malformed claims; 40142 expired; 40160 no capability left.
    NotFound 40400 if the token names an app that does not exist.
    """
    header = _jwt_header(token)
    app_id, key_id = _key_name(header)
    if not keyring.app_exists(app_id):
        raise NotFound("the token names an app that does not exist", UNKNOWN)
    key = _known_key(keyring, app_id, key_id)
    claims = _verified_claims(token, key)
    _refuse_revoked(key)
    expires_ms = _expiry(claims, now_ms)
    return Principal(
        app_id=app_id,
        key_name=key.name,
        capability=_token_capability(claims, key),
        client_id=_token_client_id(claims),
        kind="jwt",
        expires_ms=expires_ms,
    )


def read_bearer(value: str) -> str:
    """The token in an `Authorization: Bearer` value, which may be base64 of it or raw (RSA3b)."""
    decoded = _base64_text(value)
    return decoded if decoded is not None and decoded.isascii() and "." in decoded else value


def read_basic(value: str) -> str:
    """The key string in an `Authorization: Basic` value (RSA11). Raises Unauthorized 40101."""
    decoded = _base64_text(value)
    if decoded is None:
        raise Unauthorized("Basic credentials are not base64", AUTHENTICATION_FAILED)
    return decoded


def read_client_id(value: str) -> str:
    """The client id in an `X-Ably-ClientId` value, base64 (RSA7e2). Raises BadRequest 40012."""
    decoded = _base64_text(value)
    if decoded is None:
        raise BadRequest("X-Ably-ClientId is not base64", INVALID_CLIENT_ID)
    return check_client_id(decoded)


# -- keys -----------------------------------------------------------------------------------------


def _known_key(keyring: Keyring, app_id: str, key_id: str) -> Key:
    key = keyring.key(app_id, key_id)
    if key is None:
        raise Unauthorized("the app has no such key", UNKNOWN)
    return key


def _refuse_revoked(key: Key) -> None:
    if key.revoked:
        raise Unauthorized("the API key has been revoked", KEY_REVOKED)


def _same(given: str, ours: str) -> bool:
    # As bytes: compare_digest refuses non-ASCII strings. surrogatepass: hostile input may hold any.
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), ours.encode())


def _base64_text(value: str) -> str | None:
    """The text in base64 of either alphabet, padded or not; None if it is not that."""
    standard = value.translate(_URL_SAFE_TO_STANDARD)
    try:
        return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True).decode()
    except ValueError:  # binascii.Error and UnicodeDecodeError are ValueErrors
        return None


# -- JWTs -----------------------------------------------------------------------------------------


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
    _refuse_embedded(header)
    if header.get("alg") not in _ALGORITHMS:
        raise _malformed("header alg", f"must be one of {', '.join(_ALGORITHMS)}")
    return header


def _key_name(header: Mapping[str, Any]) -> tuple[str, str]:
    """(app id, key id) from the header's kid."""
    app_id, _, key_id = str(header.get("kid", "")).partition(".")
    if not app_id or not key_id or not (app_id + key_id).isascii():
        raise _malformed("header kid", "must be appId.keyId")
    return app_id, key_id


def _verified_claims(token: str, key: Key) -> Mapping[str, Any]:
    try:
        payload = _JWS.decode(token, key.secret, algorithms=list(_ALGORITHMS))
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise Unauthorized("the token's signature is wrong", AUTHENTICATION_FAILED) from None
    try:
        claims = msgspec.json.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise _malformed("payload", "must be JSON") from None
    if not isinstance(claims, dict):
        raise _malformed("payload", "must be a JSON object")
    _refuse_embedded(claims)
    return claims


def _refuse_embedded(fields: Mapping[str, Any]) -> None:
    """The seam for embedded tokens: with native tokens, this becomes "use that one instead"."""
    if "x-ably-token" in fields:
        raise Unauthorized(
            "tokens embedded in a JWT (x-ably-token) are not supported", AUTHENTICATION_FAILED
        )


def _expiry(claims: Mapping[str, Any], now_ms: int) -> int:
    """When the token expires, in ms. Raises 40142 if it has, 40144 if its times are not usable."""
    issued_ms, expires_ms = _time_ms(claims, "iat"), _time_ms(claims, "exp")
    if expires_ms - issued_ms > JWT_LIFETIME_MS_MAX:
        raise _malformed("claim exp", "must be at most 24 hours after iat")
    # Without this an iat in the far future would carry the 24 hours there with it.
    if expires_ms > now_ms + JWT_LIFETIME_MS_MAX + CLOCK_SKEW_MS:
        raise _malformed("claim iat", "is in the future")
    if "nbf" in claims and _time_ms(claims, "nbf") > now_ms + CLOCK_SKEW_MS:
        raise _malformed("claim nbf", "is in the future")
    if expires_ms <= now_ms:
        raise Unauthorized("the token has expired", TOKEN_EXPIRED)
    return expires_ms


def _time_ms(claims: Mapping[str, Any], name: str) -> int:
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


def _token_client_id(claims: Mapping[str, Any]) -> str | None:
    client_id = claims.get("x-ably-clientId")
    if client_id is not None and not (isinstance(client_id, str) and client_id):
        raise _malformed("claim x-ably-clientId", "must be a non-empty string")
    return client_id


def _malformed(part: str, reason: str) -> Unauthorized:
    return Unauthorized(f"invalid JWT: {part} {reason}", INVALID_JWT)


def _unrecognised() -> Unauthorized:
    return Unauthorized("the token is not one we know", AUTHENTICATION_FAILED)
