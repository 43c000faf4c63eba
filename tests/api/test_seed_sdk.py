"""Each call of the SDK that was generated from Ably's REST specification, as its README shows it.

The README's values are placeholders. Those that any server would take are sent as they are; where
one has to mean something here (a time, a key, a channel that push may be used on), it does.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
import pytest

from broker.auth.token_requests import sign
from broker.channels.presence import PresenceAction
from broker.stats.intervals import parse_id
from broker.tenancy import NamespaceRules
from tests.api.declared import check_answer, endpoints
from tests.api.members import change
from tests.api.rest_server import JSON, RestServer, basic, error_of
from tests.api.test_rest_channels import status_of
from tests.api.test_rest_stats import SCHEMA

PUSH = True
"""Whether there are push endpoints."""

SEEDS = json.loads((Path(__file__).parents[1] / "fixtures" / "seeds.json").read_text())
EXAMPLE = "string_example"
CHANNEL = "channel_id_example"
DEVICE_ID = "device_id_example"
PUSH_CHANNEL = "push:string_example"
CAPABILITY = {"channel1": ["publish", "subscribe"]}  # the specification's own example
NONCE = "string_example__"  # of at least 16 characters
# The README's own, which says no version; those that the specification names.
VERSIONS = (EXAMPLE, "1.1", "1.2")
EXCLUSIVE = frozenset({"clientId", "deviceId"})
"""Of which the README says that only one may be given, and gives both."""


class Call(NamedTuple):
    """What the example of a call sends, by the names on the wire. `names`: of what varies in the
    path; KEY in them is the key's own name."""

    method: str
    path: str
    names: dict[str, str] = {}  # noqa: RUF012
    query: dict[str, str] = {}  # noqa: RUF012
    body: Any = None


DEVICE = {
    "clientId": EXAMPLE,
    "deviceSecret": EXAMPLE,
    "formFactor": "phone",
    "id": DEVICE_ID,
    "metadata": {},
    "platform": "ios",
    "push.recipient": {"transportType": "apns", "deviceToken": EXAMPLE},
    "push.state": "Active",
}
ONE_CHANNEL = {"channel_id": CHANNEL}
ONE_DEVICE = {"device_id": DEVICE_ID}
HISTORY = {"start": "0", "limit": "100", "end": "now", "direction": "backwards"}

CALLS = {
    "authentication.request_access_token": Call(
        "POST",
        "/keys/{keyName}/requestToken",
        {"keyName": "KEY"},
        body={
            "capability": CAPABILITY,
            "clientId": EXAMPLE,
            "keyName": "KEY",
            "nonce": NONCE,
            "timestamp": 1,  # that of the request: see `token_request`
            "mac": EXAMPLE,  # likewise
        },
    ),
    "history.get_messages_by_channel": Call(
        "GET", "/channels/{channel_id}/messages", ONE_CHANNEL, HISTORY
    ),
    "history.get_presence_history_of_channel": Call(
        "GET", "/channels/{channel_id}/presence/history", ONE_CHANNEL, HISTORY
    ),
    "publishing.publish_messages_to_channel": Call(
        "POST",
        "/channels/{channel_id}/messages",
        ONE_CHANNEL,
        body={
            "clientId": EXAMPLE,
            "connectionId": EXAMPLE,
            "data": EXAMPLE,
            "encoding": EXAMPLE,
            "extras": {},
            "id": EXAMPLE,
            "name": EXAMPLE,
            "timestamp": 1,
        },
    ),
    "stats.get_stats": Call(
        "GET",
        "/stats",
        query={
            "start": "2023-02-03:15:03",
            "limit": "100",
            "end": "now",
            "direction": "backwards",
            "unit": "minute",
        },
    ),
    "stats.get_time": Call("GET", "/time"),
    "status.get_metadata_of_all_channels": Call(
        "GET", "/channels", query={"limit": "100", "prefix": EXAMPLE, "by": "value"}
    ),
    "status.get_metadata_of_channel": Call("GET", "/channels/{channel_id}", ONE_CHANNEL),
    "status.get_presence_of_channel": Call(
        "GET",
        "/channels/{channel_id}/presence",
        ONE_CHANNEL,
        {"clientId": EXAMPLE, "connectionId": EXAMPLE, "limit": "100"},
    ),
}
# In an order in which each finds what it is about.
PUSH_CALLS = {
    "push.register_push_device": Call("POST", "/push/deviceRegistrations", body=DEVICE),
    "push.put_push_device_details": Call(
        "PUT", "/push/deviceRegistrations/{device_id}", ONE_DEVICE, body=DEVICE
    ),
    "push.patch_push_device_details": Call(
        "PATCH", "/push/deviceRegistrations/{device_id}", ONE_DEVICE, body=DEVICE
    ),
    "push.get_push_device_details": Call(
        "GET", "/push/deviceRegistrations/{device_id}", ONE_DEVICE
    ),
    "push.get_registered_push_devices": Call(
        "GET",
        "/push/deviceRegistrations",
        query={"deviceId": DEVICE_ID, "clientId": EXAMPLE, "limit": "100"},
    ),
    "push.subscribe_push_device_to_channel": Call(
        "POST",
        "/push/channelSubscriptions",
        body={"channel": PUSH_CHANNEL, "deviceId": DEVICE_ID},
    ),
    "push.get_push_subscriptions_on_channels": Call(
        "GET",
        "/push/channelSubscriptions",
        query={"channel": PUSH_CHANNEL, "deviceId": DEVICE_ID, "limit": "100"},
    ),
    "push.get_channels_with_push_subscribers": Call("GET", "/push/channels"),
    "push.publish_push_notification_to_devices": Call(
        "POST", "/push/publish", body={"recipient": {"deviceId": DEVICE_ID}, "push": {}}
    ),
    "push.update_push_device_details": Call(
        "GET", "/push/deviceRegistrations/{device_id}/resetUpdateToken", ONE_DEVICE
    ),
    "push.delete_push_device_details": Call(
        "DELETE",
        "/push/channelSubscriptions",
        query={"channel": PUSH_CHANNEL, "deviceId": DEVICE_ID},
    ),
    "push.unregister_push_device": Call(
        "DELETE", "/push/deviceRegistrations/{device_id}", ONE_DEVICE
    ),
    "push.unregister_all_push_devices": Call(
        "DELETE", "/push/deviceRegistrations", query={"clientId": EXAMPLE}
    ),
}


