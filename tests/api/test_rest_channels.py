"""`/channels/{channel}` over the wire: the status of a channel."""

from typing import Any
from urllib.parse import quote

import pytest

from broker.channels.modes import DEFAULT, Mode
from broker.channels.occupancy import Attach, Detach
from broker.channels.presence import PresenceAction
from tests.api.members import change
from tests.api.rest_server import TYPES, RestServer, basic, decode, error_of

NOTHING = {
    "connections": 0,
    "publishers": 0,
    "subscribers": 0,
    "presenceConnections": 0,
    "presenceMembers": 0,
    "presenceSubscribers": 0,
    "objectPublishers": 0,
    "objectSubscribers": 0,
}


def status_of(channel: str, **metrics: int) -> dict[str, Any]:
    numbers = {**NOTHING, **metrics}
    return {
        "channelId": channel,
        "name": channel,
        "href": path_of(channel),
        "status": {"isActive": True, "occupancy": {**numbers, "metrics": numbers}},
    }


def path_of(channel: str) -> str:
    return f"/channels/{quote(channel, safe='')}"


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("channel", ["never used", "a/b", "persisted:\U0001f600", "messages"])
async def test_a_channel_that_was_never_used(server: RestServer, channel: str, kind: str) -> None:
    reply = await server.client.get(path_of(channel), headers={"Accept": kind})
    assert (reply.status_code, decode(reply)) == (200, status_of(channel))
    assert {type(value) for value in metrics_of(decode(reply)).values()} == {int}


def metrics_of(body: Any) -> dict[str, int]:
    metrics: dict[str, int] = body["status"]["occupancy"]["metrics"]
    return metrics


async def test_who_is_attached_and_present(server: RestServer) -> None:
    submit, app, epoch = server.broker.submit, server.app, server.broker.epoch.connections.epoch
    await submit(Attach(app, "c", "one", DEFAULT, epoch), app=app)
    await submit(Attach(app, "c", "two", Mode.SUBSCRIBE, epoch), app=app)
    await change(server, PresenceAction.ENTER, "a")
    await change(server, PresenceAction.ENTER, "b")
    expected = {
        "connections": 2,
        "publishers": 1,
        "subscribers": 2,
        "presenceConnections": 1,
        "presenceSubscribers": 1,
        "presenceMembers": 2,
    }
    assert decode(await server.client.get("/channels/c")) == status_of("c", **expected)
    await submit(Detach(app, "c", "one", DEFAULT, epoch), app=app)
    await submit(Detach(app, "c", "two", Mode.SUBSCRIBE, epoch), app=app)
    await change(server, PresenceAction.LEAVE, "a")
    status = decode(await server.client.get("/channels/c"))
    assert status == status_of("c", presenceMembers=1)


async def test_nothing_is_said_of_regions(server: RestServer) -> None:
    """There is one, so what the seed says of a channel in a region is said of none."""
    await server.publish("c", {})
    details = decode(await server.client.get("/channels/c"))
    assert details in decode(await server.client.get("/channels?by=value"))
    assert not {"region", "isGlobalMaster"} & set(details)


async def test_rights(server: RestServer) -> None:
    for operation, status in (("channel-metadata", 200), ("subscribe", 401), ("*", 200)):
        key = await server.broker.apps.create_key(server.app, granted=f'{{"c":["{operation}"]}}')
        client = await server.connect(basic(key.string))
        reply = await client.get("/channels/c")
        assert reply.status_code == status, operation
        assert error_of(await client.get("/channels/d")) == (401, 40160)
    assert error_of(await (await server.connect({})).get("/channels/c")) == (401, 40101)


async def test_names_and_methods(server: RestServer) -> None:
    head, get = await server.client.head("/channels/c"), await server.client.get("/channels/c")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"]
    assert decode(await server.client.get("/channels/c/"))["channelId"] == "c"
    for method in ("POST", "PUT", "DELETE"):
        assert error_of(await server.client.request(method, "/channels/c")) == (405, 40500)
    for bad in ("%FF", "%5Bmeta%5Dc", "%3Ac", "a%0Ab"):
        assert error_of(await server.client.get(f"/channels/{bad}")) == (400, 40010), bad
    sent_with_params = await server.client.get("/channels/%5B%3Frewind%3D1%5Dc")
    assert decode(sent_with_params)["channelId"] == "c"
