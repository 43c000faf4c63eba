"""Native tokens: who is let in, as whom, with what, and which code says why not."""

import base64
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broker.auth import tokens
from broker.auth.authentication import authenticate, authenticate_token
from broker.auth.capability import DEFAULT_KEY, parse
from broker.auth.credentials import TOKEN_CHARS_MAX, Key, Principal
from broker.auth.tokens import Claims, TokenDetails
from broker.errors import BadRequest, BrokerError, NotFound, Unauthorized
from tests.broker.keyring import FULL, KEYRING, NARROW, REVOKED, REVOKED_CLIENT, SECRET, Keys

NOW_MS = 1_700_000_000_000


def issued(key: Key = FULL, **changes: Any) -> TokenDetails:
    fields: dict[str, Any] = {
        "key_id": key.key_id,
        "issued_ms": NOW_MS,
        "expires_ms": NOW_MS + 1_000,
        "capability": str(key.capability),
        "token_id": "id",
    }
    return tokens.issue(key, Claims(**{**fields, **changes}))


def refusal(token: str, *, keyring: Keys = KEYRING, now_ms: int = NOW_MS) -> tuple[int, int]:
    with pytest.raises(BrokerError) as caught:
        authenticate_token(keyring, token, now_ms=now_ms)
    assert SECRET not in caught.value.message
    assert not token or token not in caught.value.message
    return caught.value.code, caught.value.status


def test_a_token_says_who_comes_and_what_they_may_do() -> None:
    details = issued(
        NARROW, capability='{"orders:eu":["publish"]}', client_id="änn", revocation_key="group"
    )
    assert authenticate_token(KEYRING, details.token, now_ms=NOW_MS) == Principal(
        app_id="app",
        key_name="app.narrow",
        capability=parse({"orders:eu": ["publish"]}),
        client_id="änn",
        kind="token",
        issued_ms=NOW_MS,
        expires_ms=NOW_MS + 1_000,
        revocation_key="group",
    )


def test_a_token_is_the_app_a_dot_and_url_safe_text() -> None:
    app, dot, opaque = issued().token.partition(".")
    assert (app, dot) == ("app", ".")
    assert opaque.replace("-", "").replace("_", "").isalnum()
    assert issued(token_id="another").token != issued().token


def test_no_repr_shows_the_token() -> None:
    details = issued()
    assert details.token not in repr([details, *details.__rich_repr__()])


def test_a_token_dies_on_the_millisecond() -> None:
    token = issued().token
    assert authenticate_token(KEYRING, token, now_ms=NOW_MS + 999)
    assert refusal(token, now_ms=NOW_MS + 1_000) == (40142, 401)


def test_what_becomes_of_the_key_becomes_of_the_token() -> None:
    token = issued().token
    assert refusal(token, keyring=Keys(NARROW)) == (40400, 401)
    assert refusal(token, keyring=Keys()) == (40400, 404)
    assert refusal(issued(REVOKED).token) == (40131, 401)
    rekeyed = msgspec.structs.replace(FULL, secret="another")
    assert refusal(token, keyring=Keys(rekeyed)) == (40101, 401)
    with pytest.raises(NotFound):
        authenticate_token(Keys(), token, now_ms=NOW_MS)


def test_a_token_works_under_its_own_key_only() -> None:
    """Even beside keys with the same secret, in another app or under another name."""
    opaque = issued().token.partition(".")[2]
    twin = msgspec.structs.replace(FULL, app_id="twin")
    assert refusal(f"twin.{opaque}", keyring=Keys(FULL, twin)) == (40101, 401)
    elsewhere = issued(msgspec.structs.replace(NARROW, secret=SECRET), key_id=FULL.key_id)
    assert refusal(elsewhere.token) == (40101, 401)


def test_a_wrong_mac_hides_everything_else() -> None:
    for key in (REVOKED, FULL):
        forged = issued(msgspec.structs.replace(key, secret="wrong"), expires_ms=0)
        assert refusal(forged.token) == (40101, 401)


def test_a_key_that_now_permits_less_takes_its_tokens_along() -> None:
    token = issued(capability='{"a":["*"],"b":["*"]}').token
    narrower = msgspec.structs.replace(FULL, capability=parse({"a": ["publish"], "c": ["*"]}))
    principal = authenticate_token(Keys(narrower), token, now_ms=NOW_MS)
    assert principal.capability == parse({"a": ["publish"]})
    elsewhere = msgspec.structs.replace(FULL, capability=parse({"c": ["*"]}))
    assert refusal(token, keyring=Keys(elsewhere)) == (40160, 401)


def test_every_single_changed_character_is_noticed() -> None:
    token = issued().token
    for place, character in enumerate(token):
        changed = token[:place] + ("A" if character != "A" else "B") + token[place + 1 :]
        assert refusal(changed)[0] in (40101, 40400)
    for changed in (f"{token}=", f"{token}A", f"{token} ", token[:-1], token.replace(".", ".\n")):
        assert refusal(changed)[0] == 40101


