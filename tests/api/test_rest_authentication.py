"""The table of validation failures (reference 2.2) over the wire, and that no secret is logged."""

import base64
import logging
from collections.abc import Callable
from typing import Any

import jwt
import pytest

from tests.api.rest_server import TYPES, RestServer, basic, bearer, error_of, messages_path

WAY_BACK_S = -90_000
Make = Callable[[RestServer], dict[str, str]]


def header(value: str) -> Make:
    return lambda server: {"Authorization": value}


def by_key(change: Callable[[RestServer], str]) -> Make:
    return lambda server: basic(change(server))


def by_token(**claims: Any) -> Make:
    return lambda server: bearer(server.token(**claims))


def signed(server: RestServer, kid: str, secret: str | None = None) -> dict[str, str]:
    now_s = server.broker.clock() // 1000
    claims = {"iat": now_s, "exp": now_s + 60}
    key = secret or server.key.secret
    return bearer(jwt.encode(claims, key, "HS256", headers={"kid": kid}))


WRONG_SECRET = "wrong" * 8
FAILURES: dict[str, tuple[Make, tuple[int, int]]] = {
    "nothing": (lambda _: {}, (401, 40101)),
    "empty": (header(""), (401, 40101)),
    "unknown scheme": (header("Digest x"), (401, 40101)),
    "scheme alone": (header("Basic"), (401, 40101)),
    "not base64": (header("Basic !!!"), (401, 40101)),
    "not UTF-8": (header("Basic " + base64.b64encode(b"\xff:\xff").decode()), (401, 40101)),
    "malformed key": (by_key(lambda _: "nonsense"), (401, 40101)),
    "key without secret": (by_key(lambda s: s.key.name), (401, 40101)),
    "unknown app": (by_key(lambda _: "nobody.key:secret"), (401, 40101)),
    "endless app": (by_key(lambda _: "n" * 900 + ".key:secret"), (401, 40101)),
    "unknown key": (by_key(lambda s: f"{s.app}.nobody:secret"), (401, 40400)),
    "wrong secret": (by_key(lambda s: f"{s.key.name}:wrong"), (401, 40101)),
    "longer secret": (by_key(lambda s: f"{s.key.string}x"), (401, 40101)),
    "garbage token": (lambda _: bearer("garbage"), (401, 40101)),
    "opaque token": (lambda s: bearer(f"{s.app}.opaque-token"), (401, 40101)),
    "raw garbage token": (header("Bearer gar.ba.ge"), (401, 40101)),
    "token of no app": (lambda s: signed(s, "invalid.invalid"), (404, 40400)),
    "token of no key": (lambda s: signed(s, f"{s.app}.invalid"), (401, 40400)),
    "token without kid": (lambda s: signed(s, ""), (401, 40144)),
    "token with a surrogate": (lambda s: signed(s, "\ud800.key"), (401, 40144)),
    "bad signature": (lambda s: signed(s, s.key.name, WRONG_SECRET), (401, 40101)),
    "expired": (by_token(lifetime_s=-1), (401, 40142)),
    "long expired": (by_token(iat=1, exp=60), (401, 40142)),
    "too long": (by_token(lifetime_s=100_000), (401, 40144)),
    "no exp": (by_token(exp=None), (401, 40144)),
    "no iat": (by_token(iat=None), (401, 40144)),
    "claims of another type": (by_token(exp="soon"), (401, 40144)),
    "bad capability": (by_token(**{"x-ably-capability": "{"}), (401, 40144)),
    "unknown operation": (by_token(**{"x-ably-capability": '{"c":["fly"]}'}), (401, 40144)),
    "empty client id": (by_token(**{"x-ably-clientId": ""}), (401, 40144)),
}


@pytest.mark.parametrize("case", FAILURES)
async def test_failures(server: RestServer, case: str) -> None:
    make, expected = FAILURES[case]
    client = await server.connect(make(server))
    for kind in TYPES:
        accept = {"Accept": kind}
        for reply in (
            await client.get(messages_path("c"), headers=accept),
            await client.post(messages_path("c"), headers=accept, json={"data": "x"}),
        ):
            assert reply.headers["content-type"] == kind
            assert error_of(reply) == expected
    assert await server.stored("c") == []


async def test_a_refusal_says_how_to_authenticate(server: RestServer) -> None:
    """RFC 9110 15.5.2: a 401 names a challenge; not Basic, or browsers ask for a password."""
    reply = await (await server.connect({})).get(messages_path("c"))
    assert reply.headers["www-authenticate"] == 'Bearer realm="tidelog"'


