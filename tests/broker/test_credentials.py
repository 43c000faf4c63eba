"""Keys and JWTs: who is let in, as whom, with what, and which code says why not."""

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.capability import DEFAULT_KEY, parse
from broker.credentials import (
    CLOCK_SKEW_MS,
    JWT_LIFETIME_MS_MAX,
    Key,
    Principal,
    authenticate_key,
    authenticate_token,
    parse_key,
    read_basic,
    read_bearer,
    read_client_id,
)
from broker.errors import BadRequest, BrokerError, NotFound, Unauthorized

NOW_MS = 1_700_000_000_000
NOW = NOW_MS // 1000
SECRET = "s3cret-of-the-full-key"

FULL = Key(app_id="app", key_id="full", secret=SECRET, capability=DEFAULT_KEY)
NARROW = Key(
    app_id="app",
    key_id="narrow",
    secret="another",
    capability=parse({"orders:*": ["publish", "subscribe"]}),
)
REVOKED = Key(app_id="app", key_id="old", secret="old", capability=DEFAULT_KEY, revoked=True)


class Keys:
    """A keyring of one app."""

    def __init__(self, *keys: Key) -> None:
        self._keys = {(key.app_id, key.key_id): key for key in keys}

    def key(self, app_id: str, key_id: str) -> Key | None:
        return self._keys.get((app_id, key_id))

    def app_exists(self, app_id: str) -> bool:
        return any(known == app_id for known, _ in self._keys)


KEYRING = Keys(FULL, NARROW, REVOKED)


def segment(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(
    claims: Any, key: Key = FULL, *, header: dict[str, Any] | None = None, secret: str | None = None
) -> str:
    """A JWT made by hand, so that PyJWT is not the judge of its own work. `...` drops a field."""
    head = {"typ": "JWT", "alg": "HS256", "kid": key.name, **(header or {})}
    head = {name: value for name, value in head.items() if value is not ...}
    names = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}
    function = names.get(str(head.get("alg")), hashlib.sha256)
    text = f"{segment(head)}.{segment(claims)}"
    mac = hmac.new((secret or key.secret).encode(), text.encode(), function).digest()
    return f"{text}.{segment(mac)}"


def claims(**more: Any) -> dict[str, Any]:
    full = {"iat": NOW - 1, "exp": NOW + 3600, **more}
    return {name: value for name, value in full.items() if value is not ...}


def refusal(token: str) -> tuple[int, int]:
    with pytest.raises(BrokerError) as caught:
        authenticate_token(KEYRING, token, now_ms=NOW_MS)
    assert SECRET not in caught.value.message
    return caught.value.code, caught.value.status


# -- keys -----------------------------------------------------------------------------------------


def test_a_key_authenticates_with_its_own_capability() -> None:
    principal = authenticate_key(KEYRING, f"app.full:{SECRET}")
    assert principal == Principal(app_id="app", key_name="app.full", capability=DEFAULT_KEY)


def test_the_key_splits_at_the_first_colon_and_the_app_at_the_first_dot() -> None:
    parts = parse_key("app.key.more:se:cr.et")
    assert (parts.app_id, parts.key_id, parts.secret) == ("app", "key.more", "se:cr.et")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", 40101),
        (":", 40101),
        ("app.full", 40101),
        ("app.full:", 40101),
        ("app:full", 40101),
        (".full:x", 40101),
        ("app.full:" + "x" * 5000, 40101),
        ("nosuchapp.full:x", 40101),
        ("app.nosuchkey:x", 40400),
        ("app.full:wrong", 40101),
        (f"app.full:{SECRET} ", 40101),
        ("app.full:\ud800", 40101),
        ("app.full:pässword", 40101),
        ("app.old:wrong", 40101),
        ("app.old:old", 40131),
    ],
)
def test_keys_that_are_refused(text: str, code: int) -> None:
    with pytest.raises(Unauthorized) as caught:
        authenticate_key(KEYRING, text)
    assert (caught.value.code, caught.value.status) == (code, 401)


@pytest.mark.parametrize("name", ["app.full", "app.nosuchkey", "nosuchapp.k", "nodot", "app.old"])
def test_no_refusal_quotes_the_secret_it_was_given(name: str) -> None:
    with pytest.raises(Unauthorized) as caught:
        authenticate_key(KEYRING, f"{name}:hunter2")
    assert "hunter2" not in caught.value.message


def test_a_secret_outside_ascii_still_works() -> None:
    key = Key(app_id="app", key_id="k", secret="pässword", capability=DEFAULT_KEY)
    assert authenticate_key(Keys(key), key.string).key_name == "app.k"


def test_no_repr_shows_a_secret() -> None:
    parts = parse_key(FULL.string)
    shown = [FULL, parts, [FULL], f"{FULL} {parts}", *FULL.__rich_repr__(), *parts.__rich_repr__()]
    assert SECRET not in repr(shown)
    assert FULL.string == f"app.full:{SECRET}"
    assert repr(REVOKED) == "<Key app.old revoked>"


