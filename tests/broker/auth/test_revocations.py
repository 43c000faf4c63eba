"""Revoking tokens: which are hit, from when on, and that nothing but time makes it undone."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import broker
from broker.auth import revocation_requests, token_requests
from broker.auth.capability import parse
from broker.auth.credentials import Key, Principal
from broker.auth.revocation_requests import TargetResult
from broker.auth.revocations import REAUTH_MARGIN_MS, REVOCATION_RETENTION_MS, matches
from broker.broker import Broker
from broker.errors import BadRequest, BrokerError, Unauthorized
from broker.events import TokensRevoked
from storage.serial import unpack
from tests.broker.auth.test_json_web_tokens import signed
from tests.broker.conftest import START_MS, FakeClock

HOUR_MS = 3_600_000


async def revocable_key(b: Broker) -> Key:
    return await b.apps.create_key(b.default_app(), revocable_tokens=True)


async def token(b: Broker, key: Key, **body: Any) -> str:
    caller = b.authenticate(key=key.string)
    return (await b.issue_token(key.name, token_requests.read(key.name, body), caller)).token


def jwt(key: Key, *, iat: int = START_MS // 1000, **claims: Any) -> str:
    return signed({"iat": iat, "exp": START_MS // 1000 + 3600, **claims}, key)


async def revoke(b: Broker, key: Key, *targets: Any, **fields: Any) -> list[TargetResult]:
    request = revocation_requests.read({"targets": list(targets), **fields})
    return await b.revoke_tokens(b.authenticate(key=key.string), key.name, request)


def code(b: Broker, text: str) -> int | None:
    """Why a token is refused; None if it is not."""
    try:
        b.authenticate(token=text)
    except Unauthorized as error:
        return error.code
    return None


async def test_tokens_are_revoked_by_what_they_have_in_common(opened: Broker) -> None:
    key, another = await revocable_key(opened), await revocable_key(opened)
    granted = '{"a:*":["publish"],"b":["history"]}'
    of = {
        "ann": await token(opened, key, clientId="ann"),
        "bob": await token(opened, key, clientId="bob"),
        "anyone": await token(opened, key, clientId="*"),
        "nobody": await token(opened, key),
        "narrow": await token(opened, key, capability=granted),
        "grouped": jwt(key, **{"x-ably-revocation-key": "group"}),
        "ann's jwt": jwt(key, **{"x-ably-clientId": "ann"}),
        "another key's": await token(opened, another, clientId="ann", capability=granted),
    }

    async def hit_by(*targets: str) -> set[str]:
        before = {name for name, text in of.items() if code(opened, text)}
        await revoke(opened, key, *targets)
        after = {name for name, text in of.items() if code(opened, text) == 40141}
        return after - before

    assert await hit_by("clientId:nobody at all", "revocationKey:ann", "channel:a:b") == set()
    assert await hit_by("clientId:ann") == {"ann", "ann's jwt"}
    assert await hit_by("revocationKey:group") == {"grouped"}
    assert await hit_by("channel:a:*") == {"narrow"}
    assert await hit_by("clientId:bob", "clientId:*") == {"bob", "anyone"}
    assert await hit_by("channel:*") == {"nobody"}
    assert code(opened, of["another key's"]) is None


async def test_only_what_was_issued_before_is_revoked(opened: Broker, clock: FakeClock) -> None:
    key = await revocable_key(opened)
    early = await token(opened, key, clientId="ann")
    clock.advance(10)
    middle = opened.now()
    late = await token(opened, key, clientId="ann")
    (result,) = await revoke(opened, key, "clientId:ann", issuedBefore=middle)
    assert result.revoked is not None
    assert result.revoked.issued_before == middle
    assert (code(opened, early), code(opened, late)) == (40141, None)
    (result,) = await revoke(opened, key, "clientId:ann")
    assert result.revoked is not None
    assert middle < result.revoked.issued_before == result.revoked.applies_at
    assert code(opened, late) == 40141
    assert code(opened, await token(opened, key, clientId="ann")) is None


async def test_what_a_token_begot_is_revoked_with_it(opened: Broker) -> None:
    key = await revocable_key(opened)
    mother = jwt(key, **{"x-ably-revocation-key": "group"})
    wanted = token_requests.read(key.name, {})
    child = await opened.issue_token(key.name, wanted, opened.authenticate(token=mother))
    await revoke(opened, key, "revocationKey:group")
    assert (code(opened, mother), code(opened, child.token)) == (40141, 40141)


async def test_it_takes_effect_at_once_even_when_serials_run_ahead(
    opened: Broker, clock: FakeClock
) -> None:
    key = await revocable_key(opened)
    text = await token(opened, key, clientId="ann")
    for _ in range(50):
        opened.now()
        await opened.apps.create_key(key.app_id)
    assert opened.now() > clock.ms + 50
    await revoke(opened, key, "clientId:ann")
    assert code(opened, text) == 40141


async def test_a_margin_leaves_time_for_another_token(opened: Broker, clock: FakeClock) -> None:
    key = await revocable_key(opened)
    text = await token(opened, key, clientId="ann")
    asked_ms = opened.now()
    (result,) = await revoke(opened, key, "clientId:ann", allowReauthMargin=True)
    assert result.revoked is not None
    applies_at = result.revoked.applies_at
    assert asked_ms + 30_000 < applies_at <= opened.now() + REAUTH_MARGIN_MS
    clock.ms = applies_at - 1
    assert opened.authenticate(token=text).revoked_from_ms == applies_at
    await revoke(opened, key, "clientId:ann", "clientId:bob", allowReauthMargin=True)
    assert opened.authenticate(token=text).revoked_from_ms == applies_at  # the first counts
    clock.ms = applies_at
    assert code(opened, text) == 40141


async def test_revocations_outlive_restarts_and_rebuilds(path: Path, clock: FakeClock) -> None:
    async with broker.open(path, clock=clock) as b:
        key = await revocable_key(b)
        revoked = await token(b, key, clientId="ann")
        kept = await token(b, key, clientId="bob")
        await revoke(b, key, "clientId:ann")
    async with broker.open(path, clock=clock) as b:
        assert (code(b, revoked), code(b, kept)) == (40141, None)
        await b.rebuild()
        assert (code(b, revoked), code(b, kept)) == (40141, None)


async def test_revocations_are_forgotten_when_their_tokens_are_dead(
    opened: Broker, clock: FakeClock
) -> None:
    key = await revocable_key(opened)
    clock.advance(1)
    longest = jwt(key, exp=START_MS // 1000 + 86_400, **{"x-ably-clientId": "ann"})
    await revoke(opened, key, "clientId:ann", "clientId:bob")
    clock.ms = START_MS + 24 * HOUR_MS - 1
    await opened.sweep()
    assert code(opened, longest) == 40141
    clock.ms = START_MS + REVOCATION_RETENTION_MS + 1_000
    await opened.sweep()
    with opened.rows() as rows:
        assert list(rows.scan("revocations")) == []
    assert code(opened, longest) == 40142


async def test_who_may_revoke(opened: Broker) -> None:
    key, another = await revocable_key(opened), await revocable_key(opened)
    plain = await opened.apps.create_key(opened.default_app())
    request = revocation_requests.read({"targets": ["clientId:ann"]})

    async def refused(caller: Principal, name: str) -> tuple[int, int]:
        with pytest.raises(BrokerError) as caught:
            await opened.revoke_tokens(caller, name, request)
        return caught.value.code, caught.value.status

    by_token = opened.authenticate(token=await token(opened, key))
    by_plain = opened.authenticate(key=plain.string)
    by_another = opened.authenticate(key=another.string)
    assert await refused(by_token, key.name) == (40162, 401)
    assert await refused(by_another, key.name) == (40133, 401)
    assert await refused(by_plain, plain.name) == (40163, 401)
    await opened.apps.revoke_key(another.app_id, another.key_id)
    assert await refused(by_another, another.name) == (40131, 401)


async def test_a_target_that_says_nothing_fails_alone(opened: Broker) -> None:
    key = await revocable_key(opened)
    text = await token(opened, key, clientId="ann:1")
    bad = ["", "clientId", "clientId:", "nonsense:x", "clientId:\ud800", 7, None, ["clientId:x"]]
    results = await revoke(opened, key, *bad, "clientId:ann:1")
    assert [result.target for result in results] == [*bad, "clientId:ann:1"]
    for result in results[:-1]:
        assert result.revoked is None
        assert result.refusal is not None
        assert (result.refusal.code, result.refusal.status) == (40000, 400)
    assert results[-1].refusal is None
    assert code(opened, text) == 40141
    (only_bad,) = await revoke(opened, key, "nonsense:x")
    assert only_bad.refusal is not None


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"targets": None}, 40000),
        ({"targets": "clientId:ann"}, 40000),
        ({"targets": {"clientId": "ann"}}, 40000),
        ({"targets": []}, 40000),
        ({"targets": ["clientId:ann"] * 101}, 40000),
        ({"allowReauthMargin": "yes"}, 40000),
        ({"issuedBefore": "now"}, 40003),
        ({"issuedBefore": True}, 40003),
        ({"issuedBefore": 0.5}, 40003),
        ({"issuedBefore": START_MS + HOUR_MS}, 40003),
        ({"issuedBefore": START_MS - HOUR_MS - 1}, 40003),
        ({"issuedBefore": 0}, 40003),
        ({"issuedBefore": -(10**30)}, 40003),
        ({"issuedBefore": 10**30}, 40003),
    ],
)
async def test_requests_that_are_refused_as_a_whole(
    opened: Broker, fields: dict[str, Any], expected: int
) -> None:
    key = await revocable_key(opened)
    text = await token(opened, key, clientId="ann")
    caller = opened.authenticate(key=key.string)

    async def ask() -> None:
        request = revocation_requests.read({"targets": ["clientId:ann"], **fields})
        await opened.revoke_tokens(caller, key.name, request)

    with pytest.raises(BadRequest) as caught:
        await ask()
    assert caught.value.code == expected
    assert code(opened, text) is None


async def test_twenty_minutes_back_is_near_enough(opened: Broker) -> None:
    key = await revocable_key(opened)
    before = START_MS - 20 * 60_000
    (result,) = await revoke(opened, key, "clientId:ann", issuedBefore=float(before))
    assert result.revoked is not None
    assert result.revoked.issued_before == before


async def test_a_request_is_one_command(opened: Broker) -> None:
    key = await revocable_key(opened)
    targets = [f"clientId:{number}" for number in range(100)]
    await revoke(opened, key, *targets)
    with opened.rows() as rows:
        serials = [int.from_bytes(row[-8:], "big") for row, _ in rows.scan("revocations")]
    assert sorted(unpack(serial)[2] for serial in serials) == list(range(100))
    assert len({unpack(serial)[:2] for serial in serials}) == 1


def principal(**fields: Any) -> Principal:
    defaults: dict[str, Any] = {
        "app_id": "app",
        "key_name": "app.key",
        "capability": parse({"a:*": ["*"], "b": ["publish"]}),
        "client_id": "ann",
        "kind": "token",
        "issued_ms": 10,
        "revocation_key": "group",
    }
    return Principal(**{**defaults, **fields})


def revocation(kind: str, value: str, *, before: int = 11, key: str = "app.key") -> TokensRevoked:
    return TokensRevoked(key, kind, value, before, 99)


@pytest.mark.parametrize(
    ("event", "who", "expected"),
    [
        (revocation("clientId", "ann"), principal(), True),
        (revocation("clientId", "bob"), principal(), False),
        (revocation("clientId", "ann"), principal(client_id=None), False),
        (revocation("revocationKey", "group"), principal(), True),
        (revocation("revocationKey", "ann"), principal(), False),
        (revocation("revocationKey", "group"), principal(revocation_key=None), False),
        (revocation("channel", "a:*"), principal(), True),
        (revocation("channel", "b"), principal(), True),
        (revocation("channel", "a:x"), principal(), False),
        (revocation("clientId", "ann", before=10), principal(), False),
        (revocation("clientId", "ann", key="app.other"), principal(), False),
        (revocation("clientId", "ann"), principal(kind="key", issued_ms=None), False),
    ],
)
def test_which_connections_a_revocation_concerns(
    event: TokensRevoked, who: Principal, expected: bool
) -> None:
    assert matches(event, who) is expected


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)


@given(
    _values
    | st.dictionaries(st.sampled_from(["targets", "issuedBefore", "allowReauthMargin"]), _values)
)
def test_whatever_is_asked_is_read_or_refused(body: Any) -> None:
    try:
        request = revocation_requests.read(body)
    except BadRequest:
        return
    assert request.targets