async def test_every_way_to_carry_credentials(server: RestServer) -> None:
    """Reference 2.1; a header wins over the query."""
    nobody, token = await server.connect({}), server.token()
    path, key = messages_path("c"), server.key.string
    for headers in (
        basic(key),
        bearer(token),
        {"Authorization": f"Bearer {token}"},
        {"Authorization": f"bearer   {token}"},
        {"Authorization": basic(key)["Authorization"].rstrip("=")},
    ):
        assert (await nobody.get(path, headers=headers)).status_code == 200
    for params in ({"key": key}, {"access_token": token}, {"accessToken": token}):
        assert (await nobody.get(path, params=params)).status_code == 200
        refused = await nobody.get(path, params=params, headers=basic("a.b:c"))
        assert refused.status_code == 401
    assert error_of(await nobody.get(path, params={"key": "a.b:c"})) == (401, 40101)
    assert error_of(await nobody.get(path, params={"access_token": "x"})) == (401, 40101)


async def test_a_revoked_key_and_its_tokens(server: RestServer) -> None:
    apps = server.broker.apps
    key = await apps.create_key(server.app)
    clients = [
        await server.connect(basic(key.string)),
        await server.connect(bearer(server.token(key=key))),
    ]
    for client in clients:
        assert (await client.get(messages_path("c"))).status_code == 200
    await apps.revoke_key(server.app, key.key_id)
    for client in clients:
        assert error_of(await client.get(messages_path("c"))) == (401, 40131)


async def test_a_deleted_app(server: RestServer) -> None:
    apps = server.broker.apps
    app = await apps.create()
    (key,) = apps.keys(app.id)
    with_key = await server.connect(basic(key.string))
    with_token = await server.connect(bearer(server.token(key=key)))
    await apps.delete(app.id)
    assert error_of(await with_key.get(messages_path("c"))) == (401, 40101)
    assert error_of(await with_token.get(messages_path("c"))) == (404, 40400)


@pytest.mark.parametrize(
    ("granted", "may_publish", "may_read"),
    [
        ('{"*":["*"]}', True, True),
        ('{"a:*":["publish"]}', True, False),
        ('{"a:b":["history"]}', False, True),
        ('{"a":["*"]}', False, False),
        ('{"a:*":["subscribe"]}', False, False),
        ('{"[meta]*":["*"]}', False, False),
    ],
)
async def test_capabilities_of_keys_and_tokens(
    server: RestServer, granted: str, may_publish: bool, may_read: bool
) -> None:
    key = await server.broker.apps.create_key(server.app, granted=granted)
    claimed = server.token(**{"x-ably-capability": granted})
    for headers in (basic(key.string), bearer(server.token(key=key)), bearer(claimed)):
        client = await server.connect(headers)
        for reply, permitted in (
            (await client.post(messages_path("a:b"), json={}), may_publish),
            (await client.get(messages_path("a:b")), may_read),
        ):
            assert reply.is_success == permitted
            if not permitted:
                assert error_of(reply) == (401, 40160)


async def test_a_token_cannot_exceed_its_key(server: RestServer) -> None:
    key = await server.broker.apps.create_key(server.app, granted='{"a":["publish"]}')
    for claim, publishes in (('{"*":["*"]}', True), ('{"a":["*"]}', True), ('{"b":["*"]}', False)):
        token = server.token(key=key, **{"x-ably-capability": claim})
        client = await server.connect(bearer(token))
        reply = await client.post(messages_path("a"), json={})
        assert reply.is_success == publishes
        if not publishes:
            assert error_of(reply) == (401, 40160)
        assert error_of(await client.get(messages_path("b")))[1] == 40160


async def test_no_secret_is_logged(
    server: RestServer, caplog: pytest.LogCaptureFixture, may_log: set[str]
) -> None:
    """Not of good credentials or bad ones, in headers or queries, nor where we have a bug."""
    may_log.add("tidelog.http")
    caplog.set_level(logging.DEBUG)
    logging.getLogger("httpcore").setLevel(logging.WARNING)  # the client's own log
    logging.getLogger("httpx").setLevel(logging.WARNING)
    key, token = server.key.string, server.token()
    wrong_key, wrong_token = f"{server.key.name}:{WRONG_SECRET}", server.token(lifetime_s=-5)

    async def broken(*_: Any) -> None:
        raise RuntimeError("a bug")

    for repair in (False, True):
        for text in (key, wrong_key):
            await ask_everything(server, basic(text), {"key": text})
        for text in (token, wrong_token):
            await ask_everything(server, bearer(text), {"access_token": text})
        if not repair:
            server.broker.read_history = broken  # type: ignore[assignment]
    logged = "\n".join(logging.Formatter().format(record) for record in caplog.records)
    assert "a bug" in logged
    for text in (key, wrong_key, token, wrong_token):
        encoded = base64.b64encode(text.encode()).decode()
        for secret in (text, text.rpartition(":")[2], encoded, text.rpartition(".")[2]):
            assert secret not in logged


async def ask_everything(
    server: RestServer, headers: dict[str, str], params: dict[str, str]
) -> None:
    for client, query in (
        (await server.connect(headers), {}),
        (await server.connect({}), params),
    ):
        for method, path in (
            ("GET", messages_path("c")),
            ("POST", messages_path("c")),
            ("DELETE", messages_path("c")),
            ("GET", "/nothing"),
        ):
            await client.request(method, path, params=query)