def test_a_key_may_assert_a_client_id() -> None:
    assert authenticate_key(KEYRING, FULL.string, client_id="ann").client_id == "ann"
    for unusable in ("", "*"):
        with pytest.raises(BadRequest, match="clientId"):
            authenticate_key(KEYRING, FULL.string, client_id=unusable)


# -- JWTs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_jwt_authenticates_with_the_capability_of_its_key(algorithm: str) -> None:
    token = signed(claims(), header={"alg": algorithm})
    assert authenticate_token(KEYRING, token, now_ms=NOW_MS) == Principal(
        app_id="app",
        key_name="app.full",
        capability=DEFAULT_KEY,
        kind="jwt",
        expires_ms=(NOW + 3600) * 1000,
    )


def test_claims_narrow_the_capability_and_bind_the_client() -> None:
    token = signed(
        claims(
            **{
                "x-ably-capability": '{"orders:eu":["publish","history"],"other":["*"]}',
                "x-ably-clientId": "ann",
                "x-ably-revocation-key": "group",
                "iss": "anyone",
                "aud": "anything",
                "sub": 7,
            }
        ),
        NARROW,
    )
    principal = authenticate_token(KEYRING, token, now_ms=NOW_MS)
    assert principal.client_id == "ann"
    assert principal.capability == parse({"orders:eu": ["publish"]})


def test_a_null_claim_is_an_absent_one() -> None:
    token = signed(claims(**{"x-ably-capability": None, "x-ably-clientId": None}))
    principal = authenticate_token(KEYRING, token, now_ms=NOW_MS)
    assert (principal.capability, principal.client_id) == (DEFAULT_KEY, None)


def test_times_may_be_fractions() -> None:
    token = signed({"iat": NOW - 0.5, "exp": NOW + 0.25})
    assert authenticate_token(KEYRING, token, now_ms=NOW_MS).expires_ms == NOW_MS + 250


def test_a_token_lives_for_24_hours_at_most_and_dies_on_the_millisecond() -> None:
    day = JWT_LIFETIME_MS_MAX // 1000
    token = signed({"iat": NOW, "exp": NOW + day})
    assert authenticate_token(KEYRING, token, now_ms=NOW_MS + JWT_LIFETIME_MS_MAX - 1)
    with pytest.raises(Unauthorized) as caught:
        authenticate_token(KEYRING, token, now_ms=NOW_MS + JWT_LIFETIME_MS_MAX)
    assert caught.value.code == 40142


def test_a_client_clock_may_run_ahead_a_little() -> None:
    ahead = CLOCK_SKEW_MS // 1000
    token = signed({"iat": NOW + ahead, "nbf": NOW + ahead, "exp": NOW + ahead + 86_400})
    assert authenticate_token(KEYRING, token, now_ms=NOW_MS)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"exp": NOW - 1}, (40142, 401)),
        ({"exp": NOW}, (40142, 401)),
        ({"exp": ...}, (40144, 401)),
        ({"exp": None}, (40144, 401)),
        ({"exp": str(NOW + 60)}, (40144, 401)),
        ({"exp": True}, (40144, 401)),
        ({"exp": NOW_MS + 60_000}, (40144, 401)),
        ({"exp": 10**400}, (40144, 401)),
        ({"iat": ...}, (40144, 401)),
        ({"iat": "now"}, (40144, 401)),
        ({"iat": NOW, "exp": NOW + 86_401}, (40144, 401)),
        ({"iat": NOW + 86_400, "exp": NOW + 2 * 86_400}, (40144, 401)),
        ({"nbf": NOW + 1800}, (40144, 401)),
        ({"x-ably-capability": "{"}, (40144, 401)),
        ({"x-ably-capability": ""}, (40144, 401)),
        ({"x-ably-capability": '{"*":["publish_"]}'}, (40144, 401)),
        ({"x-ably-capability": 7}, (40144, 401)),
        ({"x-ably-capability": '{"[meta]*":["*"]}'}, (40160, 401)),
        ({"x-ably-capability": "{}"}, (40160, 401)),
        ({"x-ably-clientId": ""}, (40144, 401)),
        ({"x-ably-clientId": 7}, (40144, 401)),
        ({"x-ably-token": "app.native"}, (40101, 401)),
    ],
)
def test_claims_that_are_refused(changes: dict[str, Any], expected: tuple[int, int]) -> None:
    assert refusal(signed(claims(**changes))) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({"kid": "invalid.invalid"}, (40400, 404)),
        ({"kid": "app.nosuchkey"}, (40400, 401)),
        ({"kid": ...}, (40144, 401)),
        ({"kid": "nodot"}, (40144, 401)),
        ({"kid": ".full"}, (40144, 401)),
        ({"kid": 7}, (40144, 401)),
        ({"alg": "none"}, (40144, 401)),
        ({"alg": "RS256"}, (40144, 401)),
        ({"alg": ["HS256"]}, (40144, 401)),
        ({"alg": ...}, (40144, 401)),
        ({"crit": ["exp"], "exp": 1}, (40144, 401)),
        ({"b64": False}, (40101, 401)),
        ({"x-ably-token": "app.native"}, (40101, 401)),
    ],
)
def test_headers_that_are_refused(header: dict[str, Any], expected: tuple[int, int]) -> None:
    assert refusal(signed(claims(), header=header)) == expected


