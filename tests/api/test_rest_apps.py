"""`/apps` of a server with `--sandbox`: what SDK test suites do before and after they run."""

import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api import tls
from broker import tenancy
from broker.tenancy import NamespaceRules
from tests.api import command_line
from tests.api.rest_server import (
    JSON,
    TYPES,
    RestServer,
    basic,
    bearer,
    decode,
    encode,
    error_of,
    rest_server,
)

EVERYTHING = '{"*":["*"]}'


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[RestServer]:
    async with rest_server(tmp_path / "data", sandbox=True) as running:
        running.client = await running.connect({})  # nobody has a key of an app to be
        yield running


async def post(
    server: RestServer, spec: Any, kind: str = JSON, headers: dict[str, str] | None = None
) -> httpx.Response:
    content = encode(spec, kind)
    types = {"Content-Type": kind, "Accept": kind}
    return await server.client.post("/apps", content=content, headers={**types, **(headers or {})})


async def made(server: RestServer, spec: Any, kind: str = JSON) -> dict[str, Any]:
    reply = await post(server, spec, kind)
    assert reply.status_code == 201, reply.text
    body: dict[str, Any] = decode(reply)
    return body


async def test_without_sandbox_there_is_no_such_route(server: RestServer) -> None:
    for method, path in (("POST", "/apps"), ("GET", "/apps"), ("DELETE", f"/apps/{server.app}")):
        assert error_of(await server.client.request(method, path, json={})) == (404, 40400)
    assert server.broker.apps.app_exists(server.app)


@pytest.mark.parametrize(("options", "status"), [((), 404), (("--sandbox",), 201)])
def test_it_is_up_to_the_operator(tmp_path: Path, options: tuple[str, ...], status: int) -> None:
    with command_line.serving(tmp_path / "data", *options) as served:
        reply = httpx.post(f"http://{served.host}:{served.port}/apps", json={})
        assert reply.status_code == status
        if status == 201:
            assert (reply.json()["endpoint"], reply.json()["port"]) == (served.host, served.port)


@pytest.mark.parametrize("kind", TYPES)
async def test_the_whole_answer(sandbox: RestServer, kind: str) -> None:
    spec = {
        "keys": [{}, {"capability": '{ "b":["subscribe", "publish"] }', "privileged": True}],
        "namespaces": [{"id": "persisted", "persisted": True}],
        "channels": [{"name": "c"}],
    }
    body = await made(sandbox, spec, kind)
    app, created = body["appId"], body["created"]
    assert abs(created - sandbox.broker.clock()) < 60_000
    keys = body.pop("keys")
    assert body == {
        "appId": app,
        "id": app,
        "accountId": app,
        "status": "enabled",
        "tlsOnly": False,
        "labels": "autodelete",
        "created": created,
        "modified": created,
        "namespaces": [
            {
                "id": "persisted",
                "persisted": True,
                "identified": False,
                "pushEnabled": False,
                "mutableMessages": False,
                "created": created,
                "modified": created,
            }
        ],
        "connections": [],
        "channels": [{"name": "c"}],
        "endpoint": "127.0.0.1",
        "port": sandbox.listening.port,
        "tls": False,
    }
    for key, capability, privileged in zip(
        keys, (EVERYTHING, '{"b":["publish","subscribe"]}'), (False, True), strict=True
    ):
        assert key == {
            "id": key["id"],
            "value": key["value"],
            "keyName": f"{app}.{key['id']}",
            "keySecret": key["value"],
            "keyStr": f"{app}.{key['id']}:{key['value']}",
            "capability": capability,
            "status": 0,
            "privileged": privileged,
            "revocableTokens": False,
            "created": created,
            "modified": created,
            "expires": 0,
        }
        assert sandbox.broker.authenticate(key=key["keyStr"]).app_id == app


@pytest.mark.parametrize("name", ["ably-js", "ably-python"])
async def test_the_apps_of_the_suites(sandbox: RestServer, name: str) -> None:
    spec = SUITES[name]
    body = await made(sandbox, spec)
    assert len(body["keys"]) == len(spec["keys"])
    for key, wanted in zip(body["keys"], spec["keys"], strict=True):
        wanted_capability = json.loads(wanted.get("capability", EVERYTHING))
        got = json.loads(key["capability"])
        assert {r: set(o) for r, o in got.items()} == {
            r: set(o) for r, o in wanted_capability.items()
        }
        assert key["revocableTokens"] == wanted.get("revocableTokens", False)
        stored = sandbox.broker.apps.key(body["appId"], key["id"])
        assert stored is not None
        assert stored.revocable_tokens == key["revocableTokens"]
    assert sandbox.broker.apps.namespaces(body["appId"]) == {
        "persisted": NamespaceRules(persisted=True),
        "pushy": NamespaceRules(push_enabled=True),
        "mutable": NamespaceRules(mutable_messages=True),
    }
    with sandbox.broker.rows() as rows:
        limit = tenancy.presence_members_max(rows, body["appId"])
    assert limit == spec.get("limits", {}).get("presence", {}).get("maxMembers")


