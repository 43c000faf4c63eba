"""Token requests: signed or brought by someone, what one may ask for, and that it works once."""

from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

import broker
from broker.auth import token_requests
from broker.auth.credentials import Key
from broker.auth.nonces import NONCE_RETENTION_MS, TIMESTAMP_WINDOW_MS
from broker.auth.token_requests import sign
from broker.auth.tokens import TokenDetails
from broker.broker import Broker
from broker.errors import BadRequest, BrokerError
from tests.broker.conftest import START_MS, FakeClock
from tests.broker.keyring import FULL

HOUR_MS = 3_600_000
NAMES = ("keyName", "ttl", "capability", "clientId", "timestamp", "nonce")


def signed(key: Key, nonce: str = "0123456789abcdef", **fields: Any) -> dict[str, Any]:
    """A request signed as the protocol says: what is absent, null or "" is signed as nothing."""
    request = {"keyName": key.name, "timestamp": START_MS, "nonce": nonce, **fields}
    texts = ("" if request.get(name) is None else request[name] for name in NAMES)
    return {**request, "mac": sign("".join(f"{text}\n" for text in texts), key.secret)}


def root(b: Broker) -> Key:
    return b.apps.keys(b.default_app())[0]


async def ask(b: Broker, body: Any, of: Key | None = None, **by: str) -> TokenDetails:
    """A token of a key. `by`: the credentials of whoever brings the request."""
    name = (of or root(b)).name
    caller = b.authenticate(**by) if by else None
    return await b.issue_token(name, token_requests.read(name, body), caller)


async def refused(b: Broker, body: Any, of: Key | None = None, **by: str) -> tuple[int, int]:
    with pytest.raises(BrokerError) as caught:
        await ask(b, body, of, **by)
    assert (of or root(b)).secret not in caught.value.message
    return caught.value.code, caught.value.status


def test_the_mac_is_that_of_the_worked_vector() -> None:
    """The one in the protocol's description of token requests."""
    body = {
        "keyName": "a_key_name",
        "ttl": 1000,
        "clientId": "a_id",
        "timestamp": 1000,
        "nonce": "abcde100",
    }
    text = token_requests.read("a_key_name", body).signed_text
    assert text == "a_key_name\n1000\n\na_id\n1000\nabcde100\n"
    assert sign(text, "a_secret") == "sYkCH0Un+WgzI7/Nhy0BoQIKq9HmjKynCRs4E3qAbGQ="


def test_no_repr_shows_the_signature() -> None:
    body = signed(FULL)
    request = token_requests.read(FULL.name, body)
    shown = repr([request]) + "".join(map(str, request.__rich_repr__()))
    assert body["mac"] not in shown
    assert body["nonce"] not in shown


async def test_a_signed_request_needs_no_other_credentials(opened: Broker) -> None:
    details = await ask(opened, signed(root(opened)))
    assert details.expires_ms - details.issued_ms == HOUR_MS
    assert details.capability == str(root(opened).capability)
    assert details.client_id is None
    principal = opened.authenticate(token=details.token)
    assert (principal.kind, principal.key_name) == ("token", root(opened).name)


async def test_a_token_is_issued_between_the_times_that_clients_are_told(opened: Broker) -> None:
    before = opened.now()
    details = await ask(opened, signed(root(opened), timestamp=before))
    assert before <= details.issued_ms <= opened.now()


@pytest.mark.parametrize(
    "fields",
    [
        {"ttl": 1000, "clientId": "änn", "capability": '{ "a" : ["publish", "history"]}'},
        {"ttl": "1000", "timestamp": str(START_MS), "clientId": "*"},
        {"ttl": 1000.0, "timestamp": float(START_MS)},
        {"ttl": None, "clientId": None, "capability": None},
        {"ttl": "", "capability": "", "unknown": [1]},
    ],
)
async def test_the_mac_covers_the_fields_as_they_came(
    opened: Broker, fields: dict[str, Any]
) -> None:
    as_signed = {
        name: int(value) if isinstance(value, float) else value for name, value in fields.items()
    }
    body = {**signed(root(opened), **as_signed), **fields}
    assert (await ask(opened, body)).client_id == fields.get("clientId")