def test_a_wrong_signature_hides_everything_else() -> None:
    assert refusal(signed(claims(), secret="wrong")) == (40101, 401)
    assert refusal(signed(claims(exp=NOW - 60), secret="wrong")) == (40101, 401)
    assert refusal(signed(claims(), REVOKED, secret="wrong")) == (40101, 401)
    assert refusal(signed(claims(), REVOKED)) == (40131, 401)
    unsigned = signed(claims(), header={"alg": "none"}).rpartition(".")[0] + "."
    assert refusal(unsigned)[0] == 40144


def test_every_single_changed_character_is_noticed() -> None:
    token = signed(claims())
    for place, character in enumerate(token):
        changed = token[:place] + ("A" if character != "A" else "B") + token[place + 1 :]
        with pytest.raises(BrokerError):
            authenticate_token(KEYRING, changed, now_ms=NOW_MS)


@pytest.mark.parametrize(
    "payload", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 100_000, b'{"exp":NaN,"iat":0}']
)
def test_signed_payloads_that_are_not_an_object_of_claims(payload: bytes) -> None:
    assert refusal(signed(payload))[0] in (40101, 40144)


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "not_a_token",
        "app.opaqueNativeToken",
        "a.b.c.d.e",
        "ünïcode.tökén.x",
        "\ud800.x.y",
        segment({"alg": "dir", "enc": "A128GCM"}) + ".a.b.c.d",
        segment(b"[" * 100_000) + ".e30.x",
        segment([]) + ".e30.x",
        "x" * 200_000,
    ],
    ids=lambda token: token[:16],
)
def test_garbage_is_an_authentication_failure_not_a_token_error(token: str) -> None:
    # 4014x would make an SDK renew and retry what cannot work (RSA4b).
    assert refusal(token) == (40101, 401)


@given(st.text(alphabet="abc.=-_eyJ0 \u00e9"))
def test_any_text_is_refused_without_another_exception(token: str) -> None:
    with pytest.raises((Unauthorized, NotFound)):
        authenticate_token(KEYRING, token, now_ms=NOW_MS)


# -- carriers -------------------------------------------------------------------------------------


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_bearer_values_are_taken_raw_and_in_base64() -> None:
    token = signed(claims())
    for value in (token, encoded(token), encoded(token).rstrip("="), segment(token.encode())):
        assert read_bearer(value) == token
    assert read_bearer("justgarbage") == "justgarbage"
    assert read_bearer("Zm9v") == "Zm9v"  # base64 of "foo", which is no token


def test_basic_values_are_base64() -> None:
    assert read_basic(encoded(FULL.string)) == FULL.string
    for bad in ("app.full:x", "%%%", encoded("x")[:-2] + "é", segment(b"\xff\xfe")):
        with pytest.raises(Unauthorized, match="not base64"):
            read_basic(bad)


def test_client_ids_are_base64() -> None:
    assert read_client_id(encoded("änn")) == "änn"
    for bad in ("%%%", "", encoded("*")):
        with pytest.raises(BadRequest, match=r"(?i)clientid"):
            read_client_id(bad)


# -- principals -----------------------------------------------------------------------------------


def test_require_refuses_with_40160() -> None:
    principal = authenticate_key(KEYRING, NARROW.string)
    principal.require("publish", "orders:eu")
    for operation, channel in (("history", "orders:eu"), ("publish", "orders")):
        with pytest.raises(Unauthorized) as caught:
            principal.require(operation, channel)
        assert (caught.value.code, caught.value.status) == (40160, 401)
    with pytest.raises(Unauthorized) as caught:
        principal.require_app_wide("stats")
    assert caught.value.code == 40160
    authenticate_key(KEYRING, FULL.string).require_app_wide("stats")


REFUSED = object()


@pytest.mark.parametrize(
    ("kind", "bound", "claimed", "expected"),
    [
        ("key", None, None, None),
        ("key", None, "ann", "ann"),
        ("key", None, "*", REFUSED),
        ("key", None, "", REFUSED),
        ("key", "ann", None, "ann"),
        ("key", "ann", "ann", "ann"),
        ("key", "ann", "bob", REFUSED),
        ("jwt", "ann", None, "ann"),
        ("jwt", "ann", "ann", "ann"),
        ("jwt", "ann", "bob", REFUSED),
        ("jwt", "*", None, None),
        ("jwt", "*", "ann", "ann"),
        ("jwt", "*", "*", REFUSED),
        ("jwt", None, None, None),
        ("jwt", None, "ann", REFUSED),
        ("jwt", None, 7, REFUSED),
    ],
)
def test_client_id_rules(kind: Any, bound: str | None, claimed: Any, expected: object) -> None:
    principal = Principal(
        app_id="app", key_name="app.full", capability=DEFAULT_KEY, client_id=bound, kind=kind
    )
    if expected is not REFUSED:
        assert principal.identify(claimed) == expected
        return
    with pytest.raises(BadRequest) as caught:
        principal.identify(claimed)
    assert (caught.value.code, caught.value.status) == (40012, 400)