# The shapes of both suites' apps (reference 6.1, 6.3), shortened.
_COMMON: dict[str, Any] = {
    "namespaces": [
        {"id": "persisted", "persisted": True},
        {"id": "pushy", "pushEnabled": True},
        {"id": "mutable", "mutableMessages": True, "exposeTimeserial": True},
    ],
}
SUITES: dict[str, dict[str, Any]] = {
    "ably-js": {
        **_COMMON,
        "limits": {"presence": {"maxMembers": 250}},
        "keys": [{}, {"revocableTokens": True}, {"capability": '{ "[*]*":["*"] }'}],
    },
    "ably-python": {
        **_COMMON,
        "keys": [{}, {"privileged": True, "capability": '{"a":["publish"],"b":["*"]}'}],
    },
}


async def test_an_app_of_nothing(sandbox: RestServer) -> None:
    for spec in ({}, {"keys": None, "namespaces": None, "channels": None, "limits": None}):
        body = await made(sandbox, {**spec, "unknown": {"x": 1}})
        assert (body["keys"], body["namespaces"], body["channels"]) == ([], [], [])


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("localhost", ("localhost", 80)),
        ("localhost:8081", ("localhost", 8081)),
        ("Broker.example.test:443", ("broker.example.test", 443)),
        ("[::1]:9000", ("[::1]", 9000)),
    ],
)
async def test_the_address_is_the_one_the_client_used(
    sandbox: RestServer, host: str, address: tuple[str, int]
) -> None:
    body = decode(await post(sandbox, {}, headers={"Host": host}))
    assert (body["endpoint"], body["port"]) == address


@pytest.mark.parametrize("host", ["localhost:port", "localhost:99999", "[::1", "a b", ""])
async def test_a_bad_host_makes_no_app(sandbox: RestServer, host: str) -> None:
    before = sandbox.broker.apps.list()
    assert error_of(await post(sandbox, {}, headers={"Host": host}))[0] == 400
    assert sandbox.broker.apps.list() == before


@pytest.mark.parametrize(
    "spec",
    [
        [],
        "app",
        {"keys": {}},
        {"keys": [1]},
        {"keys": [{"capability": 1}]},
        {"keys": [{"capability": "no JSON"}]},
        {"keys": [{"capability": '{"a":["fly"]}'}]},
        {"keys": [{"revocableTokens": "yes"}]},
        {"keys": [{}] * 1_001},
        {"namespaces": [{}]},
        {"namespaces": [{"id": "a:b"}]},
        {"namespaces": [{"id": ""}]},
        {"namespaces": [{"id": "a", "persisted": 1}]},
        {"channels": [{"presence": []}]},
        {"channels": [{"name": ""}]},
        {"channels": [{"name": "[meta]x"}]},
        {"channels": [{"name": "c"}, {"name": "c"}]},
        {"channels": [{"name": "c", "presence": [{"data": "x"}]}]},
        {"channels": [{"name": "c", "presence": [{"clientId": ""}]}]},
        {"channels": [{"name": "c", "presence": [{"clientId": "*"}]}]},
        {"channels": [{"name": "c", "presence": [{"clientId": "a", "data": 1}]}]},
        {"channels": [{"name": c, "presence": [{"clientId": "a"}] * 501} for c in "cd"]},
        {"limits": {"presence": {"maxMembers": 0}}},
        {"limits": {"presence": {"maxMembers": 1 << 63}}},
        {"limits": {"presence": {"maxMembers": "many"}}},
    ],
)
@pytest.mark.parametrize("kind", TYPES)
async def test_bad_descriptions_make_nothing(sandbox: RestServer, spec: Any, kind: str) -> None:
    position = sandbox.broker.log.position
    whole = {"keys": [{}], "namespaces": [{"id": "n"}]}
    sent = {**whole, **spec} if isinstance(spec, dict) else spec
    reply = await post(sandbox, sent, kind)
    assert error_of(reply)[0] == 400
    assert sandbox.broker.log.position == position


