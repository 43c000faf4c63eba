"""`/openapi.json` has everything that there is, and replies are what it says, strictly."""

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from quart_trio import QuartTrio

from api import openapi, parameters
from api.app import create_app
from api.control import Control
from api.parameters import Params
from api.push.settings import PushSettings
from api.push.transports import build_transports
from api.rest import bodies, resources
from api.settings import ServerSettings
from storage.errors import LogFailed
from tests.api.any_format import ALL_TYPES, value_of
from tests.api.declared import check_answer, endpoints, is_exactly
from tests.api.push_bodies import DEVICES, SUBSCRIPTIONS, new_device
from tests.api.rest_content import MESSAGE, RESOURCES, fill, fill_message, fill_push
from tests.api.rest_server import RestServer, basic, decode, error_of, messages_path, rest_server
from tests.api.test_rest_tokens import signed

NOTICES = [{"recipient": [{"deviceId": "dev"}, {"clientId": "ann"}], "payload": {"data": {}}}]
# By operation: what is asked for besides the resources of rest_content, and the body.
POSTED: dict[str, list[tuple[str, Any]]] = {
    "publishMessagesToChannel": [
        (messages_path("p"), {"data": "x"}),
        (messages_path("p"), [{"id": "a:0"}, {"id": "a:1"}]),
    ],
    "publishBatch": [
        ("/messages", {"channels": ["p", "q"], "messages": {}}),
        ("/messages?v=3", [{"channels": ["p", "[x"], "messages": [{}, {}]}]),
    ],
    "requestAccessToken": [
        ("/keys/{key}/requestToken", {}),
        ("/keys/{key}/requestToken", "signed"),
    ],
    "revokeTokens": [
        ("/keys/{key}/revokeTokens", {"targets": ["clientId:x", "channel:y"]}),
        ("/keys/{key}/revokeTokens?v=3", {"targets": ["clientId:x", "nonsense", 7]}),
    ],
    "changeMessage": [(MESSAGE, {"action": 1, "data": "x"}), (MESSAGE, {"action": 2})],
    "annotateMessage": [
        (f"{MESSAGE}/annotations", [{"action": 0, "type": "t:total.v1"}]),
        (f"{MESSAGE}/annotations", [{"action": 0, "type": "t"}, {"action": 1, "type": "t"}]),
    ],
    "addStats": [("/stats", [{"intervalId": "2023-02-03:15:03", "channels": {"peak": 1}}])],
    "registerPushDevice": [(DEVICES, new_device()), (DEVICES, new_device(deviceSecret="s"))],
    "putPushDeviceDetails": [(f"{DEVICES}/dev", new_device(metadata={"a": [1]}))],
    "patchPushDeviceDetails": [(f"{DEVICES}/dev", {"clientId": None, "metadata": {}})],
    "updatePushDeviceDetails": [(f"{DEVICES}/dev/resetUpdateToken", None)],
    "resetUpdateToken": [(f"{DEVICES}/dev/resetUpdateToken", {})],
    "subscribePushDeviceToChannel": [
        (SUBSCRIPTIONS, {"channel": "push:c", "deviceId": "dev"}),
        (SUBSCRIPTIONS, {"channel": "push:c", "clientId": "ann"}),
    ],
    "publishPushBatch": [("/push/batch/publish", NOTICES)],
    "publishPushBatchToo": [("/push/admin/batch/publish", NOTICES)],
    "createApp": [("/apps", {"keys": [{}], "namespaces": [{"id": "n"}]})],
}
REFUSE = {"refuseComet", "refuseCometRequest", "refuseToRequestAccessToken"}
TEXTS = {"getDocs": "/docs", "getConnectivity": "/is-the-internet-up.txt"}
TEXTS |= {"getPublicVapidKey": "/push/publicVapidKey"}
NOTHING = {
    "deleteApp",
    "publishPushNotificationToDevices",
    "unregisterPushDevice",
    "unregisterAllPushDevices",
    "deletePushDeviceDetails",
}
BODILESS = {"resetUpdateToken"}


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[RestServer]:
    async with (
        build_transports(PushSettings(), tmp_path) as transports,
        rest_server(tmp_path / "data", sandbox=True, transports=transports) as running,
    ):
        yield running


async def document_of(server: RestServer) -> dict[str, Any]:
    reply = await server.client.get("/openapi.json")
    assert reply.status_code == 200
    found: dict[str, Any] = decode(reply)
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, described in methods.items():
            yield path, method.upper(), described


def application(server: RestServer, *, is_sandbox: bool = True) -> QuartTrio:
    return create_app(server.broker, ServerSettings(), sandbox=is_sandbox)


