"""`/keys/{keyName}/requestToken` and `revokeTokens` over the wire (reference 1.12, 2.3)."""

import logging
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import strategies as st

from broker.auth.capability import EVERYTHING
from broker.auth.credentials import Key
from broker.auth.token_requests import sign
from tests.api.rest_server import (
    JSON,
    MSGPACK,
    TYPES,
    RestServer,
    basic,
    bearer,
    decode,
    encode,
    error_of,
    messages_path,
    rest_server,
)
from tests.api.test_rest_fuzz import check_shape, encoded, examples, media_types, values

DETAILS = {"token", "keyName", "issued", "expires", "capability"}


def path(key: Key, what: str = "requestToken") -> str:
    return f"/keys/{key.name}/{what}"


def signed(server: RestServer, nonce: str = "0123456789abcdef", **fields: Any) -> dict[str, Any]:
    request = {
        "keyName": server.key.name,
        "timestamp": server.broker.now(),
        "nonce": nonce,
        **fields,
    }
    names = ("keyName", "ttl", "capability", "clientId", "timestamp", "nonce")
    text = "".join(f"{request.get(name, '')}\n" for name in names)
    return {**request, "mac": sign(text, server.key.secret)}


async def post(
    client: httpx.AsyncClient, where: str, body: Any, kind: str = JSON, **headers: str
) -> httpx.Response:
    sent = {"Content-Type": kind, "Accept": kind, **headers}
    return await client.post(where, content=encode(body, kind), headers=sent)


async def details_of(server: RestServer, body: Any, key: Key | None = None) -> dict[str, Any]:
    key = key or server.key
    client = await server.connect(basic(key.string))
    reply = await post(client, path(key), body)
    assert reply.status_code == 201, reply.text
    details: dict[str, Any] = decode(reply)
    return details


async def why(server: RestServer, token: str) -> tuple[int, int] | None:
    """Why a token is refused; None if it is not."""
    client = await server.connect(bearer(token))
    reply = await client.get(messages_path("c"))
    return None if reply.status_code == 200 else error_of(reply)


@pytest.mark.parametrize("kind", TYPES)
async def test_a_signed_request_gets_a_token_that_works(server: RestServer, kind: str) -> None:
    nobody = await server.connect({})
    (before,) = decode(await nobody.get("/time"))
    asked = signed(server, ttl=60_000, clientId="ann", capability='{"c":["publish","history"]}')
    reply = await post(nobody, path(server.key), asked, kind)
    (after,) = decode(await nobody.get("/time"))
    assert reply.status_code == 201
    details = decode(reply)
    assert details.keys() == DETAILS | {"clientId"}
    assert details["keyName"] == server.key.name
    assert details["capability"] == '{"c":["history","publish"]}'
    assert details["clientId"] == "ann"
    assert before <= details["issued"] <= after
    assert details["expires"] == details["issued"] + 60_000
    client = await server.connect(bearer(details["token"]))
    assert (await client.post(messages_path("c"), json={"name": "n"})).status_code == 201
    (message,) = decode(await client.get(messages_path("c")))
    assert message["clientId"] == "ann"
    other = await client.post(messages_path("c"), json={"clientId": "bob"})
    assert error_of(other) == (400, 40012)
    assert error_of(await client.get(messages_path("d"))) == (401, 40160)


async def test_every_way_to_carry_a_native_token(server: RestServer) -> None:
    token = (await details_of(server, {}))["token"]
    nobody = await server.connect({})
    for headers in (bearer(token), {"Authorization": f"Bearer {token}"}):
        assert (await nobody.get(messages_path("c"), headers=headers)).status_code == 200
    for params in ({"access_token": token}, {"accessToken": token}):
        assert (await nobody.get(messages_path("c"), params=params)).status_code == 200


async def test_a_token_inside_a_jwt(server: RestServer) -> None:
    """Whoever signed around it (reference 2.4)."""
    asked = {"clientId": "ann", "capability": '{"c":["publish","history"]}'}
    token = (await details_of(server, asked))["token"]
    outer = server.token(**{"x-ably-token": token, "x-ably-clientId": "eve"})
    client = await server.connect(bearer(outer))
    assert (await client.post(messages_path("c"), json={})).status_code == 201
    assert decode(await client.get(messages_path("c")))[0]["clientId"] == "ann"
    assert error_of(await client.get(messages_path("d"))) == (401, 40160)


async def test_what_comes_beside_a_signature_does_not_count(server: RestServer) -> None:
    for number, headers in enumerate((basic("a.b:c"), bearer("x"), {"Authorization": "What?"})):
        body = signed(server, nonce=f"0123456789abcdef{number}")
        nobody = await server.connect(headers)
        assert (await post(nobody, path(server.key), body)).status_code == 201


async def test_a_signature_is_a_credential_of_the_connection_too(tmp_path: Path) -> None:
    """It does not count among those who showed none, of whom there may be few."""
    async with rest_server(tmp_path / "data", unauthenticated_connections_max=1) as server:
        signer, stranger = await server.connect({}), await server.connect({})
        assert (await post(signer, path(server.key), signed(server))).status_code == 201
        assert (await stranger.get("/time")).status_code == 200