class Sdk:
    """A client that sends what the generated one does."""

    def __init__(self, server: RestServer, client: httpx.AsyncClient, version: str) -> None:
        self.server = server
        self._client = client
        self._version = version

    async def send(self, name: str, body: Any = None) -> httpx.Response:
        """`body`: what is sent instead of the example's."""
        call = (CALLS | PUSH_CALLS)[name]
        key = self.server.key.name
        named = {one: text.replace("KEY", key) for one, text in call.names.items()}
        segments = {one: quote(text, safe="") for one, text in named.items()}
        return await self._client.request(
            call.method,
            call.path.format(**segments),
            params={**call.query, "format": "json"},
            json=call.body if body is None else body,
            headers={"X-Ably-Version": self._version},
        )

    async def answer(self, name: str, body: Any = None) -> Any:
        """That of a call that succeeds, which is strictly what its route declares."""
        reply = await self.send(name, body)
        described = declared(name)
        assert reply.status_code == described.status, reply.text
        assert reply.headers["content-type"] == JSON
        check_answer(described, reply.json())
        return reply.json()


def declared(name: str) -> Any:
    """The operation behind a call, by its method and its path."""
    call = CALLS[name]
    path = call.path.replace("keyName", "key_name")
    (found,) = (
        endpoint.operation
        for endpoint in endpoints().values()
        if (endpoint.method, endpoint.path) == (call.method, path)
    )
    return found


def by_password(server: RestServer) -> dict[str, str]:
    """`username` and `password`: a key, split at its first colon."""
    return basic(f"{server.key.name}:{server.key.secret}")


def by_access_token(server: RestServer) -> dict[str, str]:
    """Of a client that may say which one it is, as the example of a publish does."""
    token = server.token(**{"x-ably-clientId": "*"})
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture(params=[by_password, by_access_token], ids=["password", "access_token"])
def credentials(request: pytest.FixtureRequest) -> Callable[[RestServer], dict[str, str]]:
    chosen: Callable[[RestServer], dict[str, str]] = request.param
    return chosen


@pytest.fixture(params=VERSIONS)
async def sdk(
    request: pytest.FixtureRequest,
    server: RestServer,
    credentials: Callable[[RestServer], dict[str, str]],
) -> Sdk:
    return Sdk(server, await server.connect(credentials(server)), request.param)


def test_the_calls_are_those_of_the_readme() -> None:
    described = {call["call"]: call for call in SEEDS["calls"]}
    assert described.keys() == CALLS.keys() | PUSH_CALLS.keys()
    assert not CALLS.keys() & PUSH_CALLS.keys()


