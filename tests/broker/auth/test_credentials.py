"""Keys, the headers that carry credentials, and principals: who is let in, as whom, with what."""

import base64
from typing import Any

import pytest

from broker.auth.capability import DEFAULT_KEY
from broker.auth.credentials import (
    Key,
    Principal,
    authenticate_key,
    parse_key,
    read_basic,
    read_bearer,
    read_client_id,
)
from broker.errors import BadRequest, Unauthorized
from tests.broker.keyring import FULL, KEYRING, NARROW, REVOKED, SECRET, Keys

TOKEN = "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl"  # its length leaves base64 something to pad


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


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_bearer_values_are_taken_raw_and_in_base64() -> None:
    for value in (TOKEN, encoded(TOKEN), encoded(TOKEN).rstrip("=")):
        assert read_bearer(value) == TOKEN
    assert read_bearer("justgarbage") == "justgarbage"
    assert read_bearer("Zm9v") == "Zm9v"  # base64 of "foo", which is no token


def test_basic_values_are_base64() -> None:
    assert read_basic(encoded(FULL.string)) == FULL.string
    for bad in ("app.full:x", "%%%", encoded("x")[:-2] + "é", "__4"):
        with pytest.raises(Unauthorized, match="not base64"):
            read_basic(bad)


def test_client_ids_are_base64() -> None:
    assert read_client_id(encoded("änn")) == "änn"
    for bad in ("%%%", "", encoded("*")):
        with pytest.raises(BadRequest, match=r"(?i)clientid"):
            read_client_id(bad)


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