async def test_unsigned_requests_need_credentials(server: RestServer) -> None:
    anything = (await details_of(server, {}))["capability"]
    assert anything == str(EVERYTHING)
    other = await server.broker.apps.create_key(server.app)
    for headers in ({}, basic(other.string)):
        reply = await post(await server.connect(headers), path(server.key), {})
        assert error_of(reply) == (401, 40101)
    mother = (await details_of(server, {"clientId": "ann"}))["token"]
    reply = await post(await server.connect(bearer(mother)), path(server.key), {})
    assert decode(reply)["clientId"] == "ann"


async def test_a_replay_is_refused_even_by_the_next_process(tmp_path: Path) -> None:
    async with rest_server(tmp_path / "data") as server:
        body = signed(server)
        nobody = await server.connect({})
        token = decode(await post(nobody, path(server.key), body))["token"]
        assert error_of(await post(nobody, path(server.key), body)) == (401, 40105)
    async with rest_server(tmp_path / "data") as server:
        nobody = await server.connect({})
        assert error_of(await post(nobody, path(server.key), body)) == (401, 40105)
        assert await why(server, token) is None


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"mac": "wrong"}, (401, 40101)),
        ({"ttl": 1}, (401, 40101)),
        ({"ttl": "never"}, (400, 40003)),
        ({"clientId": ""}, (400, 40012)),
        ({"capability": '{"*":["publish_"]}'}, (400, 40000)),
        ({"keyName": "another.key"}, (400, 40003)),
    ],
)
async def test_requests_that_are_refused(
    server: RestServer, change: dict[str, Any], expected: tuple[int, int]
) -> None:
    for kind in TYPES:
        reply = await post(await server.connect({}), path(server.key), signed(server) | change)
        assert error_of(reply) == expected
        reply = await post(server.client, path(server.key), signed(server) | change, kind)
        assert reply.headers["content-type"] == kind
        assert error_of(reply) == expected


async def test_an_old_timestamp_is_refused(server: RestServer) -> None:
    body = signed(server, timestamp=server.broker.now() - 30 * 60_000)
    assert error_of(await post(server.client, path(server.key), body)) == (401, 40104)


async def test_keys_that_do_not_exist(server: RestServer) -> None:
    for name in ("invalid.key", f"{server.app}.nosuchkey", "nodot", "%FF", "a%2Fb.c", "%00.%00"):
        for what in ("requestToken", "revokeTokens"):
            reply = await server.client.post(f"/keys/{name}/{what}", json={})
            assert error_of(reply) == (404, 40400)
        reply = await (await server.connect({})).get(f"/keys/{name}/requestToken")
        assert error_of(reply) == (404, 40400)
    reply = await server.client.get(path(server.key))
    assert error_of(reply) == (405, 40500)
    assert reply.headers["allow"] == "OPTIONS, POST"
    assert error_of(await server.client.post(f"/keys/{quote(server.key.name)}")) == (404, 40400)


async def test_bodies_that_are_no_request(server: RestServer) -> None:
    for body, code in ((b"", 40001), (b"{", 40001), (b"[]", 40000), (b'"x"', 40000)):
        for what in ("requestToken", "revokeTokens"):
            reply = await server.client.post(
                path(server.key, what), content=body, headers={"Content-Type": JSON}
            )
            assert error_of(reply) == (400, code)


async def revocable(server: RestServer) -> tuple[Key, httpx.AsyncClient]:
    key = await server.broker.apps.create_key(server.app, revocable_tokens=True)
    return key, await server.connect(basic(key.string))


@pytest.mark.parametrize("kind", TYPES)
async def test_revoked_tokens_are_refused_at_once(server: RestServer, kind: str) -> None:
    key, client = await revocable(server)
    ann = (await details_of(server, {"clientId": "ann"}, key))["token"]
    bob = (await details_of(server, {"clientId": "bob"}, key))["token"]
    body = {"targets": ["clientId:ann", "nonsense:x"], "issuedBefore": None}
    reply = await post(client, path(key, "revokeTokens"), body, kind, **{"X-Ably-Version": "3"})
    assert reply.status_code == 201
    answer = decode(reply)
    assert (answer["successCount"], answer["failureCount"]) == (1, 1)
    done, failed = answer["results"]
    assert done.keys() == {"target", "issuedBefore", "appliesAt"}
    assert done["target"] == "clientId:ann"
    assert failed["target"] == "nonsense:x"
    assert (failed["error"]["code"], failed["error"]["statusCode"]) == (40000, 400)
    assert await why(server, ann) == (401, 40141)
    assert await why(server, bob) is None


async def test_revocations_outlive_the_process(tmp_path: Path) -> None:
    async with rest_server(tmp_path / "data") as server:
        key, client = await revocable(server)
        token = (await details_of(server, {"clientId": "ann"}, key))["token"]
        await post(client, path(key, "revokeTokens"), {"targets": ["clientId:ann"]})
    async with rest_server(tmp_path / "data") as server:
        assert await why(server, token) == (401, 40141)