@pytest.mark.parametrize("described", SEEDS["calls"], ids=lambda described: described["call"])
def test_what_is_sent_is_what_the_readme_says(described: dict[str, Any]) -> None:
    call = (CALLS | PUSH_CALLS)[described["call"]]
    assert (call.method, call.path) == (described["method"], described["path"])
    assert call.names.keys() == set(described["in_path"])
    sent, told = {*call.query, "format"}, set(described["in_query"])
    assert sent <= told
    assert told - sent <= EXCLUSIVE
    fields = fields_of(described["in_body"])
    assert fields >= set(call.body or ())
    assert fields - set(call.body or ()) <= EXCLUSIVE


def fields_of(body: str | list[str] | None) -> set[str]:
    """Of a schema, or as they are."""
    if body == "SignedTokenRequest":
        return {*SEEDS["schemas"]["TokenRequest"], *SEEDS["schemas"]["SignedTokenRequest"]}
    return set(SEEDS["schemas"][body] if isinstance(body, str) else body or ())


def token_request(server: RestServer) -> dict[str, Any]:
    """The example's, made now and signed: of what is an object, its canonical JSON."""
    name = "authentication.request_access_token"
    body = {**CALLS[name].body, "keyName": server.key.name, "timestamp": server.broker.now()}
    capability = json.dumps(body["capability"], separators=(",", ":"))
    lines = (body["keyName"], "", capability, body["clientId"], body["timestamp"], body["nonce"])
    text = "".join(f"{line}\n" for line in lines)
    return {**body, "mac": sign(text, server.key.secret)}


async def test_request_access_token(sdk: Sdk) -> None:
    server = sdk.server
    (before,) = await sdk.answer("stats.get_time")
    body = token_request(server)
    told = await sdk.answer("authentication.request_access_token", body)
    (after,) = await sdk.answer("stats.get_time")
    assert told.keys() == {*SEEDS["schemas"]["TokenDetails"], "clientId"}
    assert told["keyName"] == server.key.name
    assert told["capability"] == '{"channel1":["publish","subscribe"]}'
    assert told["clientId"] == EXAMPLE
    assert before <= told["issued"] <= after
    assert told["expires"] == told["issued"] + 3_600_000
    bearer = await server.connect({"Authorization": f"Bearer {told['token']}"})
    assert (await bearer.post("/channels/channel1/messages", json={})).status_code == 201
    assert error_of(await bearer.get("/channels/channel1/messages")) == (401, 40160)
    again = await sdk.send("authentication.request_access_token", body)
    assert error_of(again) == (401, 40105)


async def test_a_signed_token_request_needs_no_authentication(server: RestServer) -> None:
    """As the README says; the example itself is signed by nobody."""
    nobody = Sdk(server, await server.connect({}), EXAMPLE)
    await nobody.answer("authentication.request_access_token", token_request(server))
    unsigned = {**token_request(server), "mac": EXAMPLE}
    reply = await nobody.send("authentication.request_access_token", unsigned)
    assert error_of(reply) == (401, 40101)


async def test_publish_messages_to_channel(sdk: Sdk) -> None:
    told = await sdk.answer("publishing.publish_messages_to_channel")
    (message,) = await sdk.server.stored(CHANNEL)
    assert told == {"channel": CHANNEL, "messageId": EXAMPLE, "serials": [message["serial"]]}
    sent = CALLS["publishing.publish_messages_to_channel"].body
    kept = ("clientId", "data", "encoding", "extras", "id", "name")
    assert {name: message[name] for name in kept} == {name: sent[name] for name in kept}
    assert "connectionId" not in message
    assert message["timestamp"] > sent["timestamp"]
    assert await sdk.answer("publishing.publish_messages_to_channel") == told
    assert len(await sdk.server.stored(CHANNEL)) == 1


async def test_get_messages_by_channel(sdk: Sdk) -> None:
    published = await sdk.answer("publishing.publish_messages_to_channel")
    (serial,) = published["serials"]
    (message,) = await sdk.answer("history.get_messages_by_channel")
    assert message == {
        "id": EXAMPLE,
        "name": EXAMPLE,
        "data": EXAMPLE,
        "encoding": EXAMPLE,
        "clientId": EXAMPLE,
        "extras": {},
        "timestamp": message["timestamp"],
        "serial": serial,
        "action": 0,
        "version": {"serial": serial, "timestamp": message["timestamp"]},
    }


async def test_get_presence_history_of_channel(sdk: Sdk) -> None:
    for action in (PresenceAction.ENTER, PresenceAction.LEAVE):
        fields = {"data": EXAMPLE, "encoding": EXAMPLE, "extras": {"headers": {"a": 1}}}
        await change(sdk.server, action, EXAMPLE, channel=CHANNEL, **fields)
    told = await sdk.answer("history.get_presence_history_of_channel")
    assert [item["action"] for item in told] == [3, 2]
    for item in told:
        assert item.keys() == set(SEEDS["schemas"]["PresenceMessage"])
        assert item["clientId"] == item["data"] == item["encoding"] == EXAMPLE


