"""Who may see to which device: an admin, the device itself, its client, and nobody else."""

from typing import Any

import pytest

from broker import Broker, NotFound, Unauthorized
from broker.auth import capability
from broker.auth.credentials import Key, Principal
from broker.push import identity
from broker.push.events import Device
from tests.broker.conftest import START_MS, FakeClock
from tests.broker.push.registered import registered

ADMIN, SUBSCRIBER = {"*": ["push-admin"]}, {"*": ["push-subscribe"]}
NEITHER = {"*": ["publish", "subscribe"]}


def caller(grants: dict[str, list[str]], **fields: Any) -> Principal:
    return Principal(
        app_id="app",
        key_name="app.key",
        kind=fields.pop("kind", "token"),
        capability=capability.parse(grants),
        **fields,
    )


def device(id_: str = "d", **fields: Any) -> Device:
    return Device(
        id=id_,
        platform="ios",
        form_factor="phone",
        transport="apns",
        recipient=b"",
        token_id=fields.pop("token_id", "t"),
        **fields,
    )


def may(ask: Any, *args: Any) -> bool:
    try:
        ask(*args)
    except Unauthorized as error:
        refused = error
    else:
        return True
    assert (refused.code, refused.status) == (40160, 401)
    return False


MINE, YOURS, NOBODYS = device(client_id="me"), device(client_id="you"), device()
ITSELF = caller(ADMIN, device_id="d", token_id="t")


@pytest.mark.parametrize(
    ("principal", "own"),
    [
        # (mine, yours, nobody's, one that is not there)
        (caller(ADMIN), (True, True, True, True)),
        (caller({"push:*": ["push-admin"]}), (True, True, True, True)),
        (caller({"*": ["*"]}), (True, True, True, True)),
        (caller(SUBSCRIBER, client_id="me"), (True, False, False, True)),
        (caller(SUBSCRIBER, client_id="*"), (True, True, False, True)),
        (caller(SUBSCRIBER), (False, False, False, True)),
        (caller(SUBSCRIBER, kind="key"), (True, True, True, True)),
        (caller(SUBSCRIBER, kind="key", client_id="me"), (True, False, False, True)),
        (caller(NEITHER, client_id="me"), (False, False, False, False)),
        (caller(NEITHER, kind="key"), (False, False, False, False)),
        (ITSELF, (True, True, True, False)),
        (caller(ADMIN, device_id="other", token_id="t", client_id="me"), (False,) * 4),
        (caller(ADMIN, device_id="d", token_id="an older one", client_id="me"), (False,) * 4),
        (caller(SUBSCRIBER, device_id="other", token_id="t", client_id="me"), (False,) * 4),
    ],
)
def test_whose_a_device_is(principal: Principal, own: tuple[bool, ...]) -> None:
    for one, expected in zip((MINE, YOURS, NOBODYS, None), own, strict=True):
        assert may(identity.require_own, principal, one, "d") is expected, one


@pytest.mark.parametrize(
    ("principal", "speaks"),
    [
        # (for me, for you, for nobody in particular)
        (caller(ADMIN), (True, True, True)),
        (caller(SUBSCRIBER, client_id="me"), (True, False, False)),
        (caller(SUBSCRIBER, client_id="*"), (True, True, False)),
        (caller(SUBSCRIBER), (False, False, False)),
        (caller(SUBSCRIBER, kind="key"), (True, True, True)),
        (caller(NEITHER, client_id="me"), (False, False, False)),
        (ITSELF, (False, False, False)),
        (caller(SUBSCRIBER, client_id="me", device_id="d", token_id="t"), (False, False, False)),
    ],
)
def test_who_speaks_for_a_client(principal: Principal, speaks: tuple[bool, ...]) -> None:
    for client, expected in zip(("me", "you", None), speaks, strict=True):
        assert may(identity.require_client, principal, client) is expected, client


@pytest.mark.parametrize(
    ("principal", "expected"),
    [
        (caller(ADMIN), True),
        (caller({"a": ["publish"], "b": ["push-admin"]}), True),
        (caller(SUBSCRIBER, kind="key"), False),
        (caller(NEITHER), False),
        (caller({}), False),
        (ITSELF, False),
    ],
)
def test_who_is_an_admin(principal: Principal, expected: bool) -> None:
    assert identity.is_admin(principal) is expected
    assert may(identity.require_admin, principal) is expected


def test_a_device_that_is_not_there_is_404() -> None:
    assert identity.known(MINE) is MINE
    with pytest.raises(NotFound) as refused:
        identity.known(None)
    assert refused.value.code == 40400


async def key_of(b: Broker) -> Key:
    return b.apps.keys(b.default_app())[0]


async def test_a_token_says_which_device_it_is(opened: Broker, clock: FakeClock) -> None:
    app = opened.default_app()
    (made, other) = await registered(opened, app, "d", "e", client_id="me")
    issued = identity.identify(await key_of(opened), made, START_MS)
    principal = opened.authenticate(token=issued.token)
    assert (principal.app_id, principal.client_id) == (app, "me")
    assert identity.is_device(principal, made)
    assert not identity.is_device(principal, other)
    assert not identity.is_device(principal, None)
    assert not identity.is_admin(principal)
    clock.advance(10 * 365 * 24 * 3_600_000)
    assert identity.is_device(opened.authenticate(token=issued.token), made), "it lasts"


async def test_a_token_is_good_for_nothing_else(opened: Broker) -> None:
    app = opened.default_app()
    (made,) = await registered(opened, app, "d")
    issued = identity.identify(await key_of(opened), made, START_MS)
    principal = opened.authenticate(token=issued.token)
    for operation in ("publish", "subscribe", "history", "presence", "channel-metadata", "stats"):
        for channel in ("c", "[meta]log", "*"):
            with pytest.raises(Unauthorized):
                principal.require(operation, channel)


async def test_a_token_is_void_when_the_device_is_another(opened: Broker) -> None:
    """Registered again, or removed and back: who held the token is not the device any more."""
    app = opened.default_app()
    (made,) = await registered(opened, app, "d")
    principal = opened.authenticate(
        token=identity.identify(await key_of(opened), made, START_MS).token
    )
    changed = await opened.push.patch(app, "d", metadata={}, update_token="u")
    assert identity.is_device(principal, changed)
    (again,) = await registered(opened, app, "d")
    assert not identity.is_device(principal, again)
    await opened.push.remove(app, device="d")
    assert not identity.is_device(principal, opened.push.device(app, "d"))
    (back,) = await registered(opened, app, "d")
    assert not identity.is_device(principal, back)


async def test_a_key_gives_no_more_than_it_has(opened: Broker) -> None:
    app = opened.default_app()
    (made,) = await registered(opened, app, "d")
    narrow = await opened.apps.create_key(app, granted='{"*":["push-subscribe","publish"]}')
    issued = identity.identify(narrow, made, START_MS)
    granted = opened.authenticate(token=issued.token).capability
    assert not granted.permits_somewhere("push-admin")
    assert not granted.permits_somewhere("publish")
    assert granted.permits_somewhere("push-subscribe")
    await opened.apps.revoke_key(app, narrow.key_id)
    with pytest.raises(Unauthorized):
        opened.authenticate(token=issued.token)