async def test_the_margin_of_those_who_may_renew(server: RestServer) -> None:
    key, client = await revocable(server)
    token = (await details_of(server, {"clientId": "ann"}, key))["token"]
    (before,) = decode(await client.get("/time"))
    body = {"targets": ["clientId:ann"], "allowReauthMargin": True}
    reply = await post(client, path(key, "revokeTokens"), body, **{"X-Ably-Version": "6"})
    assert decode(reply)["results"][0]["appliesAt"] > before + 30_000
    assert await why(server, token) is None


@pytest.mark.parametrize("version", [None, "1", "2", "two"])
async def test_the_shape_for_older_clients(server: RestServer, version: str | None) -> None:
    key, client = await revocable(server)
    headers = {"X-Ably-Version": version} if version else {}
    where = path(key, "revokeTokens")
    reply = await post(client, where, {"targets": ["clientId:ann"]}, **headers)
    assert reply.status_code == 201
    (done,) = decode(reply)
    assert done["target"] == "clientId:ann"
    reply = await post(client, where, {"targets": ["clientId:ann", "x"]}, **headers)
    assert reply.status_code == 400
    answer = decode(reply)
    assert (answer["error"]["code"], reply.headers["x-ably-errorcode"]) == (40020, "40020")
    assert [item.keys() for item in answer["batchResponse"]] == [
        {"target", "issuedBefore", "appliesAt"},
        {"target", "error"},
    ]


async def test_the_version_may_be_a_parameter(server: RestServer) -> None:
    key, client = await revocable(server)
    reply = await post(client, f"{path(key, 'revokeTokens')}?v=3", {"targets": ["clientId:ann"]})
    assert decode(reply)["successCount"] == 1


async def test_who_may_revoke(server: RestServer) -> None:
    key, _ = await revocable(server)
    token = (await details_of(server, {}, key))["token"]
    body = {"targets": ["clientId:ann"]}
    for headers, where, expected in (
        ({}, key, (401, 40101)),
        (bearer(token), key, (401, 40162)),
        (basic(server.key.string), key, (401, 40133)),
        (basic(server.key.string), server.key, (401, 40163)),
    ):
        client = await server.connect(headers)
        assert error_of(await post(client, path(where, "revokeTokens"), body)) == expected


async def test_no_token_is_logged(server: RestServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("httpcore", "httpx"):
        logging.getLogger(name).setLevel(logging.WARNING)  # the client's own log
    asked = signed(server)
    token = decode(await post(server.client, path(server.key), asked))["token"]
    assert await why(server, token) is None
    assert await why(server, f"{token}A") == (401, 40101)
    await (await server.connect({})).get(messages_path("c"), params={"access_token": token})
    logged = "\n".join(logging.Formatter().format(record) for record in caplog.records)
    for secret in (token, token.partition(".")[2], asked["mac"], server.key.secret):
        assert secret not in logged


FIELDS = ("keyName", "ttl", "capability", "clientId", "timestamp", "nonce", "mac")
REFUSED_AS = ((401, 40101), (401, 40144), (401, 40400), (404, 40400))  # the key, or the app, is not
REVOCATION_FIELDS = ("targets", "issuedBefore", "allowReauthMargin")
odd = values | st.sampled_from(["", "0", "-1", "1" * 16, '{"*":["*"]}', "{}", "*", 0, 1, 10**12])
requests = st.dictionaries(st.sampled_from(FIELDS), odd) | values
targets = st.lists(st.sampled_from(["clientId:a", "channel:[", "x:", ":"]) | values, max_size=3)
revocations = st.dictionaries(st.sampled_from(REVOCATION_FIELDS), targets | odd) | values


async def test_whatever_is_asked(server: RestServer) -> None:
    key, client = await revocable(server)

    async def check(example: tuple[Any, str, str, bool, str]) -> None:
        body, kind, what, sign_it, version = example
        if sign_it and isinstance(body, dict):
            body = {**signed(server), **body}
        reply = await client.post(
            path(key, what),
            content=encoded(body, kind),
            headers={"Content-Type": kind, "Accept": MSGPACK, "X-Ably-Version": version},
        )
        if reply.status_code == 400 and "batchResponse" in (answer := decode(reply)):
            assert answer["error"]["code"] == 40020
            return
        check_shape(reply)

    await examples(
        st.tuples(
            requests | revocations,
            media_types,
            st.sampled_from(["requestToken", "revokeTokens"]),
            st.booleans(),
            st.sampled_from(["1", "3", "x"]),
        ),
        check,
    )


async def test_whatever_token_comes(server: RestServer) -> None:
    token = (await details_of(server, {}))["token"]

    async def check(example: tuple[int, int, str]) -> None:
        cut, flip, more = example
        place = flip % len(token)
        text = token[:place] + more + token[place + cut :]
        client = await server.connect({})
        reply = await client.get(messages_path("c"), params={"access_token": text})
        check_shape(reply)
        if text != token:
            assert error_of(reply) in REFUSED_AS

    strings = st.text(st.sampled_from("AZaz09-_.=+/ \0é"), max_size=5)
    await examples(st.tuples(st.integers(0, 9), st.integers(0, 1 << 16), strings), check)