async def test_get_stats(sdk: Sdk) -> None:
    minute = "2023-02-03:15:03"
    counters = {"messages.inbound.realtime.messages.count": 5, "channels.peak": 2}
    await sdk.server.broker.add_stats(sdk.server.app, [(parse_id(minute)[0], counters)])
    told = await sdk.answer("stats.get_stats")
    *_, oldest = told
    five = {"messages": {"count": 5}, "all": {"count": 5}}
    assert oldest == {
        "intervalId": minute,
        "unit": "minute",
        "entries": {
            "messages.inbound.realtime.messages.count": 5,
            "messages.inbound.realtime.all.count": 5,
            "messages.inbound.all.messages.count": 5,
            "messages.inbound.all.all.count": 5,
            "messages.all.messages.count": 5,
            "messages.all.all.count": 5,
            "channels.peak": 2,
        },
        "schema": SCHEMA,
        "appId": sdk.server.app,
        "all": five,
        "inbound": {"realtime": five, "all": five},
        "channels": {"peak": 2},
    }


async def test_get_time(sdk: Sdk) -> None:
    (now,) = await sdk.answer("stats.get_time")
    assert type(now) is int
    assert abs(now - sdk.server.broker.clock()) < 60_000


async def test_get_metadata_of_all_channels(sdk: Sdk) -> None:
    for channel in (EXAMPLE, f"{EXAMPLE}:two", "another"):
        assert (await sdk.server.publish(channel, {})).status_code == 201
    told = await sdk.answer("status.get_metadata_of_all_channels")
    assert told == [status_of(EXAMPLE), status_of(f"{EXAMPLE}:two")]


async def test_get_metadata_of_channel(sdk: Sdk) -> None:
    await change(sdk.server, PresenceAction.ENTER, "ann", channel=CHANNEL)
    told = await sdk.answer("status.get_metadata_of_channel")
    assert told == status_of(CHANNEL, presenceMembers=1)


async def test_get_presence_of_channel(sdk: Sdk) -> None:
    for client, connection in ((EXAMPLE, EXAMPLE), (EXAMPLE, "other"), ("other", EXAMPLE)):
        fields = {"data": EXAMPLE, "encoding": EXAMPLE, "extras": {"headers": {"a": 1}}}
        enter = PresenceAction.ENTER
        await change(sdk.server, enter, client, channel=CHANNEL, connection=connection, **fields)
    (member,) = await sdk.answer("status.get_presence_of_channel")
    assert member.keys() == set(SEEDS["schemas"]["PresenceMessage"])
    assert (member["clientId"], member["connectionId"]) == (EXAMPLE, EXAMPLE)
    assert (member["action"], member["data"], member["encoding"]) == (1, EXAMPLE, EXAMPLE)


@pytest.mark.skipif(PUSH, reason="there are push endpoints")
@pytest.mark.parametrize("name", PUSH_CALLS)
async def test_push_calls_are_refused_while_there_is_no_push(sdk: Sdk, name: str) -> None:
    before = sdk.server.broker.log.position
    assert error_of(await sdk.send(name)) == (404, 40400)
    assert sdk.server.broker.log.position == before


# What the README says of each call's answer: a device, or nothing in particular. Lists of what
# is subscribed are lists of subscriptions, whatever it calls them.
OF_A_DEVICE = frozenset(
    {
        "push.register_push_device",
        "push.put_push_device_details",
        "push.patch_push_device_details",
        "push.get_push_device_details",
        "push.update_push_device_details",
    }
)


@pytest.mark.skipif(not PUSH, reason="there are no push endpoints yet: PUSH")
async def test_push_calls(sdk: Sdk) -> None:
    """One after the other."""
    rules = NamespaceRules(push_enabled=True)
    await sdk.server.broker.apps.set_namespace(sdk.server.app, "push", rules)
    for name in PUSH_CALLS:
        reply = await sdk.send(name)
        assert reply.status_code in (200, 201, 204), (name, reply.text)
        if name in OF_A_DEVICE:
            assert reply.json()["id"] == DEVICE_ID, name
        elif name == "push.get_registered_push_devices":
            assert [device["id"] for device in reply.json()] == [DEVICE_ID]
        elif name == "push.get_push_subscriptions_on_channels":
            (subscription,) = reply.json()
            assert subscription.keys() <= {"channel", "deviceId", "appId"}
            assert subscription["channel"] == PUSH_CHANNEL
        elif name == "push.get_channels_with_push_subscribers":
            assert reply.json() == [PUSH_CHANNEL]
