"""Something to read on every resource, and where it is."""

from typing import Any
from urllib.parse import urljoin

import httpx

from broker.channels.presence import PresenceAction
from broker.stats.intervals import MINUTE_MS, parse_id
from broker.tenancy import NamespaceRules
from tests.api.members import change
from tests.api.push_bodies import DEVICES, SUBSCRIPTIONS, fill_push
from tests.api.rest_server import MSGPACK, RestServer, encode, messages_path

BINARY = b"\x00\xff\xfe"
MESSAGES: list[dict[str, Any]] = [
    {"name": "text", "data": "<b>&amp;\u2028"},
    {"name": "binary", "data": BINARY, "encoding": "cipher+aes"},
    {"name": "json", "data": '{"a":[1]}', "encoding": "json"},
    {"data": "", "extras": {"headers": {"a.b": 1, "n": 1.5, "t": True}, "ref": {"deep": [{}]}}},
    {"clientId": "ann", "id": "chosen"},
]
STATS = "/stats?start=2023-02-03:15:03&end=2023-02-03:15:05"
MESSAGE = "/channels/m%3Ac/messages/SERIAL"
# By operation and what else it is about; every GET of one that can be answered with 200.
RESOURCES = {
    "getTime": "/time",
    "getHealth": "/health",
    "getReadiness": "/ready",
    "getOpenApi": "/openapi.json",
    "getMetadataOfAllChannels": "/channels?limit=1",
    "getMetadataOfAllChannels by value": "/channels?limit=1&by=value",
    "getMetadataOfChannel": "/channels/c",
    "getMessagesByChannel": "/channels/c/messages?limit=2",
    "getMessage": f"{MESSAGE}",
    "getMessageVersions": f"{MESSAGE}/versions?limit=1",
    "getAnnotations": f"{MESSAGE}/annotations?limit=1",
    "getPresenceOfChannel": "/channels/c/presence?limit=1",
    "getPresenceHistoryOfChannel": "/channels/c/presence/history?limit=2&direction=forwards",
    "getStats": f"{STATS}&limit=1",
    "getStats flat": f"{STATS}&limit=1&v=3",
    "getRegisteredPushDevices": f"{DEVICES}?limit=1",
    "getPushDeviceDetails": f"{DEVICES}/dev",
    "getPushSubscriptionsOnChannels": f"{SUBSCRIPTIONS}?limit=1",
    "getChannelsWithPushSubscribers": "/push/channels?limit=1",
    "getPresenceOfChannels": "/presence?channels=c,d",
    "getPresenceOfChannels counted": "/presence?channels=c,d&v=3",
}
PAGED = {name: path for name, path in RESOURCES.items() if "limit=" in path}


async def fill(server: RestServer) -> None:
    """Channels "c" and "d": messages of every kind, members that came, changed and left. And usage,
    of a time that is over."""
    began_ms = parse_id("2023-02-03:15:03")[0]
    minutes = [(began_ms + n * MINUTE_MS, {"channels.peak": n + 1}) for n in range(3)]
    await server.broker.add_stats(server.app, minutes)
    for message in MESSAGES:
        reply = await server.client.post(
            messages_path("c"),
            content=encode(message, MSGPACK),
            headers={"Content-Type": MSGPACK},
        )
        assert reply.status_code == 201, reply.text
    for client in ("ann", "bob", "cat"):
        fields = {"data": BINARY, "extras": {"headers": {"of": client}}}
        await change(server, PresenceAction.ENTER, client, **fields)
    await change(server, PresenceAction.UPDATE, "ann", data="<i>")
    await change(server, PresenceAction.LEAVE, "cat")
    await change(server, PresenceAction.ENTER, "dan", channel="d")
    await fill_message(server)
    await fill_push(server)


async def fill_message(server: RestServer) -> None:
    """SERIAL: a message that was changed, and annotated."""
    await server.broker.apps.set_namespace(server.app, "m", NamespaceRules(mutable_messages=True))
    reply = await server.publish("m:c", {"name": "n", "data": "a<b", "clientId": "ann"})
    server.serial = reply.json()["serials"][0]
    version = {"description": "<why>", "metadata": {"a.b": "c"}, "clientId": "bob"}
    for wanted in ({"action": 5, "data": "&c"}, {"data": {"d": 1}, "version": version}):
        assert (await server.client.patch(MESSAGE, json=wanted)).status_code == 200
    annotation = {"type": "r:distinct.v1", "name": "👍", "clientId": "ann", "data": {"x": 1}}
    for action in (0, 1, 0):
        given = [{**annotation, "action": action}]
        reply = await server.client.post(f"{MESSAGE}/annotations", json=given)
        assert reply.status_code == 201, reply.text


async def get(
    server: RestServer, path: str, params: dict[str, str] | None = None
) -> httpx.Response:
    """With more parameters than the path has."""
    url = str(httpx.URL(path).copy_merge_params(params or {}))
    return await server.client.get(url)


def target(reply: httpx.Response, url: str) -> str:
    """Where a relative URL of a reply leads."""
    return urljoin(str(reply.request.url), url)
