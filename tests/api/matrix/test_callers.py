"""Who may ask: users, by their tokens; and how often."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.api.matrix.asking import HOST, LIST, ROUTES, SET, VERSIONS, Asking, asking, refusal
from tests.api.matrix.bodies import pusher
from tests.api.rest_server import RestServer, basic, bearer, rest_server

GUARDED = [route for route in ROUTES if route != VERSIONS]
Headers = dict[str, str]
HOSTS: Any = {"matrix_hosts": (HOST["Host"],)}
USER = {"x-ably-clientId": "@ann:example.org"}


async def _native(server: RestServer, **wanted: Any) -> str:
    url = f"/keys/{server.key.name}/requestToken"
    reply = await server.client.post(url, json={"keyName": server.key.name, **wanted})
    assert reply.status_code == 201, reply.text
    return str(reply.json()["token"])


async def _of_device(server: RestServer) -> str:
    device = {
        "id": "dev",
        "platform": "ios",
        "formFactor": "phone",
        "clientId": "@ann:example.org",
        "push": {"recipient": {"transportType": "apns", "deviceToken": "7f"}},
    }
    reply = await server.client.post("/push/deviceRegistrations", json=device)
    return str(reply.json()["deviceIdentityToken"]["token"])


async def _revoked(server: RestServer) -> str:
    key = await server.broker.apps.create_key(server.app, revocable_tokens=True)
    token = server.token(key=key, **USER)
    by_key = await server.connect(basic(key.string))
    targets = {"targets": ["clientId:@ann:example.org"]}
    reply = await by_key.post(f"/keys/{key.name}/revokeTokens", json=targets)
    assert reply.status_code == 201, reply.text
    return token


@pytest.mark.parametrize("route", GUARDED)
async def test_no_token(ann: Asking, route: str) -> None:
    reply = await Asking(ann.client)(route, pusher())
    assert refusal(reply) == (401, "M_MISSING_TOKEN")
    assert reply.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("route", GUARDED)
async def test_a_token_that_is_none(ann: Asking, route: str) -> None:
    reply = await Asking(ann.client, "a.b")(route, pusher())
    assert refusal(reply) == (401, "M_UNKNOWN_TOKEN")
    assert "soft_logout" not in reply.json()


async def test_versions_need_no_token(ann: Asking) -> None:
    assert await Asking(ann.client).fine(VERSIONS) == {"versions": ["v1.11"]}


async def test_what_is_no_bearer_token_is_missing(ann: Asking) -> None:
    for header in ("Basic", "Bearer", "", "MAC x", "x"):
        reply = await Asking(ann.client)(LIST, headers={"Authorization": header})
        assert refusal(reply) == (401, "M_MISSING_TOKEN"), header


async def test_an_api_key_is_nobody(ann: Asking, server: RestServer) -> None:
    key = server.key.string
    for headers, expected in (
        (basic(key), "M_MISSING_TOKEN"),
        (bearer(key), "M_UNKNOWN_TOKEN"),
        ({"Authorization": f"Bearer {key}"}, "M_UNKNOWN_TOKEN"),
    ):
        nobody = Asking(ann.client, headers={**HOST, **headers})
        assert refusal(await nobody(LIST)) == (401, expected)
    reply = await Asking(ann.client)(f"{LIST}?key={key}")
    assert refusal(reply) == (401, "M_MISSING_TOKEN")


Make = Callable[[RestServer], Any]
NOBODY: dict[str, Make] = {
    "expired": lambda server: server.token(lifetime_s=-10, **USER),
    "for-anybody": lambda server: server.token(**{"x-ably-clientId": "*"}),
    "of-nobody": lambda server: server.token(),
    "native-for-anybody": lambda server: _native(server, clientId="*"),
    "native-of-nobody": lambda server: _native(server),
    "of-a-device": _of_device,
    "revoked": _revoked,
    "wrong-signature": lambda server: server.token(**USER)[:-4] + "AAAA",
    "garbage": lambda server: "é" * 8,
    "too-long": lambda server: "x" * 8_000,
}


async def test_tokens_of_no_user(ann: Asking, server: RestServer) -> None:
    for name, make in NOBODY.items():
        made = make(server)
        token = made if isinstance(made, str) else await made
        headers = {b"Host": HOST["Host"].encode(), b"Authorization": f"Bearer {token}".encode()}
        for route in GUARDED:
            reply = await ann.client.request(
                *_target(route), headers=headers, json=pusher(), params={"access_token": "x"}
            )
            assert refusal(reply) == (401, "M_UNKNOWN_TOKEN"), name
            assert reply.json().get("soft_logout", False) is (name == "expired"), name


def _target(route: str) -> tuple[str, str]:
    method, path = route.split(" ")
    return method, path.replace("{pushkey}", "a")


async def test_a_token_of_an_app_that_is_gone(ann: Asking, server: RestServer) -> None:
    other = await server.broker.apps.create("other")
    token = server.token(key=server.broker.apps.keys(other.id)[0], **USER)
    assert await Asking(ann.client, token).pushers() == []
    await server.broker.apps.delete("other")
    assert refusal(await Asking(ann.client, token)(LIST)) == (401, "M_UNKNOWN_TOKEN")


async def test_every_kind_of_token_of_a_user(ann: Asking, server: RestServer) -> None:
    await ann.fine(SET, pusher())
    native = await _native(server, clientId="@ann:example.org")
    for headers in (
        bearer(native),
        {"Authorization": f"bearer  {native}"},
        bearer(ann.token or ""),
    ):
        user = Asking(ann.client, headers={**HOST, **headers})
        assert await user.pushers() == [pusher()]
    nobody = Asking(ann.client)
    found = await nobody.fine(f"{LIST}?access_token={native}")
    assert found == {"pushers": [pusher()]}


@pytest.mark.parametrize(
    ("capability", "may"),
    [
        ('{"*":["push-subscribe"]}', True),
        ('{"a":["push-admin"]}', True),
        ('{"*":["*"]}', True),
        ('{"*":["publish","subscribe"]}', False),
    ],
)
async def test_what_a_token_must_permit(
    ann: Asking, server: RestServer, capability: str, may: bool
) -> None:
    user = asking(server, "u", ann.client, **{"x-ably-capability": capability})
    for route in GUARDED:
        reply = await user(route, {"kind": None})
        if may:
            assert reply.status_code in (200, 400, 404)
        else:
            assert refusal(reply) == (403, "M_FORBIDDEN")


@pytest.fixture
async def strict(tmp_path: Path) -> AsyncIterator[RestServer]:
    async with rest_server(tmp_path / "strict", matrix_requests_max=2, **HOSTS) as running:
        yield running


async def test_too_often(strict: RestServer) -> None:
    http = await strict.connect({})
    ann, bob = (asking(strict, user, http) for user in ("ann", "bob"))
    for _ in range(2):
        await ann.pushers()
    for route in GUARDED:
        reply = await ann(route, pusher())
        assert refusal(reply) == (429, "M_LIMIT_EXCEEDED")
        retry_after_ms = reply.json()["retry_after_ms"]
        assert 0 < retry_after_ms <= 30_001
        assert int(reply.headers["retry-after"]) * 1_000 >= retry_after_ms
    assert await bob.pushers() == []
    assert refusal(await Asking(http)(LIST)) == (401, "M_MISSING_TOKEN")


async def test_credentials_over_plain_http_where_tls_is_required(tmp_path: Path) -> None:
    async with rest_server(tmp_path / "data", require_tls=True, **HOSTS) as server:
        ann = asking(server, "ann", await server.connect({}))
        assert refusal(await ann(LIST)) == (403, "M_FORBIDDEN")
        assert (await Asking(ann.client)(VERSIONS)).status_code == 200
