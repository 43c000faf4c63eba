"""What the transport refuses is said as the API says it whose path, or host, was asked for."""

import json
from typing import Any

import pytest

from tests.api.served import get, serving

MATRIX_HOST = "push.example.org"
LONG = "A: " + "h" * 20_000
GIANT = b"POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 9000000\r\n\r\n"

BEAMS = {"error": str, "description": str}
MATRIX = {"errcode": str, "error": str}
ABLY = {"error": dict}
FORMS = [
    ("/device_api/v1/instances/x/devices/web", "x", BEAMS),
    ("/reporting_api/v2", "x", BEAMS),
    ("/device_api/v11", "x", ABLY),
    ("http://x/device_api/v1/instances", "x", BEAMS),
    ("HTTPS://x:1/pushers", "x", MATRIX),
    ("http://x", "x", ABLY),
    ("/_matrix/client/v3/pushers/set", "x", MATRIX),
    ("/push/v1/channels/pushkey", "x", MATRIX),
    ("/matrix?x=1", "x", MATRIX),
    ("/channels/v1", MATRIX_HOST + ":8080", MATRIX),
    ("/device_api/v1", MATRIX_HOST, BEAMS),
    ("/channels/v1", "x", ABLY),
    ("/push/deviceRegistrations", "x", ABLY),
    ("/echo?/device_api/v1", "x", ABLY),
]


def heads(path: str, host: str) -> dict[int, bytes]:
    """Requests that are refused before any API sees them, by what they are answered."""
    named = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n".encode()
    longer = path + ("&" if "?" in path else "?") + "u" * 9_000
    return {
        400: named + b"Bad Header: y\r\n\r\n",
        413: GIANT % (path.encode(), host.encode()),
        414: f"GET {longer} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode(),
        431: named + LONG.encode() + b"\r\n\r\n",
    }


def shape(body: bytes) -> dict[str, Any]:
    return {name: type(value) for name, value in json.loads(body).items()}


@pytest.mark.parametrize("status", [400, 413, 414, 431])
@pytest.mark.parametrize(("path", "host", "form"), FORMS)
async def test_the_first_request(path: str, host: str, form: Any, status: int) -> None:
    async with serving(matrix_hosts=(MATRIX_HOST,)) as server:
        reply = await server.ask(heads(path, host)[status])
        assert (reply.status, shape(reply.body)) == (status, form)


@pytest.mark.parametrize("status", [413, 414, 431])
@pytest.mark.parametrize(("path", "host", "form"), FORMS)
async def test_a_later_one(path: str, host: str, form: Any, status: int) -> None:
    async with serving(matrix_hosts=(MATRIX_HOST,)) as server:
        client = await server.connect()
        await client.send(get())
        await client.reply()
        await client.send(heads(path, host)[status])
        reply = await client.reply()
        assert (reply.status, shape(reply.body)) == (status, form)


@pytest.mark.parametrize(("path", "host", "form"), FORMS)
async def test_a_body_that_does_not_parse(path: str, host: str, form: Any) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with serving(matrix_hosts=(MATRIX_HOST,), may_log="tidelog.http") as server:
        reply = await server.ask(head.encode() + b"zz\r\n")
        assert (reply.status, shape(reply.body)) == (400, form)


async def test_what_they_say() -> None:
    async with serving() as server:
        path = b"/publish_api/v1"
        assert json.loads((await server.ask(GIANT % (path, b"x"))).body) == {
            "error": "Request Entity Too Large",
            "description": "The request body exceeds 2097152 bytes",
        }
        assert json.loads((await server.ask(GIANT % (b"/pushers/set", b"x"))).body) == {
            "errcode": "M_TOO_LARGE",
            "error": "The request body exceeds 2097152 bytes",
        }