@pytest.mark.parametrize("name", NAMES)
async def test_a_signature_over_anything_else_is_refused(opened: Broker, name: str) -> None:
    body = signed(root(opened), ttl=1000, clientId="ann", capability='{"*":["*"]}')
    changed = {
        "keyName": "",
        "ttl": 1001,
        "capability": '{"*": ["*"]}',
        "clientId": "bob",
        "timestamp": START_MS + 1,
        "nonce": "0123456789abcdeg",
    }
    assert await refused(opened, {**body, name: changed[name]}) == (40101, 401)
    assert await ask(opened, body)


@pytest.mark.parametrize("mac", ["x", "", "é", "0" * 44])
async def test_a_wrong_mac_is_no_credential(opened: Broker, mac: str) -> None:
    assert await refused(opened, {**signed(root(opened)), "mac": mac}) == (40101, 401)


async def test_the_signature_must_be_of_the_key_in_the_path(opened: Broker) -> None:
    other = await opened.apps.create_key(opened.default_app())
    assert await refused(opened, signed(other)) == (40003, 400)
    assert await refused(opened, {**signed(other), "keyName": root(opened).name}) == (40101, 401)
    await opened.apps.revoke_key(other.app_id, other.key_id)
    assert await refused(opened, signed(other), other) == (40131, 401)
    assert await refused(opened, {**signed(other), "mac": "x"}, other) == (40101, 401)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"ttl": 0}, (40003, 400)),
        ({"ttl": -1}, (40003, 400)),
        ({"ttl": 24 * HOUR_MS + 1}, (40003, 400)),
        ({"ttl": "1h"}, (40003, 400)),
        ({"ttl": "٣"}, (40003, 400)),
        ({"ttl": "9" * 40}, (40003, 400)),
        ({"ttl": 0.5}, (40003, 400)),
        ({"ttl": float("inf")}, (40003, 400)),
        ({"ttl": True}, (40003, 400)),
        ({"ttl": [1]}, (40003, 400)),
        ({"timestamp": None}, (40003, 400)),
        ({"timestamp": "now"}, (40003, 400)),
        ({"timestamp": START_MS - TIMESTAMP_WINDOW_MS - 1}, (40104, 401)),
        ({"timestamp": START_MS + TIMESTAMP_WINDOW_MS + 1_000}, (40104, 401)),
        ({"timestamp": START_MS - 30 * 60_000}, (40104, 401)),
        ({"nonce": None}, (40003, 400)),
        ({"nonce": "too short"}, (40003, 400)),
        ({"nonce": "x" * 1025}, (40003, 400)),
        ({"nonce": "\ud800" * 16}, (40003, 400)),
        ({"clientId": ""}, (40012, 400)),
        ({"clientId": 7}, (40012, 400)),
        ({"clientId": ["ann"]}, (40012, 400)),
        ({"clientId": "\ud800"}, (40012, 400)),
        ({"capability": "{"}, (40000, 400)),
        ({"capability": "[]"}, (40000, 400)),
        ({"capability": 7}, (40000, 400)),
        ({"capability": '{"*":["publish_"]}'}, (40000, 400)),
        ({"capability": '{"*":["*","publish"]}'}, (40000, 400)),
        ({"capability": '{"*":[]}'}, (40000, 400)),
        ({"capability": "{}"}, (40160, 401)),
    ],
)
async def test_what_cannot_be_asked_for(
    opened: Broker, fields: dict[str, Any], expected: tuple[int, int]
) -> None:
    body = {**signed(root(opened)), **fields}
    if expected[1] == 401:
        body = signed(root(opened), **fields)
    assert await refused(opened, body) == expected