async def test_a_body_that_is_none(sandbox: RestServer) -> None:
    for body in (b"", b"{", b"\xff", b'{"namespaces":[{"id":"\\ud800"}]}'):
        reply = await sandbox.client.post(
            "/apps", content=body, headers={"Content-Type": JSON, "Accept": JSON}
        )
        assert error_of(reply) == (400, 40001)


async def test_over_tls_the_address_says_so(tmp_path: Path) -> None:
    certificate = tls.dev_certificate(tmp_path / "tls")
    context = tls.server_context(certificate.cert_file, certificate.key_file)
    verify = ssl.create_default_context(cafile=certificate.ca_file)
    serving = rest_server(tmp_path / "data", sandbox=True, ssl_context=context, verify=verify)
    async with serving as running:
        body = await made(running, {})
        address = {name: body[name] for name in ("endpoint", "port", "tls")}
        assert address == {"endpoint": "localhost", "port": running.listening.port, "tls": True}
        body = decode(await post(running, {}, headers={"Host": "localhost"}))
        assert body["port"] == 443


async def test_deleting(sandbox: RestServer) -> None:
    body = await made(sandbox, {"keys": [{}, {"capability": '{"a":["subscribe"]}'}]})
    app, (_, key) = body["appId"], body["keys"]
    reply = await sandbox.client.delete(f"/apps/{app}", headers=basic(key["keyStr"]))
    assert (reply.status_code, reply.content) == (204, b"")
    assert "content-type" not in reply.headers
    assert not sandbox.broker.apps.app_exists(app)
    again = await sandbox.client.delete(f"/apps/{app}", headers=basic(key["keyStr"]))
    assert error_of(again) == (401, 40101)


async def test_who_may_not_delete(sandbox: RestServer) -> None:
    body = await made(sandbox, {"keys": [{}]})
    app, key = body["appId"], body["keys"][0]
    stored = sandbox.broker.apps.key(app, key["id"])
    assert stored is not None
    refused = {
        "nobody": ({}, (401, 40101)),
        "a wrong secret": (basic(key["keyName"] + ":wrong"), (401, 40101)),
        "a token": (bearer(sandbox.token(key=stored)), (401, 40101)),
        "another app's key": (basic(sandbox.key.string), (401, 40133)),
    }
    for who, (headers, expected) in refused.items():
        reply = await sandbox.client.delete(f"/apps/{app}", headers=headers)
        assert error_of(reply) == expected, who
    reply = await sandbox.client.delete("/apps/none", headers=basic(key["keyStr"]))
    assert error_of(reply) == (401, 40133)
    assert sandbox.broker.apps.app_exists(app)


async def test_other_methods(sandbox: RestServer) -> None:
    assert error_of(await sandbox.client.get("/apps")) == (405, 40500)
    assert error_of(await sandbox.client.get("/apps/x")) == (405, 40500)


async def test_fixture_members_are_there_for_good(tmp_path: Path) -> None:
    """In their history in the order given, on one connection, also after a restart."""
    fixtures = [
        {"clientId": "text", "data": "true"},
        {"clientId": "json", "data": '{"a":1}', "encoding": "json/utf-8"},
        {"clientId": "secret", "data": "HO4cYSP8Lyb+", "encoding": "json/utf-8/cipher+aes/base64"},
        {"clientId": "silent"},
    ]
    spec = {
        "keys": [{}],
        "channels": [
            {"name": "p:one", "presence": fixtures},
            {"name": "two", "presence": [{"clientId": "x"}]},
        ],
    }
    async with rest_server(tmp_path / "data", sandbox=True) as running:
        body = await made(running, spec)
        connection = await _check_fixtures(running, body, fixtures)
    async with rest_server(tmp_path / "data", sandbox=True) as running:
        assert await _check_fixtures(running, body, fixtures) == connection


async def _check_fixtures(
    server: RestServer, body: dict[str, Any], fixtures: list[dict[str, str]]
) -> str:
    client = await server.connect(basic(body["keys"][0]["keyStr"]))
    present = decode(await client.get("/channels/p%3Aone/presence"))
    entered = decode(
        await client.get("/channels/p%3Aone/presence/history", params={"direction": "forwards"})
    )
    (other,) = decode(await client.get("/channels/two/presence"))
    connection: str = other["connectionId"]
    assert other["id"] == f"{connection}:1:0"
    for index, (item, fixture) in enumerate(zip(entered, fixtures, strict=True)):
        assert item == {
            **fixture,
            "action": 2,
            "id": f"{connection}:0:{index}",
            "connectionId": connection,
            "timestamp": item["timestamp"],
        }
    by_id = sorted(present, key=lambda item: item["id"])
    assert by_id == [{**item, "action": 1} for item in entered]
    return connection
