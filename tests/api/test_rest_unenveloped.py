"""`enveloped=false`: the whole body is the data of one message (reference 1.7.1)."""

import json
from typing import Any

import httpx
import pytest

from tests.api.rest_server import (
    JSON,
    MSGPACK,
    TYPES,
    RestServer,
    bearer,
    decode,
    error_of,
    messages_path,
)
from tests.api.test_rest_publish import client_id_header

TEXT, BINARY = "text/plain", "application/octet-stream"


async def post(
    server: RestServer,
    body: bytes,
    content_type: str | None = TEXT,
    client: httpx.AsyncClient | None = None,
    params: dict[str, str] | None = None,
    **headers: str,
) -> httpx.Response:
    sent = headers if content_type is None else {"Content-Type": content_type, **headers}
    return await (client or server.client).post(
        messages_path("c"),
        content=body,
        headers=sent,
        params={"enveloped": "false", **(params or {})},
    )


async def only_message(server: RestServer, kind: str = JSON) -> dict[str, Any]:
    (message,) = await server.stored("c", kind)
    return message


@pytest.mark.parametrize("accept", TYPES)
async def test_the_answer_is_that_of_any_publish(server: RestServer, accept: str) -> None:
    reply = await post(server, b"hello", Accept=accept)
    assert (reply.status_code, reply.headers["content-type"]) == (201, accept)
    message = await only_message(server)
    assert decode(reply) == {
        "channel": "c",
        "messageId": message["id"].removesuffix(":0"),
        "serials": [message["serial"]],
    }


@pytest.mark.parametrize(
    ("body", "content_type", "data", "encoding"),
    [
        (b"", TEXT, "", None),
        ("héllo \U0001f600".encode(), "text/plain; charset=utf-8", "héllo \U0001f600", None),
        (b'{"a":1}', TEXT, '{"a":1}', None),
        (b"a=b&c", TEXT, "a=b&c", None),
        (b"", BINARY, b"", None),
        (b"\x00\xff", BINARY, b"\x00\xff", None),
        (b'[{"data":"x"}]', BINARY, b'[{"data":"x"}]', None),
        (b' {"a": [1, "\\u00e9"]} ', JSON, ' {"a": [1, "\\u00e9"]} ', "json"),
        (b"7", JSON, "7", "json"),
        (b'"text"', "Application/JSON; charset=utf-8", '"text"', "json"),
        (b"null", JSON, "null", "json"),
    ],
)
async def test_the_body_is_the_data(
    server: RestServer, body: bytes, content_type: str, data: Any, encoding: str | None
) -> None:
    assert (await post(server, body, content_type)).status_code == 201
    message = await only_message(server, MSGPACK)
    assert (message["data"], message.get("encoding")) == (data, encoding)
    assert not {"name", "clientId", "extras"} & set(message)


@pytest.mark.parametrize(
    ("body", "content_type", "code"),
    [
        (b"\xff", TEXT, 40013),
        (b"{", JSON, 40001),
        (b"", JSON, 40001),
        (b"[" * 100 + b"]" * 100, JSON, 40001),
        (b"NaN", JSON, 40001),
        (b"\x80", MSGPACK, 40001),
        (b"a=b", "application/x-www-form-urlencoded", 40001),
        (b"{}", "image/png", 40001),
        (b"{}", None, 40001),
        (b"{}", "", 40001),
    ],
)
async def test_bodies_that_have_no_meaning(
    server: RestServer, body: bytes, content_type: str | None, code: int
) -> None:
    before = server.broker.log.position
    assert error_of(await post(server, body, content_type)) == (400, code)
    assert server.broker.log.position == before


async def test_size(server: RestServer) -> None:
    assert (await post(server, b"x" * 65_536, BINARY)).status_code == 201
    before = server.broker.log.position
    assert error_of(await post(server, b"x" * 65_537, BINARY)) == (413, 40009)
    assert server.broker.log.position == before