@pytest.mark.parametrize("body", [None, [], "x", 7, [{}]])
async def test_a_request_is_an_object(opened: Broker, body: object) -> None:
    assert await refused(opened, body) == (40000, 400)


async def test_a_refused_request_does_not_use_up_its_nonce(opened: Broker) -> None:
    key = await opened.apps.create_key(opened.default_app(), granted='{"a":["publish"]}')
    assert await refused(opened, signed(key, capability='{"b":["*"]}'), key) == (40160, 401)
    assert await ask(opened, signed(key, capability='{"a":["*"]}'), key)


@pytest.mark.parametrize(
    ("key", "request_", "expected"),
    [
        ('{"c":["publish","subscribe"]}', '{"c":["presence","subscribe"]}', '{"c":["subscribe"]}'),
        ('{"c":["publish","subscribe"]}', '{"c":["*"]}', '{"c":["publish","subscribe"]}'),
        ('{"*":["subscribe"]}', '{"a:*":["*"],"b":["publish"]}', '{"a:*":["subscribe"]}'),
        ('{"a":["*"]}', '{"a":["publish","history"]}', '{"a":["history","publish"]}'),
        ('{"a":["*"]}', None, '{"a":["*"]}'),
        ('{"a":["*"]}', {"a": ["*"]}, '{"a":["*"]}'),
    ],
)
async def test_a_token_gets_what_both_the_request_and_the_key_permit(
    opened: Broker, key: str, request_: Any, expected: str
) -> None:
    made = await opened.apps.create_key(opened.default_app(), granted=key)
    canonical = str(request_).replace("'", '"').replace(" ", "") if request_ else None
    body = {**signed(made, capability=canonical), "capability": request_}
    assert (await ask(opened, body, made)).capability == expected


async def test_a_short_life_is_exactly_as_long_as_asked(opened: Broker, clock: FakeClock) -> None:
    details = await ask(opened, signed(root(opened), ttl=100))
    assert details.expires_ms == details.issued_ms + 100
    clock.ms = details.expires_ms - 1
    assert opened.authenticate(token=details.token)
    clock.ms = details.expires_ms
    with pytest.raises(BrokerError) as caught:
        opened.authenticate(token=details.token)
    assert caught.value.code == 40142


async def test_tokens_that_can_be_revoked_live_for_an_hour_at_most(opened: Broker) -> None:
    key = await opened.apps.create_key(opened.default_app(), revocable_tokens=True)
    assert await refused(opened, signed(key, ttl=HOUR_MS + 1), key) == (40003, 400)
    assert await ask(opened, signed(key, ttl=HOUR_MS), key)
    assert await ask(opened, signed(root(opened), ttl=24 * HOUR_MS))


async def test_a_nonce_is_good_once_even_across_a_restart(path: Path, clock: FakeClock) -> None:
    async with broker.open(path, clock=clock) as b:
        body = signed(root(b))
        token = (await ask(b, body)).token
        assert await refused(b, body) == (40105, 401)
        assert await refused(b, signed(root(b), ttl=1000)) == (40105, 401)
        other = await b.apps.create_key(b.default_app())
        assert await ask(b, signed(other), other)
        assert await ask(b, signed(root(b), timestamp=START_MS + 1))
    async with broker.open(path, clock=clock) as b:
        assert await refused(b, body) == (40105, 401)
        assert b.authenticate(token=token).kind == "token"
        await b.rebuild()
        assert await refused(b, body) == (40105, 401)


async def test_of_many_replays_at_once_one_is_honoured(opened: Broker) -> None:
    body = signed(root(opened))
    honoured: list[TokenDetails] = []
    refusals: list[int] = []

    async def try_it() -> None:
        try:
            honoured.append(await ask(opened, body))
        except BrokerError as error:
            refusals.append(error.code)

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(try_it)
    assert len(honoured) == 1
    assert refusals == [40105] * 49


