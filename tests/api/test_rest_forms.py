"""Bodies that are forms, of every route that takes one."""

import json
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest

from broker.auth.credentials import Key
from tests.api.any_format import ALL_TYPES, value_of
from tests.api.rest_server import (
    JSON,
    MSGPACK,
    RestServer,
    basic,
    bearer,
    decode,
    encode,
    error_of,
    messages_path,
)
from tests.api.test_rest_tokens import signed

FORM = "application/x-www-form-urlencoded"


async def form(client: httpx.AsyncClient, path: str, body: Any, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else urlencode(body, doseq=True).encode()
    return await client.post(path, content=content, headers={"Content-Type": FORM, **headers})


async def test_a_form_that_publishes(server: RestServer) -> None:
    fields = {"name": "n ü", "data": "a=b&c", "clientId": "ann", "id": "i", "encoding": "x"}
    extras = {"headers": {"a": 1}}
    body = {**fields, "extras": json.dumps(extras)}
    for _ in range(2):
        reply = await form(server.client, messages_path("c"), body)
        assert reply.status_code == 201
    (message,) = await server.stored("c")
    assert {name: message[name] for name in fields} == fields
    assert message["extras"] == extras
    reply = await form(server.client, messages_path("c"), {"data": "", "name": "[1]"})
    assert reply.status_code == 201
    found = (await server.stored("c"))[0]
    assert (found["data"], found["name"]) == ("", "[1]")


async def test_text_stays_text_in_a_form(server: RestServer) -> None:
    for data in ("5", "null", "true", '{"a":1}', "[1]"):
        assert (await form(server.client, messages_path("c"), {"data": data})).status_code == 201
        assert (await server.stored("c"))[0]["data"] == data


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", 40001),
        (b"a", 40001),
        (b"a&b=1", 40001),
        (b"data=%FF", 40001),
        ("data=é".encode(), 40001),
        (b"&".join(b"f%d=1" % number for number in range(1_001)), 40001),
        (b"extras={", 40001),
        (b"extras=[1", 40001),
        (b"extras=[]", 40032),
        (b"extras=text", 40032),
        (b"name=a&name=b", 40016),
        (b"extras=" + quote("[" * 200 + "]" * 200).encode(), 40001),
    ],
)
async def test_bad_forms(server: RestServer, body: bytes, code: int) -> None:
    before = server.broker.log.position
    assert error_of(await form(server.client, messages_path("c"), body)) == (400, code)
    assert server.broker.log.position == before


async def test_a_form_that_requests_a_token(server: RestServer) -> None:
    where = f"/keys/{server.key.name}/requestToken"
    nobody = await server.connect({})
    asked = signed(server, ttl="60000", clientId="ann", capability='{"c":["publish"]}')
    reply = await form(nobody, where, asked)
    assert reply.status_code == 201
    details = decode(reply)
    assert details["expires"] - details["issued"] == 60_000
    assert (details["clientId"], details["capability"]) == ("ann", '{"c":["publish"]}')
    assert error_of(await form(nobody, where, asked)) == (401, 40105)
    assert error_of(await form(nobody, where, {**asked, "ttl": "1"})) == (401, 40101)
    unsigned = {"ttl": "1000", "capability": '{"*":["subscribe"]}'}
    assert error_of(await form(nobody, where, unsigned)) == (401, 40101)
    reply = await form(server.client, where, unsigned)
    assert reply.status_code == 201
    assert decode(reply)["capability"] == '{"*":["subscribe"]}'
    client = await server.connect(bearer(decode(reply)["token"]))
    assert error_of(await client.get(messages_path("c"))) == (401, 40160)


@pytest.fixture
async def revocable(server: RestServer) -> Key:
    return await server.broker.apps.create_key(server.app, revocable_tokens=True)


@pytest.mark.parametrize(
    ("fields", "targets"),
    [
        ({"targets": "clientId:ann"}, ["clientId:ann"]),
        ({"targets": ["clientId:ann", "channel:c"]}, ["clientId:ann", "channel:c"]),
        ({"targets": '["clientId:ann", "clientId:bob"]'}, ["clientId:ann", "clientId:bob"]),
    ],
)
async def test_a_form_that_revokes_tokens(
    server: RestServer, revocable: Key, fields: dict[str, Any], targets: list[str]
) -> None:
    client = await server.connect(basic(revocable.string))
    where = f"/keys/{revocable.name}/revokeTokens?v=3"
    issued_before = server.broker.now() - 1_000
    body = {**fields, "issuedBefore": str(issued_before), "allowReauthMargin": "true"}
    reply = await form(client, where, body)
    assert reply.status_code == 201
    results = decode(reply)["results"]
    assert [result["target"] for result in results] == targets
    for result in results:
        assert result["issuedBefore"] == issued_before
        assert result["appliesAt"] > server.broker.now() + 20_000
    at_once = await form(client, where, {**fields, "allowReauthMargin": "false"})
    assert at_once.status_code == 201
    assert decode(at_once)["results"][0]["appliesAt"] <= server.broker.now()
    for margin in ("yes", "1", ""):
        bad = await form(client, where, {**fields, "allowReauthMargin": margin})
        assert error_of(bad) == (400, 40000)


async def test_a_target_that_is_no_text_is_told_in_every_format(
    server: RestServer, revocable: Key
) -> None:
    client = await server.connect(basic(revocable.string))
    where = f"/keys/{revocable.name}/revokeTokens"
    bodies = [
        (JSON, b'{"targets":[1e3,null,' + b"9" * 400 + b',{"a":[]},-18446744073709551616]}'),
        (MSGPACK, encode({"targets": [b"\xff", 1.5, -1, [b"\0"]]}, MSGPACK)),
    ]
    for content_type, body in bodies:
        for kind in ALL_TYPES.values():
            headers = {"Content-Type": content_type, "Accept": kind}
            reply = await client.post(where, content=body, headers=headers)
            assert (reply.status_code, reply.headers["content-type"]) == (400, kind)
            assert value_of(reply)["error"]["code"] == 40020
            counted = await client.post(f"{where}?v=3", content=body, headers=headers)
            assert counted.status_code == 201
            assert value_of(counted)["successCount"] == 0


async def test_a_form_that_publishes_a_batch(server: RestServer) -> None:
    one = json.dumps({"data": "1"})
    for fields, expected in (
        ({"channels": "one", "messages": one}, {"one": ["1"]}),
        ({"channels": ["a", "b"], "messages": one}, {"a": ["1"], "b": ["1"]}),
        ({"channels": "many", "messages": f"[{one},{one}]"}, {"many": ["1", "1"]}),
        ({"channels": "repeated", "messages": [one, one]}, {"repeated": ["1", "1"]}),
    ):
        reply = await form(server.client, "/messages", fields)
        assert reply.status_code == 201, reply.text
        assert [item["channel"] for item in decode(reply)] == list(expected)
        for channel, data in expected.items():
            assert [message["data"] for message in await server.stored(channel)] == data
    for bad in ({"channels": "x"}, {"channels": "x", "messages": "text"}, {"messages": one}):
        assert error_of(await form(server.client, "/messages", bad)) == (400, 40001)
    assert await server.stored("x") == []
