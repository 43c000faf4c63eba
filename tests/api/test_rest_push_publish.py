"""Notifications: `/push/publish`, batches, and messages that carry one, until they arrive.

They arrive on channels of the same server (`ablyChannel`), which the tests follow: what arrives is
waited for, and what must not is shown not to by what was published behind it.
"""

import json
from typing import Any

import pytest
import trio

from api.rest.push_publish import NOTICES_MAX
from broker.channel import Channel
from broker.event import Kind
from broker.tenancy import NamespaceRules
from tests.api.push_bodies import SUBSCRIPTIONS, TARGET, enable_push, to_channel
from tests.api.rest_server import (
    TYPES,
    RestServer,
    basic,
    decode,
    error_of,
    messages_path,
)
from tests.api.test_rest_push_devices import register, send

PUBLISH, BATCH = "/push/publish", "/push/batch/publish"
PAYLOAD = {"notification": {"title": "t", "body": "é <b>"}, "data": {"n": [1, None, "x"]}}
GOOD = {"recipient": {"deviceId": "dev"}, "payload": {"data": 1}}
STUCK_S = 20
REWIND = 100


@pytest.fixture
async def pushed(server: RestServer) -> RestServer:
    """Push is enabled on "push:…"; devices of ann, "dev" and "pad", are channels named like them,
    and so is "lone", which is nobody's."""
    await enable_push(server)
    for id_, client in (("dev", "ann"), ("pad", "ann"), ("lone", None)):
        address = await to_channel(server, f"to:{id_}")
        await register(server, id_, recipient=address, clientId=client)
    return server


async def arrived(server: RestServer, channel: str, count: int) -> list[Any]:
    """What came to a channel, as soon as it is so many; there may be no more."""
    await follow(Channel(server.broker, server.app, channel), count)
    found = await server.stored(channel, direction="forwards")
    assert {message["name"] for message in found} <= {"__ably_push__"}
    assert len(found) == count
    return [json.loads(message["data"]) for message in found]


async def follow(channel: Channel, count: int) -> list[Any]:
    """The first messages of a channel, when there are so many."""
    found: list[Any] = []
    with trio.fail_after(STUCK_S):
        async with channel.subscribe(rewind=REWIND) as messages:
            while len(found) < count:
                found.append(await anext(aiter(messages)))
    return found


async def nothing_more(server: RestServer, **counts: int) -> None:
    """A notification to each device arrives, and is the only one behind those that are counted."""
    for device, count in counts.items():
        recipient = {"deviceId": device}
        reply = await send(server.client, "POST", PUBLISH, {"recipient": recipient, "data": "end"})
        assert reply.status_code == 204
        assert (await arrived(server, f"to:{device}", count + 1))[-1] == {"data": "end"}


@pytest.mark.parametrize("kind", TYPES)
async def test_to_an_address(server: RestServer, kind: str) -> None:
    body = {"recipient": await to_channel(server), **PAYLOAD}
    reply = await send(server.client, "POST", PUBLISH, body, kind)
    assert (reply.status_code, reply.content) == (204, b"")
    assert "content-type" not in reply.headers
    assert await arrived(server, TARGET, 1) == [PAYLOAD]


@pytest.mark.parametrize("kind", TYPES)
async def test_to_a_device_and_to_a_clients(pushed: RestServer, kind: str) -> None:
    for recipient in ({"deviceId": "dev"}, {"clientId": "ann"}):
        body = {"recipient": recipient, **PAYLOAD}
        assert (await send(pushed.client, "POST", PUBLISH, body, kind)).status_code == 204
    assert await arrived(pushed, "to:dev", 2) == [PAYLOAD, PAYLOAD]
    assert await arrived(pushed, "to:pad", 1) == [PAYLOAD]
    await nothing_more(pushed, dev=2, pad=1, lone=0)


@pytest.mark.parametrize(
    "shape",
    [
        {"push": PAYLOAD},
        {"push.notification": PAYLOAD["notification"], "push.data": PAYLOAD["data"]},
        {**PAYLOAD, "surprise": 1, "apns": None},
    ],
)
async def test_shapes_of_a_notification(pushed: RestServer, shape: dict[str, Any]) -> None:
    body = {"recipient": {"deviceId": "dev"}, **shape}
    assert (await send(pushed.client, "POST", PUBLISH, body)).status_code == 204
    assert await arrived(pushed, "to:dev", 1) == [PAYLOAD]


async def test_a_form_notifies(pushed: RestServer) -> None:
    form = {
        "recipient": '{"deviceId":"dev"}',
        "notification": json.dumps(PAYLOAD["notification"]),
        "data": "text",
    }
    reply = await pushed.client.post(PUBLISH, data=form)
    assert reply.status_code == 204, reply.text
    expected = {"notification": PAYLOAD["notification"], "data": "text"}
    assert await arrived(pushed, "to:dev", 1) == [expected]
    form = {"recipient": '{"deviceId":"pad"}', "payload": '{"data":1}'}
    assert (await pushed.client.post(BATCH, data=form)).status_code == 201
    assert await arrived(pushed, "to:pad", 1) == [{"data": 1}]


