"""Payloads between JSON and MessagePack clients, by the SDKs' own test vectors (RSL4, RSL6)."""

import base64
import json
from pathlib import Path
from typing import Any

import msgpack
import pytest

from tests.api.rest_server import JSON, MSGPACK, TYPES, RestServer

FIXTURES = Path(__file__).parents[1] / "fixtures"
Payload = tuple[Any, str | None]
TRICKY = "\U0001f600\u2028\0"


def load(name: str) -> Any:
    return json.loads((FIXTURES / name).read_text())


async def round_trip(
    server: RestServer, message: dict[str, Any], write_as: str, read_as: str
) -> Payload:
    """(data, encoding) as a client of one format reads what one of another has published."""
    reply = await server.publish("c", message, write_as)
    assert reply.status_code == 201, reply.text
    (found,) = await server.stored("c", read_as, limit=1)
    return found.get("data"), found.get("encoding")


def decoded(data: Any, encoding: str | None) -> Any:
    """What an SDK makes of a payload (RSL6)."""
    for step in reversed((encoding or "").split("/")):
        if step == "base64":
            data = base64.b64decode(data)
        elif step == "json":
            data = json.loads(data)
        elif step == "utf-8":
            data = data.decode()
    return data


@pytest.mark.parametrize("read_as", TYPES)
async def test_messages_encoding(server: RestServer, read_as: str) -> None:
    for case in load("messages-encoding.json")["messages"]:
        sent = {"data": case["data"], "encoding": case["encoding"]}
        data, encoding = await round_trip(server, sent, JSON, read_as)
        if case["expectedType"] == "binary":
            assert decoded(data, encoding).hex() == case["expectedHexValue"]
            assert isinstance(data, bytes) == (read_as == MSGPACK)
        else:
            assert decoded(data, encoding) == case["expectedValue"]
        if read_as == JSON:
            assert (data, encoding) == (case["data"], case["encoding"])


async def test_msgpack_fixtures(server: RestServer) -> None:
    cases = load("msgpack_test_fixtures.json")
    assert cases
    for case in cases:
        (message,) = msgpack.unpackb(base64.b64decode(case["msgpack"]))["messages"]
        sent = (message["data"], message.get("encoding"))
        as_binary = await round_trip(server, message, MSGPACK, MSGPACK)
        as_text = await round_trip(server, message, MSGPACK, JSON)
        if sent[1] != "base64":  # which MessagePack clients are spared (reference 1.7.3)
            assert as_binary == sent
        repeated = case["data"] * case["numRepeat"] if case["numRepeat"] else case["data"]
        expected = repeated.encode() if case["type"] == "binary" else repeated
        assert decoded(*as_binary) == decoded(*as_text) == expected
        text_message = {"data": as_text[0], "encoding": as_text[1]}
        assert await round_trip(server, text_message, JSON, MSGPACK) == as_binary


async def test_encrypted_payloads(server: RestServer) -> None:
    """Both forms of a message are the same message, whichever of them was published."""
    for item in load("crypto-data-128.json")["items"]:
        text = item["encrypted"]
        binary = msgpack.unpackb(base64.b64decode(item["msgpack"]))
        expected = {JSON: text, MSGPACK: binary}
        for write_as, message in expected.items():
            for read_as, wanted in expected.items():
                found = await round_trip(server, message, write_as, read_as)
                assert found == (wanted["data"], wanted.get("encoding"))


@pytest.mark.parametrize(
    ("sent", "write_as", "as_json", "as_msgpack"),
    [
        ({"data": b"\0\xff"}, MSGPACK, ("AP8=", "base64"), (b"\0\xff", None)),
        ({"data": "AP8=", "encoding": "base64"}, JSON, ("AP8=", "base64"), (b"\0\xff", None)),
        ({"data": b"", "encoding": "foo"}, MSGPACK, ("", "foo/base64"), (b"", "foo")),
        ({"data": "AP8", "encoding": "base64"}, JSON, ("AP8", "base64"), (b"\0\xff", None)),
        ({"data": {"a": [1]}}, JSON, ('{"a":[1]}', "json"), ('{"a":[1]}', "json")),
        ({"data": {"a": "é"}}, MSGPACK, ('{"a":"é"}', "json"), ('{"a":"é"}', "json")),
        ({"data": "{", "encoding": "json"}, JSON, ("{", "json"), ("{", "json")),
        ({"data": "x", "encoding": "foo/bar"}, JSON, ("x", "foo/bar"), ("x", "foo/bar")),
        ({"data": "x", "encoding": ""}, JSON, ("x", None), ("x", None)),
        ({"data": TRICKY}, MSGPACK, (TRICKY, None), (TRICKY, None)),
        ({"encoding": "json"}, JSON, (None, None), (None, None)),
    ],
)
async def test_payloads(
    server: RestServer,
    sent: dict[str, Any],
    write_as: str,
    as_json: Payload,
    as_msgpack: Payload,
) -> None:
    assert await round_trip(server, sent, write_as, JSON) == as_json
    assert await round_trip(server, sent, write_as, MSGPACK) == as_msgpack