async def test_nonces_are_forgotten_when_their_timestamps_are_stale(
    opened: Broker, clock: FakeClock
) -> None:
    latest = signed(root(opened), timestamp=START_MS + TIMESTAMP_WINDOW_MS)
    await ask(opened, latest)
    clock.advance(2 * TIMESTAMP_WINDOW_MS - 1_000)
    await opened.sweep()
    assert await refused(opened, latest) == (40105, 401)
    clock.ms = START_MS + NONCE_RETENTION_MS + 1_000
    await opened.sweep()
    with opened.rows() as rows:
        assert list(rows.scan("nonces")) == []
    assert await refused(opened, latest) == (40104, 401)
    assert await ask(opened, signed(root(opened), timestamp=clock.ms))


async def test_unsigned_requests_are_worth_what_their_bringer_is(opened: Broker) -> None:
    key = root(opened)
    other = await opened.apps.create_key(opened.default_app())
    assert (await ask(opened, {}, key=key.string)).key_name == key.name
    details = await ask(opened, {"clientId": "ann", "ttl": 1000}, key=key.string)
    assert details.client_id == "ann"
    assert details.expires_ms == details.issued_ms + 1000
    assert await refused(opened, {}) == (40101, 401)
    assert await refused(opened, {}, key=other.string) == (40101, 401)


async def test_a_caller_whose_key_was_revoked_meanwhile_gets_nothing(opened: Broker) -> None:
    key = await opened.apps.create_key(opened.default_app())
    caller = opened.authenticate(key=key.string)
    await opened.apps.revoke_key(key.app_id, key.key_id)
    with pytest.raises(BrokerError) as caught:
        await opened.issue_token(key.name, token_requests.read(key.name, {}), caller)
    assert caught.value.code == 40131


async def test_a_token_begets_no_more_than_itself(opened: Broker, clock: FakeClock) -> None:
    body = {"clientId": "ann", "ttl": 10_000, "capability": '{"a":["*"]}'}
    mother = await ask(opened, body, key=root(opened).string)
    child = await ask(opened, {"capability": '{"*":["publish"]}'}, token=mother.token)
    assert child.capability == '{"a":["publish"]}'
    assert child.client_id == "ann"
    assert child.expires_ms == mother.expires_ms
    assert child.token != mother.token
    clock.advance(1)
    sooner = await ask(opened, {"ttl": 100}, token=mother.token)
    assert sooner.expires_ms == sooner.issued_ms + 100
    assert await refused(opened, {"clientId": "bob"}, token=mother.token) == (40102, 401)
    assert await refused(opened, {"clientId": "*"}, token=mother.token) == (40012, 400)
    elsewhere = {"capability": '{"b":["*"]}'}
    assert await refused(opened, elsewhere, token=mother.token) == (40160, 401)
    anonymous = await ask(opened, {}, key=root(opened).string)
    assert await refused(opened, {"clientId": "ann"}, token=anonymous.token) == (40102, 401)
    wildcard = await ask(opened, {"clientId": "*"}, key=root(opened).string)
    assert (await ask(opened, {"clientId": "ann"}, token=wildcard.token)).client_id == "ann"


async def test_equal_requests_give_different_tokens(opened: Broker) -> None:
    made = {(await ask(opened, {}, key=root(opened).string)).token for _ in range(20)}
    assert len(made) == 20


async def test_there_must_be_such_a_key(opened: Broker) -> None:
    for name in ("nosuchapp.key", f"{opened.default_app()}.nosuchkey", "nodot", ""):
        with pytest.raises(BrokerError) as caught:
            await opened.issue_token(name, token_requests.read(name, {"mac": None}))
        assert (caught.value.code, caught.value.status) == (40400, 404)


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*NAMES, "mac"]), _values) | _values)
def test_whatever_is_asked_is_read_or_refused(body: Any) -> None:
    try:
        request = token_requests.read("app.key", body)
    except BadRequest:
        return
    assert sign(request.signed_text, "secret")
    assert request.signed_text.count("\n") >= len(NAMES)