async def test_a_notification_may_be_for_matrix_pushers_alone(pushed: RestServer) -> None:
    body = {"recipient": {"clientId": "gone"}, "matrix": {"counts": {"unread": 1}}}
    assert (await send(pushed.client, "POST", PUBLISH, body)).status_code == 204


async def test_nobody_is_a_recipient_too(pushed: RestServer) -> None:
    for recipient in ({"deviceId": "gone"}, {"clientId": "gone"}):
        reply = await send(pushed.client, "POST", PUBLISH, {"recipient": recipient, "data": 1})
        assert reply.status_code == 204
    await nothing_more(pushed, dev=0, pad=0, lone=0)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"data": 1}, "recipient"),
        ({"recipient": {}, "data": 1}, "recipient"),
        ({"recipient": [], "data": 1}, "recipient"),
        ({"recipient": "dev", "data": 1}, "recipient"),
        ({"recipient": {"deviceId": 7}, "data": 1}, "recipient.deviceId"),
        ({"recipient": {"clientId": ["ann"]}, "data": 1}, "recipient.clientId"),
        ({"recipient": {"transportType": "pigeon"}, "data": 1}, "transportType"),
        ({"recipient": {"transportType": "apns"}, "data": 1}, "deviceToken"),
        ({"recipient": {"deviceId": "dev"}}, "notification, data"),
        ({"recipient": {"deviceId": "dev"}, "xxx": 5}, "notification, data"),
        ({"recipient": {"deviceId": "dev"}, "notification": "hi"}, "notification"),
        ({"recipient": {"deviceId": "dev"}, "apns": [1]}, "apns"),
        ({"recipient": {"deviceId": "dev"}, "matrix": "x"}, "matrix"),
        ([], "object"),
    ],
)
async def test_notifications_that_make_no_sense(pushed: RestServer, body: Any, named: str) -> None:
    before = pushed.broker.log.position
    reply = await send(pushed.client, "POST", PUBLISH, body)
    assert error_of(reply) == (400, 40000)
    assert named in decode(reply)["error"]["message"]
    assert pushed.broker.log.position == before


async def test_a_notification_that_is_too_large(pushed: RestServer) -> None:
    body = {"recipient": {"deviceId": "dev"}, "data": "x" * 65_536}
    assert error_of(await send(pushed.client, "POST", PUBLISH, body)) == (400, 40009)


@pytest.mark.parametrize("path", [BATCH, "/push/admin/batch/publish"])
@pytest.mark.parametrize("kind", TYPES)
async def test_a_batch(pushed: RestServer, path: str, kind: str) -> None:
    body = [
        {"recipient": {"deviceId": "dev"}, "payload": {"data": 1}},
        {"recipient": [{"deviceId": "lone"}, {"clientId": "ann"}], "payload": {"data": 2}},
    ]
    reply = await send(pushed.client, "POST", path, body, kind)
    assert (reply.status_code, decode(reply)) == (201, {"successCount": 3, "failureCount": 0})
    assert sorted(n["data"] for n in await arrived(pushed, "to:dev", 2)) == [1, 2]
    assert await arrived(pushed, "to:pad", 1) == [{"data": 2}]
    assert await arrived(pushed, "to:lone", 1) == [{"data": 2}]


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        "text",
        [{"recipient": [], "payload": {"data": 1}}],
        [{"recipient": {"deviceId": "dev"}, "payload": {"data": 1}}, {"payload": {"data": 1}}],
        [
            {"recipient": {"deviceId": "dev"}, "payload": {"data": 1}},
            {"recipient": {"clientId": "a"}},
        ],
        [{"recipient": [{"deviceId": "dev"}, {}], "payload": {"data": 1}}],
        [{"recipient": [{"deviceId": "dev"}] * (NOTICES_MAX + 1), "payload": {"data": 1}}],
    ],
)
async def test_a_batch_is_accepted_whole_or_not(pushed: RestServer, body: Any) -> None:
    before = pushed.broker.log.position
    assert error_of(await send(pushed.client, "POST", BATCH, body))[0] == 400
    assert pushed.broker.log.position == before
    await nothing_more(pushed, dev=0)


async def subscribe(server: RestServer, channel: str, **target: str) -> None:
    reply = await server.client.post(SUBSCRIPTIONS, json={"channel": channel, **target})
    assert reply.status_code == 201, reply.text


