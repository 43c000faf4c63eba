"""Who is calling and what they may do: API keys, and the principal that any credential becomes.

A credential is read, checked against a `Keyring`, and turned into a `Principal`; nothing above
`broker.auth.authentication` sees a secret. Who may learn what decides the order of the checks: that
a key is revoked is told only after its secret proved right.

Invariants: secrets are compared in constant time and appear in no repr, no error and no log; no
clock is read.

Error codes follow the table of "Validation failures" in the protocol (RSA4a2, RSA4b): codes 40140
to 40149 make an SDK renew its token and try again, so plain garbage gets 40101 instead.

Refuses to do: judge tokens (`broker.auth.tokens`, `broker.auth.json_web_tokens`), or find the
credentials in a request (`api.authentication`); it reads header values only once they are found.
"""

import base64
import hmac
from typing import Any, Literal, Protocol

import msgspec

from broker.auth.capability import Capability
from broker.errors import BadRequest, NotFound, Unauthorized

AUTHENTICATION_FAILED = 40101
INCOMPATIBLE_CLIENT_ID = 40102
INVALID_CLIENT_ID = 40012
KEY_REVOKED = 40131
NOT_PERMITTED = 40160
TOKEN_EXPIRED = 40142
TOKEN_REVOKED = 40141
UNKNOWN_APP = 40400
UNKNOWN_KEY = 40400

TOKEN_CHARS_MAX = 131_072  # the SDKs refuse longer ones themselves (RSA4f)

WILDCARD = "*"

_KEY_CHARS_MAX = 1024
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

    def revoked_from(self, principal: "Principal") -> int | None:
        """From when on (ms) the token that `principal` came with is refused; None if it was not
        revoked. Its key is another matter."""


IN_PROCESS = "(in process)"
"""In place of a key's name: the program that has the broker open."""


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """An authenticated caller.

    client_id: the identity bound to the credentials; "*" for a token that may take any (RSA7b4);
        None if there is none: a key may then speak for anyone, an anonymous token for nobody.
    kind: "token" is a native one.
    issued_ms, expires_ms: from when until when a token works, milliseconds since the epoch; None
        for a key.
    revocation_key: the group that a token can be revoked with (broker.auth.revocations).
    revoked_from_ms: when it stops working because it was; None if it was not when it was checked.
    device_id: the device that a token identifies, which is all it is good for; token_id: its own.
    """

    app_id: str
    key_name: str
    capability: Capability
    client_id: str | None = None
    kind: Literal["key", "jwt", "token"] = "key"
    issued_ms: int | None = None
    expires_ms: int | None = None
    revocation_key: str | None = None
    revoked_from_ms: int | None = None
    device_id: str | None = None
    token_id: str | None = None

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
    if not is_unicode(client_id):
        raise BadRequest("clientId is not valid Unicode", INVALID_CLIENT_ID)
    return client_id


def is_unicode(text: str) -> bool:
    """Lone surrogates are legal in a Python string and in nothing that we sign or write."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def asserted(principal: Principal, client_id: str | None) -> Principal:
    """`principal` as the client that it says it is when it connects (reference 2.6).

    Raises BadRequest 40012 for an id that nobody can have; Unauthorized 40102 for one that the
    token is not for, which is any id if the token is anonymous.
    """
    if client_id is None or client_id == principal.client_id:
        return principal
    check_client_id(client_id)
    unbound_key = principal.kind == "key" and principal.client_id is None
    if not unbound_key and principal.client_id != WILDCARD:
        raise Unauthorized("clientId is not that of the credentials", INCOMPATIBLE_CLIENT_ID)
    return msgspec.structs.replace(principal, client_id=client_id)


def parse_key(text: str) -> KeyString:
    """Split `appId.keyId:secret`: the name ends at the first ":", the app id at the first ".".

    Raises Unauthorized 40101, which never quotes the text: part of it may be a secret.
    """
    name, _, secret = text.partition(":")
    app_id, key_id = split_key_name(name)
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
    key = known_key(keyring, given.app_id, given.key_id)
    if not _same(given.secret, key.secret):
        raise Unauthorized("wrong API key secret", AUTHENTICATION_FAILED)
    refuse_revoked(key)
    principal = Principal(app_id=key.app_id, key_name=key.name, capability=key.capability)
    return asserted(principal, client_id)


def split_key_name(name: str) -> tuple[str, str]:
    """(app id, key id) of `appId.keyId`; either is empty if it is missing."""
    app_id, _, key_id = name.partition(".")
    return app_id, key_id


def named_key(keyring: Keyring, name: str) -> Key:
    """The key that is called `appId.keyId`. Raises NotFound 40400."""
    key = keyring.key(*split_key_name(name))
    if key is None:
        raise NotFound("there is no such key", UNKNOWN_KEY)
    return key


def known_key(keyring: Keyring, app_id: str, key_id: str) -> Key:
    """A key of an app that exists. Raises Unauthorized 40400 if the app has none of that id."""
    key = keyring.key(app_id, key_id)
    if key is None:
        raise Unauthorized("the app has no such key", UNKNOWN_KEY)
    return key


def refuse_revoked(key: Key) -> None:
    """Raises Unauthorized 40131. Call it once the caller has proved that it holds the secret."""
    if key.revoked:
        raise Unauthorized("the API key has been revoked", KEY_REVOKED)


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