def opaque(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "token",
    [
        "app.",
        ".x",
        "invalid.invalid",
        "app.opaqueNativeToken",
        "app.é",
        "\ud800.x",
        "app." + opaque(b"\x01" + b"\xdd\xff\xff\xff\xff" + bytes(32)),
        "app." + opaque(b"\x01" + b"\x91" * 50_000 + bytes(32)),
        "app." + opaque(b"\x01" + b"\x95\xa1\xff\x01\x01\xa2{}\xa0" + bytes(32)),
        "app." + "A" * TOKEN_CHARS_MAX,
    ],
    ids=lambda token: ascii(token[:16]),
)
def test_garbage_is_an_authentication_failure_not_a_token_error(token: str) -> None:
    assert refusal(token) == (40101, 401)


_unsigned = st.tuples(st.sampled_from([b"\x01", b"\x02", b""]), st.binary(max_size=60)).map(
    lambda parts: opaque(parts[0] + parts[1] + bytes(32))
)
_claims = st.lists(
    st.sampled_from(["full", "nosuchkey", "old", "{}", "\0"]) | st.integers() | st.none(),
    max_size=8,
)
_crafted = _claims.map(lambda claims: opaque(b"\x01" + _packed(claims) + bytes(32)))


def _packed(claims: list[Any]) -> bytes:
    try:
        return msgspec.msgpack.encode(claims)
    except OverflowError:
        return b""


@given(st.sampled_from(["app", "nobody", "", "a\0p"]), st.text(max_size=40) | _unsigned | _crafted)
@example("app", "")
def test_any_text_is_refused_without_another_exception(app: str, rest: str) -> None:
    with pytest.raises((Unauthorized, NotFound)):
        authenticate_token(KEYRING, f"{app}.{rest}", now_ms=NOW_MS)


def test_a_token_too_long_for_sdks_is_not_issued() -> None:
    with pytest.raises(BadRequest, match="too long"):
        issued(client_id="x" * TOKEN_CHARS_MAX)


@dataclass(frozen=True)
class Bound:
    """Credentials, by the client id they are bound to."""

    token: str | None = None
    key: str | None = None


KEY = Bound(key=FULL.string)
ANN = Bound(issued(client_id="ann").token)
WILDCARD = Bound(issued(client_id="*").token)
ANONYMOUS = Bound(issued().token)


@pytest.mark.parametrize(
    ("given", "client_id", "expected"),
    [
        (KEY, None, None),
        (KEY, "ann", "ann"),
        (KEY, "", 40012),
        (KEY, "*", 40012),
        (KEY, "\ud800", 40012),
        (ANN, None, "ann"),
        (ANN, "ann", "ann"),
        (ANN, "bob", 40102),
        (WILDCARD, None, "*"),
        (WILDCARD, "*", "*"),
        (WILDCARD, "ann", "ann"),
        (ANONYMOUS, None, None),
        (ANONYMOUS, "ann", 40102),
        (Bound(), None, 40101),
    ],
)
def test_the_client_id_that_a_connection_asserts(
    given: Bound, client_id: str | None, expected: object
) -> None:
    """Reference 2.6."""

    def connect() -> Principal:
        return authenticate(
            KEYRING, key=given.key, token=given.token, client_id=client_id, now_ms=NOW_MS
        )

    if not isinstance(expected, int):
        assert connect().client_id == expected
        return
    with pytest.raises(BrokerError) as caught:
        connect()
    assert (caught.value.code, caught.value.status) == (expected, 400 if expected == 40012 else 401)


def test_an_anonymous_token_speaks_for_nobody() -> None:
    principal = authenticate_token(KEYRING, issued().token, now_ms=NOW_MS)
    assert principal.identify(None) is None
    with pytest.raises(BadRequest) as caught:
        principal.identify("ann")
    assert caught.value.code == 40012


def test_revocation_is_asked_of_the_client_that_a_token_acts_for() -> None:
    assert refusal(issued(client_id=REVOKED_CLIENT).token) == (40141, 401)
    assert authenticate_token(KEYRING, WILDCARD.token or "", now_ms=NOW_MS).client_id == "*"
    with pytest.raises(Unauthorized) as caught:
        authenticate(KEYRING, token=WILDCARD.token, client_id=REVOKED_CLIENT, now_ms=NOW_MS)
    assert caught.value.code == 40141
    expired = issued(client_id=REVOKED_CLIENT, expires_ms=NOW_MS)
    assert refusal(expired.token) == (40142, 401)


def test_a_key_with_everything_gives_a_token_with_everything() -> None:
    principal = authenticate_token(KEYRING, issued().token, now_ms=NOW_MS)
    assert principal.capability == DEFAULT_KEY
