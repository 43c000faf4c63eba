"""Native tokens inside JWTs: the envelope proves nothing, and may only end sooner."""

from typing import Any

import pytest

from broker.auth.authentication import authenticate_token
from broker.auth.credentials import Key
from broker.errors import BrokerError
from tests.broker.auth.test_json_web_tokens import segment, signed
from tests.broker.auth.test_tokens import NOW_MS, issued
from tests.broker.keyring import FULL, KEYRING

NOW = NOW_MS // 1000
INNER = issued(client_id="ann", expires_ms=NOW_MS + 60_000).token
STRANGER = Key(app_id="other", key_id="k", secret="theirs", capability=FULL.capability)


@pytest.mark.parametrize(
    "token",
    [
        signed({"x-ably-token": INNER}),
        signed({}, header={"x-ably-token": INNER}),
        signed({"x-ably-token": INNER}, STRANGER),
        signed({"x-ably-token": INNER}, header={"alg": "RS256", "kid": ...}),
        f"{segment({'alg': 'dir', 'enc': 'A128GCM', 'x-ably-token': INNER})}.a.b.c.d",
    ],
)
def test_the_token_inside_counts_whoever_signed_around_it(token: str) -> None:
    principal = authenticate_token(KEYRING, token, now_ms=NOW_MS)
    assert principal == authenticate_token(KEYRING, INNER, now_ms=NOW_MS)


def test_the_envelope_may_end_it_sooner() -> None:
    token = signed({"x-ably-token": INNER, "exp": NOW + 30})
    assert authenticate_token(KEYRING, token, now_ms=NOW_MS).expires_ms == NOW_MS + 30_000


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"x-ably-token": INNER, "exp": NOW}, 40142),
        ({"x-ably-token": INNER, "exp": NOW + 61}, 40144),
        ({"x-ably-token": INNER, "exp": "soon"}, 40144),
        ({"x-ably-token": 7}, 40144),
        ({"x-ably-token": "app.garbage"}, 40101),
        ({"x-ably-token": signed({"x-ably-token": INNER})}, 40101),
        ({"x-ably-token": issued(expires_ms=NOW_MS).token}, 40142),
    ],
)
def test_what_is_refused(claims: dict[str, Any], code: int) -> None:
    with pytest.raises(BrokerError) as caught:
        authenticate_token(KEYRING, signed(claims), now_ms=NOW_MS)
    assert (caught.value.code, caught.value.status) == (code, 401)
