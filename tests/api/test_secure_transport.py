"""`require_tls`: credentials over plain HTTP are refused, wherever they are; over TLS they work."""

import ssl
from pathlib import Path

import httpx
import pytest

from api import tls
from api.realtime.protocol import Action
from tests.api.realtime_server import realtime_server
from tests.api.rest_server import RestServer, basic, bearer, error_of, rest_server

REFUSED = (401, 40103)
PATH = "/channels/c/messages"


async def each_way(server: RestServer, headers: dict[str, str]) -> list[httpx.Response]:
    key, token = server.key.string, server.token()
    client = await server.connect(headers)
    return [
        await client.get(PATH, headers=basic(key)),
        await client.get(PATH, headers=bearer(token)),
        await client.get(PATH, params={"key": key}),
        await client.get(PATH, params={"access_token": token}),
        await client.get(PATH, params={"accessToken": token}),
        await client.post(f"/keys/{server.key.name}/requestToken", json={}, headers=basic(key)),
    ]


async def test_over_plain_http(tmp_path: Path) -> None:
    async with rest_server(tmp_path / "data", require_tls=True) as server:
        for reply in await each_way(server, {}):
            assert error_of(reply) == REFUSED
        signed = await (await server.connect({})).post(
            f"/keys/{server.key.name}/requestToken", json={"mac": "x"}
        )
        assert error_of(signed) == REFUSED
        client = await server.connect({})
        assert (await client.get("/time")).status_code == 200
        assert error_of(await client.get(PATH)) == (401, 40101)


async def test_over_tls(tmp_path: Path) -> None:
    certificate = tls.dev_certificate(tmp_path / "tls")
    context = tls.server_context(certificate.cert_file, certificate.key_file)
    verify = ssl.create_default_context(cafile=certificate.ca_file)
    serving = rest_server(tmp_path / "data", require_tls=True, ssl_context=context, verify=verify)
    async with serving as server:
        for reply in await each_way(server, {}):
            assert reply.is_success, reply.text


@pytest.mark.parametrize("proto", ["https", "HTTPS", "http", ""])
@pytest.mark.parametrize("trusted", [("127.0.0.0/8",), ()])
async def test_only_a_trusted_proxy_may_say_that_it_was_reached_over_tls(
    tmp_path: Path, proto: str, trusted: tuple[str, ...]
) -> None:
    serving = rest_server(tmp_path / "data", require_tls=True, trusted_proxies=trusted)
    async with serving as server:
        for reply in await each_way(server, {"X-Forwarded-Proto": proto}):
            if trusted and proto.lower() == "https":
                assert reply.is_success, reply.text
            else:
                assert error_of(reply) == REFUSED


@pytest.mark.parametrize("required", [True, False])
async def test_realtime_over_plain_http(tmp_path: Path, required: bool) -> None:
    async with realtime_server(tmp_path / "data", require_tls=required) as server:
        client = await server.open(key=server.key)
        if required:
            await client.hears_error(Action.ERROR, 40103, 401)
        else:
            await client.hears(Action.CONNECTED)