async def test_every_route_is_in_it(sandbox: RestServer) -> None:
    found = {(path, method) for path, method, _ in operations(await document_of(sandbox))}
    routes = set()
    for rule in application(sandbox).url_map.iter_rules():
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        routes |= {(path, method) for method in rule.methods or ()}
    assert {(path, method) for path, method in routes if method not in ("HEAD", "OPTIONS")} == found
    assert len(found) == len(endpoints())


async def test_only_what_there_is_is_in_it(server: RestServer) -> None:
    assert not any(path.startswith("/apps") for path in (await document_of(server))["paths"])


async def test_it_is_valid(sandbox: RestServer) -> None:
    document = await document_of(sandbox)
    OpenAPIV31SpecValidator(document).validate()
    for _, _, described in operations(document):
        names = [(one.get("in"), one.get("name") or one["$ref"]) for one in described["parameters"]]
        assert len(names) == len(set(names))
    ids = [described["operationId"] for _, _, described in operations(document)]
    assert len(ids) == len(set(ids))


async def test_every_reference_leads_somewhere_and_every_type_is_used(sandbox: RestServer) -> None:
    document = await document_of(sandbox)
    references = set(
        re.findall(r'"\$ref":"#/components/(\w+/[\w-]+)"', msgspec.json.encode(document).decode())
    )
    components = {
        f"{section}/{name}"
        for section in ("schemas", "parameters")
        for name in document["components"][section]
    }
    assert references == components


async def test_a_route_that_does_not_say_what_it_is_is_found_out(server: RestServer) -> None:
    app = application(server)

    @app.get("/unsaid")
    async def unsaid() -> str:
        return ""

    with pytest.raises(LookupError, match="/unsaid"):
        list(openapi.endpoints(app))


class Asked(NamedTuple):
    """A request that is answered with success."""

    id: str
    path: str
    body: Any = None

    async def reply(self, client: httpx.AsyncClient, headers: dict[str, str]) -> httpx.Response:
        if self.body is None:
            reply = await client.get(self.path, headers=headers)
        else:
            method = endpoints()[self.id].method
            reply = await client.request(method, self.path, json=self.body, headers=headers)
        assert reply.status_code == endpoints()[self.id].operation.status, reply.text
        return reply


async def requests(server: RestServer) -> tuple[httpx.AsyncClient, list[Asked]]:
    """Of every route that has any, and who may make them."""
    await fill(server)
    server.key = await server.broker.apps.create_key(server.app, revocable_tokens=True)
    asked = [Asked(name.partition(" ")[0], path) for name, path in RESOURCES.items()]
    for name, posted in POSTED.items():
        for path, body in posted:
            given = signed(server) if body == "signed" else body
            asked.append(Asked(name, path.format(key=server.key.name), given))
    return await server.connect(basic(server.key.string)), asked


