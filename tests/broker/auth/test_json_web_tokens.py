"""JWTs: who is let in, as whom, with what, and which code says why not."""

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.auth.authentication import authenticate_token
from broker.auth.capability import DEFAULT_KEY, parse
from broker.auth.credentials import Key, Principal
from broker.auth.json_web_tokens import CLOCK_SKEW_MS, JWT_LIFETIME_MS_MAX
from broker.errors import BrokerError, NotFound, Unauthorized
from tests.broker.keyring import FULL, KEYRING, NARROW, REVOKED, REVOKED_CLIENT, SECRET

NOW_MS = 1_700_000_000_000
NOW = NOW_MS // 1000


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


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_jwt_authenticates_with_the_capability_of_its_key(algorithm: str) -> None:
    token = signed(claims(), header={"alg": algorithm})
    assert authenticate_token(KEYRING, token, now_ms=NOW_MS) == Principal(
        app_id="app",
        key_name="app.full",
        capability=DEFAULT_KEY,
        kind="jwt",
        issued_ms=(NOW - 1) * 1000,
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
    assert principal.revocation_key == "group"


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
        ({"x-ably-clientId": REVOKED_CLIENT}, (40141, 401)),
        ({"x-ably-revocation-key": ""}, (40144, 401)),
        ({"x-ably-revocation-key": ["group"]}, (40144, 401)),
        ({"iat": NOW + 600}, (40144, 401)),
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
