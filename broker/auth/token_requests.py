"""Token requests: who may have a native token, and what it may do (reference 2.3).

A signed request is its own credential: an HMAC with the key's secret over its fields, good once and
for a while. An unsigned one is worth what the caller who brings it may do, so a token asked for
with a token can do no more, speaks for the same client, and ends no later; its revocation key, if
it has one, is handed down.

Invariants: the MAC covers the fields exactly as they came, before anything is made of them; a
token's capability is within its key's and its caller's; a request that is refused for anything else
does not use up its nonce.

Refuses to do: the format of tokens (`broker.auth.tokens`), timestamps and nonces
(`broker.auth.nonces`).
"""

import hashlib
import hmac
import re
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from broker import randomness
from broker.auth import capability as capabilities
from broker.auth import tokens
from broker.auth.capability import Capability
from broker.auth.credentials import (
    AUTHENTICATION_FAILED,
    INVALID_CLIENT_ID,
    NOT_PERMITTED,
    Key,
    Keyring,
    Principal,
    asserted,
    is_unicode,
    named_key,
    refuse_revoked,
)
from broker.auth.nonces import UseNonce
from broker.auth.tokens import Claims, TokenDetails
from broker.errors import BadRequest, Unauthorized
from storage import Outcome

INVALID_VALUE = 40003

TTL_MS_DEFAULT = 3_600_000
TTL_MS_MAX = 24 * 3_600_000
REVOCABLE_TTL_MS_MAX = 3_600_000
NONCE_CHARS_MIN, NONCE_CHARS_MAX = 16, 1_024
_INTEGER = re.compile(r"[0-9]{1,16}", re.ASCII)
_SIGNED_FIELDS = ("keyName", "ttl", "capability", "clientId", "timestamp", "nonce")

Submit = Callable[..., Awaitable[Outcome]]


class TokenRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request as far as it can be judged without its key. What was absent is None.

    signed_text: what `mac` was made of. Both together are a credential; `repr` hides them.
    """

    ttl_ms: int | None
    capability: Capability | None
    client_id: str | None
    timestamp_ms: int | None
    nonce: str | None
    mac: str | None
    signed_text: str

    def __repr__(self) -> str:
        return f"<TokenRequest {'signed' if self.mac else 'unsigned'}>"

    def __rich_repr__(self) -> Any:
        yield "signed", self.mac is not None


def read(key_name: str, body: object) -> TokenRequest:
    """The request for a token of `key_name` in a decoded body. Null and "" are absent.

    Raises BadRequest: 40000 not an object, or an invalid capability; 40012 clientId; 40003 any
    other field that has no meaning, or a keyName that is another's.
    """
    if not isinstance(body, Mapping):
        raise BadRequest("a token request must be an object")
    capability = _capability(body.get("capability"))
    texts = {name: _text(body, name) for name in _SIGNED_FIELDS if name != "capability"}
    texts["capability"] = capability[0]
    if texts["keyName"] not in (key_name, ""):
        raise BadRequest("keyName is not that of the path", INVALID_VALUE)
    request = TokenRequest(
        ttl_ms=_integer(texts, "ttl"),
        capability=capability[1],
        client_id=_client_id(body.get("clientId")),
        timestamp_ms=_integer(texts, "timestamp"),
        nonce=texts["nonce"] or None,
        mac=_text(body, "mac") or None,
        signed_text="".join(f"{texts[name]}\n" for name in _SIGNED_FIELDS),
    )
    return _checked(request)


async def issue(
    request: TokenRequest,
    key_name: str,
    caller: Principal | None,
    *,
    keyring: Keyring,
    submit: Submit,
    now: Callable[[], int],
) -> TokenDetails:
    """A new token of `key_name`. `caller`: who brings an unsigned request.

    Raises NotFound 40400: no such key. Unauthorized: 40101 wrong MAC, or no credentials of this
    key; 40102 a clientId that is not the caller's; 40104 stale; 40105 a replay; 40131 key revoked;
    40160 nothing permitted. BadRequest 40003: a ttl that tokens of this key cannot have.
    """
    key = named_key(keyring, key_name)
    _authenticate(request, key, caller)
    refuse_revoked(key)
    ttl_ms = _ttl_ms(request, key)
    granted = _granted(request, key, caller)
    client_id = _client_id_for(request, caller)
    if request.nonce and request.timestamp_ms is not None and request.mac:
        command = UseNonce(key.app_id, key.key_id, request.nonce, request.timestamp_ms)
        await submit(command, app=key.app_id)
    issued_ms = now()
    expires_ms = issued_ms + ttl_ms
    if caller is not None and caller.expires_ms is not None:
        expires_ms = min(expires_ms, caller.expires_ms)
    claims = Claims(
        key_id=key.key_id,
        issued_ms=issued_ms,
        expires_ms=expires_ms,
        capability=str(granted),
        token_id=randomness.new_id(),
        client_id=client_id,
        revocation_key=caller.revocation_key if caller else None,
    )
    return tokens.issue(key, claims)


def sign(text: str, secret: str) -> str:
    """The MAC of a token request's text (RSA9g)."""
    mac = hmac.digest(secret.encode(), text.encode(), hashlib.sha256)
    return b64encode(mac).decode()