async def test_every_parameter_that_is_read_is_in_it(
    sandbox: RestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parameters are read as types: those that are while a route answers."""
    client, asked = await requests(sandbox)
    document = await document_of(sandbox)
    by_id = {described["operationId"]: described for _, _, described in operations(document)}
    read: set[type[Params]] = set()
    original = parameters.read

    def recorded(kind: type[Params], args: Any) -> Any:
        read.add(kind)
        return original(kind, args)

    monkeypatch.setattr(parameters, "read", recorded)
    for one in asked:
        read.clear()
        await one.reply(client, {})
        kinds = {kind for kind in (endpoints()[one.id].operation.params, Control) if kind}
        assert read == kinds, one.id
        assert documented(by_id[one.id]) >= {
            field.encode_name for kind in read for field in msgspec.structs.fields(kind)
        }


def documented(described: dict[str, Any]) -> set[str]:
    """The names of an operation's query parameters, and of those that any has."""
    own = {one["name"] for one in described["parameters"] if one.get("in") == "query"}
    return own | {
        one["$ref"].rpartition("/")[2] for one in described["parameters"] if "$ref" in one
    }


@pytest.mark.parametrize("name", ["json", "msgpack"])
async def test_replies_are_what_is_declared(sandbox: RestServer, name: str) -> None:
    """Strictly, unless they were asked to be less or of another shape."""
    client, asked = await requests(sandbox)
    for one in asked:
        described = endpoints()[one.id].operation
        reply = await one.reply(client, {"Accept": ALL_TYPES[name]})
        assert reply.headers["content-type"] == ALL_TYPES[name]
        assert ("link" in reply.headers) == described.is_paged
        check_answer(described, value_of(reply))
    seen = {one.id for one in asked}
    assert seen == endpoints().keys() - REFUSE - TEXTS.keys() - NOTHING


async def test_refusals_are_what_is_declared(sandbox: RestServer) -> None:
    nobody = await sandbox.connect({})
    for name, endpoint in endpoints().items():
        path = endpoint.path.format(
            channel_id="[x",
            serial="x",
            key_name=sandbox.key.name,
            app_id="a",
            rest="r",
            device_id="d",
        )
        for reply in (
            await nobody.request(endpoint.method, path),
            await nobody.request(endpoint.method, path, params={"callback": "1"}),
        ):
            if reply.is_success:
                assert endpoint.operation.is_public
                continue
            error_of(reply)
            assert is_exactly(value_of(reply), resources.Failure), name
    batch = await sandbox.client.post("/messages", json={"channels": "[x", "messages": {}})
    assert batch.status_code == 400
    assert is_exactly(value_of(batch), resources.Failure)


async def test_what_is_public_and_what_is_not(sandbox: RestServer) -> None:
    nobody = await sandbox.connect({})
    for name, endpoint in endpoints().items():
        path = endpoint.path.format(
            channel_id="c",
            serial="x",
            key_name=sandbox.key.name,
            app_id=sandbox.app,
            rest="r",
            device_id="d",
        )
        body = {"targets": ["clientId:x"]} if name == "revokeTokens" else {}
        content = None if endpoint.method in ("GET", "DELETE") else msgspec.json.encode(body)
        reply = await nobody.request(endpoint.method, path, content=content)
        assert (reply.status_code == 401) != endpoint.operation.is_public, name


async def test_refusing_is_all_that_some_do(sandbox: RestServer) -> None:
    for name in REFUSE:
        endpoint = endpoints()[name]
        path = endpoint.path.format(rest="r", key_name=sandbox.key.name)
        reply = await sandbox.client.request(endpoint.method, path)
        assert reply.status_code == endpoint.operation.status
        assert is_exactly(value_of(reply), resources.Failure)


async def test_an_envelope_is_what_is_declared(sandbox: RestServer) -> None:
    await fill_message(sandbox)
    await fill_push(sandbox)
    for path in (*RESOURCES.values(), "/nothing"):
        reply = await sandbox.client.get(httpx.URL(path).copy_merge_params({"envelope": "json"}))
        assert is_exactly(value_of(reply), resources.Envelope), path
    deleted = await sandbox.client.delete(f"/apps/{sandbox.app}?envelope=json")
    assert is_exactly(value_of(deleted), resources.Envelope)


async def test_a_server_that_cannot_write_says_so_as_declared(sandbox: RestServer) -> None:
    ready = endpoints()["getReadiness"].operation
    document = await document_of(sandbox)
    sandbox.broker.log.writer.failed = LogFailed("no disk")
    try:
        reply = await sandbox.client.get("/ready")
    finally:
        sandbox.broker.log.writer.failed = None
    assert reply.status_code == 503
    ((status, kind),) = ready.others
    assert status == reply.status_code
    assert is_exactly(value_of(reply), kind)
    content = document["paths"]["/ready"]["get"]["responses"]["503"]["content"]
    assert content["application/json"]["schema"] == {"$ref": "#/components/schemas/Health"}


async def test_texts_are_of_the_type_that_is_declared(sandbox: RestServer) -> None:
    document = await document_of(sandbox)
    for name, path in TEXTS.items():
        reply = await sandbox.client.get(path)
        (kind,) = document["paths"][path]["get"]["responses"]["200"]["content"]
        assert reply.headers["content-type"] == kind == endpoints()[name].operation.text_type


async def test_parameters_have_no_null_and_say_what_they_are(sandbox: RestServer) -> None:
    document = await document_of(sandbox)
    told = [one for _, _, described in operations(document) for one in described["parameters"]]
    for one in [*told, *document["components"]["parameters"].values()]:
        if one.get("in") == "query":
            assert "null" not in str(one["schema"])
            assert {"type", "anyOf", "enum"} & set(one["schema"])
            assert one.get("description") or one["name"] in ("start", "direction", "separator")


async def test_bodies_may_be_forms_and_some_are_raw(sandbox: RestServer) -> None:
    document = await document_of(sandbox)
    for _, method, described in operations(document):
        content = described.get("requestBody", {}).get("content", {})
        has_body = method in ("POST", "PUT", "PATCH") and (
            described["operationId"] not in REFUSE | BODILESS
        )
        assert bool(content) == has_body
        if has_body:
            raw = {"text/plain", "application/octet-stream"}
            is_publish = described["operationId"] == "publishMessagesToChannel"
            assert set(content) == set(openapi.BODY_TYPES) | (raw if is_publish else set())


def test_what_is_documented_to_be_sent_can_be_sent() -> None:
    """Types of bodies have examples that validate, and hold what the reader of bodies knows."""
    message = bodies.PublishedMessage(data={"a": 1}, extras=bodies.Extras(ephemeral=True))
    assert msgspec.to_builtins(message) == {"data": {"a": 1}, "extras": {"ephemeral": True}}
    names = {field.encode_name for field in msgspec.structs.fields(bodies.PublishedMessage)}
    assert names == {"id", "name", "data", "encoding", "clientId", "connectionKey", "extras"}