@pytest.mark.parametrize("kind", TYPES)
async def test_a_message_that_notifies(pushed: RestServer, kind: str) -> None:
    """Devices that are subscribed, and those of clients that are: each once. Whoever may publish
    may notify, and the message says that it did."""
    await subscribe(pushed, "push:a", deviceId="dev")
    await subscribe(pushed, "push:a", clientId="ann")
    await subscribe(pushed, "push:b", deviceId="lone")
    key = await pushed.broker.apps.create_key(pushed.app, granted='{"push:*":["publish"]}')
    client = await pushed.connect(basic(key.string))
    message = {"name": "n", "data": "d", "extras": {"push": PAYLOAD}}
    reply = await send(client, "POST", messages_path("push:a"), message, kind)
    assert reply.status_code == 201
    assert await arrived(pushed, "to:dev", 1) == [PAYLOAD]
    assert await arrived(pushed, "to:pad", 1) == [PAYLOAD]
    (stored,) = await pushed.stored("push:a", kind)
    assert stored["extras"] == {"push": PAYLOAD}
    await nothing_more(pushed, dev=1, pad=1, lone=0)


async def test_a_batch_of_messages_notifies(pushed: RestServer) -> None:
    await subscribe(pushed, "push:a", deviceId="dev")
    await subscribe(pushed, "push:b", deviceId="pad")
    messages = [{"data": n, "extras": {"push": {"data": n}}} for n in ("1", "2")]
    spec = {"channels": ["push:a", "push:b", "plain"], "messages": [*messages, {"data": "3"}]}
    assert (await pushed.client.post("/messages", json=spec)).status_code == 201
    for device in ("dev", "pad"):
        found = await arrived(pushed, f"to:{device}", 2)
        assert sorted(one["data"] for one in found) == ["1", "2"]


async def test_a_message_that_is_sent_again_notifies_once(pushed: RestServer) -> None:
    await subscribe(pushed, "push:a", deviceId="dev")
    message = {"id": "once", "data": "d", "extras": {"push": PAYLOAD}}
    for _ in range(3):
        assert (await pushed.publish("push:a", message)).status_code == 201
    assert await arrived(pushed, "to:dev", 1) == [PAYLOAD]
    await nothing_more(pushed, dev=1)


async def test_messages_that_notify_nobody(pushed: RestServer) -> None:
    """Where push is not enabled, or not any more, nobody is subscribed, or nothing is said."""
    set_namespace = pushed.broker.apps.set_namespace
    await set_namespace(pushed.app, "was", NamespaceRules(push_enabled=True))
    for channel in ("push:a", "was:a"):
        await subscribe(pushed, channel, deviceId="dev")
    await set_namespace(pushed.app, "was", NamespaceRules())
    for channel, extras in (
        ("was:a", {"push": PAYLOAD}),
        ("plain", {"push": PAYLOAD}),
        ("push:b", {"push": PAYLOAD}),
        ("push:a", {"headers": {"push": "x"}}),
    ):
        reply = await pushed.publish(channel, {"data": "d", "extras": extras})
        assert reply.status_code == 201
    await nothing_more(pushed, dev=0, pad=0, lone=0)


async def test_who_unsubscribed_or_is_gone_is_not_notified(pushed: RestServer) -> None:
    for device in ("dev", "pad", "lone"):
        await subscribe(pushed, "push:a", deviceId=device)
    await pushed.client.delete(SUBSCRIPTIONS, params={"deviceId": "dev"})
    await pushed.client.delete("/push/deviceRegistrations/pad")
    await pushed.publish("push:a", {"data": "d", "extras": {"push": PAYLOAD}})
    assert await arrived(pushed, "to:lone", 1) == [PAYLOAD]
    await nothing_more(pushed, dev=0)
    assert await arrived(pushed, "to:pad", 0) == []


async def test_a_key_that_is_none_of_ours_kills_the_device(pushed: RestServer) -> None:
    """Nothing is sent elsewhere, whatever the address says of where its key is good; and what
    became of it is told on the app's log of push, and by the device."""
    address = {**await to_channel(pushed), "ablyKey": "x.y:z", "ablyUrl": "https://example.com"}
    await register(pushed, "dead", recipient=address)
    failed = trio.Event()
    pushed.broker.epoch.hub.watch(Kind.PUSH, lambda _: failed.set())
    body = {"recipient": {"deviceId": "dead"}, **PAYLOAD}
    with trio.fail_after(STUCK_S):
        log = Channel(pushed.broker, pushed.app, "[meta]log:push")
        async with log.subscribe() as reports:
            assert (await send(pushed.client, "POST", PUBLISH, body)).status_code == 204
            told = json.loads((await anext(aiter(reports))).data)
        await failed.wait()
    assert (told["deviceId"], told["code"], told["verdict"]) == ("dead", 103005, "dead")
    device = decode(await pushed.client.get("/push/deviceRegistrations/dead"))
    assert device["push"]["state"] == "FAILED"
    assert device["push"]["error"]["code"] == 103005
    assert await arrived(pushed, TARGET, 0) == []