def _authenticate(request: TokenRequest, key: Key, caller: Principal | None) -> None:
    if request.mac is not None:
        if not hmac.compare_digest(
            request.mac.encode(), sign(request.signed_text, key.secret).encode()
        ):
            raise Unauthorized("the token request's mac is wrong", AUTHENTICATION_FAILED)
    elif caller is None or caller.key_name != key.name:
        raise Unauthorized("the token request needs credentials of its key", AUTHENTICATION_FAILED)


def _ttl_ms(request: TokenRequest, key: Key) -> int:
    ttl_ms = TTL_MS_DEFAULT if request.ttl_ms is None else request.ttl_ms
    if key.revocable_tokens and ttl_ms > REVOCABLE_TTL_MS_MAX:
        raise BadRequest(
            f"ttl must be at most {REVOCABLE_TTL_MS_MAX} for tokens that can be revoked",
            INVALID_VALUE,
        )
    return ttl_ms


def _granted(request: TokenRequest, key: Key, caller: Principal | None) -> Capability:
    granted = key.capability
    if request.capability is not None:
        granted = capabilities.intersect(request.capability, granted)
    if caller is not None and caller.kind != "key":
        granted = capabilities.intersect(granted, caller.capability)
    if not granted:
        raise Unauthorized("the key permits nothing that the request asks for", NOT_PERMITTED)
    return granted


def _client_id_for(request: TokenRequest, caller: Principal | None) -> str | None:
    if caller is None or caller.kind == "key":
        return request.client_id
    return asserted(caller, request.client_id).client_id


def _checked(request: TokenRequest) -> TokenRequest:
    if request.ttl_ms is not None and not 1 <= request.ttl_ms <= TTL_MS_MAX:
        raise BadRequest(f"ttl must be between 1 and {TTL_MS_MAX}", INVALID_VALUE)
    if request.mac is None:
        return request
    if request.timestamp_ms is None:
        raise BadRequest("a signed token request needs a timestamp", INVALID_VALUE)
    if not NONCE_CHARS_MIN <= len(request.nonce or "") <= NONCE_CHARS_MAX:
        raise BadRequest(
            f"nonce must have {NONCE_CHARS_MIN} to {NONCE_CHARS_MAX} characters", INVALID_VALUE
        )
    return request


def _text(body: Mapping[str, Any], name: str) -> str:
    """A field as it was signed: text as it came, a number in plain decimal, "" when absent."""
    value = body.get(name)
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not is_unicode(value):
        code = INVALID_CLIENT_ID if name == "clientId" else INVALID_VALUE
        raise BadRequest(f"{name} must be text or an integer", code)
    return value


def _integer(texts: Mapping[str, str], name: str) -> int | None:
    text = texts[name]
    if not text:
        return None
    if not _INTEGER.fullmatch(text):
        raise BadRequest(f"{name} must be a number of milliseconds", INVALID_VALUE)
    return int(text)


def _capability(value: object) -> tuple[str, Capability | None]:
    """(as it was signed, what it says)."""
    if value is None or value == "":
        return "", None
    parsed = capabilities.parse(value)
    return (value if isinstance(value, str) else str(parsed)), parsed


def _client_id(value: object) -> str | None:
    """Any text; "*" is a token for any client."""
    if value is not None and not (isinstance(value, str) and value):
        raise BadRequest("clientId must be a non-empty string", INVALID_CLIENT_ID)
    return value