async def test_what_else_a_message_has(server: RestServer) -> None:
    """In headers; in parameters where those are not there."""
    params = {"messageId": "i1", "name": "n é", "encoding": "x/y", "clientId": "ann"}
    assert (await post(server, b"1", params=params)).status_code == 201
    headers = {
        "X-Ably-MessageId": "i2",
        "X-Ably-Name": "other",
        "X-Ably-Encoding": "z",
        **client_id_header("bob é"),
    }
    assert (
        await post(server, b"2", params={**params, "clientId": "bob é"}, **headers)
    ).status_code == 201
    second, first = await server.stored("c")
    names = ("id", "name", "encoding", "clientId", "data")
    assert [first[name] for name in names] == ["i1", "n é", "x/y", "ann", "1"]
    assert [second[name] for name in names] == ["i2", "other", "z", "bob é", "2"]


async def test_an_encoding_that_is_given_wins(server: RestServer) -> None:
    await post(server, b'{"a":1}', JSON, params={"encoding": "json/utf-8"})
    assert (await only_message(server))["encoding"] == "json/utf-8"


async def test_an_encoding_ending_in_base64(server: RestServer) -> None:
    assert (await post(server, b"AP8=", params={"encoding": "base64"})).status_code == 201
    assert (await only_message(server, MSGPACK))["data"] == b"\x00\xff"
    assert error_of(await post(server, b"!", params={"encoding": "base64"})) == (400, 40013)


async def test_ids_make_it_idempotent(server: RestServer) -> None:
    first = await post(server, b"1", params={"messageId": "i"})
    for again in (
        await post(server, b"1", **{"X-Ably-MessageId": "i"}),
        await server.publish("c", {"id": "i", "data": "1"}),
    ):
        assert decode(again) == decode(first)
    assert (await only_message(server))["id"] == "i"
    assert error_of(await post(server, b"x", params={"messageId": "i" * 1_025})) == (400, 40031)


async def test_client_ids(server: RestServer) -> None:
    bound = await server.connect(bearer(server.token(**{"x-ably-clientId": "ann"})))
    assert (await post(server, b"1", client=bound)).status_code == 201
    assert (await only_message(server))["clientId"] == "ann"
    other = await post(server, b"1", client=bound, params={"clientId": "bob"})
    assert error_of(other) == (400, 40012)
    star = await post(server, b"1", params={"clientId": "*"})
    assert error_of(star) == (400, 40012)
    malformed = await post(server, b"1", **{"X-Ably-ClientId": "no base64!"})
    assert malformed.status_code in (400, 401)
    assert len(await server.stored("c")) == 1


async def test_connection_keys(server: RestServer) -> None:
    for given in ({"params": {"connectionKey": "x"}}, {"X-Ably-ConnectionKey": "x"}):
        assert error_of(await post(server, b"1", **given)) == (400, 40006)  # type: ignore[arg-type]


async def test_flags_still_count(server: RestServer) -> None:
    assert (await post(server, b"1", params={"ephemeral": "true"})).status_code == 201
    forced = await post(server, b"2", params={"_forceNack": "True"})
    assert error_of(forced) == (400, 40099)
    assert await server.stored("c") == []


async def test_in_an_envelope_these_headers_say_nothing(server: RestServer) -> None:
    headers = {"X-Ably-Name": "n", "X-Ably-MessageId": "i", "X-Ably-Encoding": "e"}
    for enveloped in ("true", ""):
        reply = await server.client.post(
            messages_path("c"),
            json={"data": "x"},
            headers=headers,
            params={"enveloped": enveloped, "name": "n", "messageId": "i"},
        )
        assert reply.status_code == 201
    for message in await server.stored("c"):
        assert "name" not in message
        assert message["id"] != "i"


async def test_rights(server: RestServer) -> None:
    token = server.token(**{"x-ably-capability": json.dumps({"d": ["*"]})})
    client = await server.connect(bearer(token))
    assert error_of(await post(server, b"1", client=client)) == (401, 40160)
    assert await server.stored("c") == []


async def test_without_an_envelope_is_true_or_false(server: RestServer) -> None:
    for bad in ("no", "2"):
        reply = await post(server, b"x", params={"enveloped": bad})
        assert error_of(reply) == (400, 40003)
