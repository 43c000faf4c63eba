"""What reaches pushers: from a request to what a strict gateway on this machine is told."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from api.push.settings import PushSettings
from api.push.transports import build_transports
from broker.push.events import MATRIX
from tests.api.matrix.asking import HOST, PUSHKEY, SET, WRITE, Asking
from tests.api.matrix.bodies import APP_ID, CHANNELS, ISS, MONTH, channels, encryption, pusher
from tests.api.push.http_gateway import serving
from tests.api.push.matrix_gateway import NOTIFY, MatrixGateway
from tests.api.push_bodies import SUBSCRIPTIONS, enable_push
from tests.api.rest_server import JSON, MSGPACK, TYPES, RestServer, encode, error_of, rest_server
from tests.broker.push.gematik_client import Phone
from tests.broker.push_outbox.settling import settled

PUBLISH, BATCH = "/push/publish", "/push/batch/publish"
ANN, BOB = "@ann:example.org", "@bob:example.org"
SAYS = {"notification": {"title": "t", "body": "b"}}


@dataclass
class Notified:
    """url: of the gateway; fake: what it was told."""

    server: RestServer
    fake: MatrixGateway
    url: str

    async def publish(self, body: Any, path: str = PUBLISH, kind: str = JSON) -> None:
        headers = {"Content-Type": kind, "Accept": kind}
        content = encode(body, kind)
        reply = await self.server.client.post(path, content=content, headers=headers)
        assert reply.status_code in (201, 204), reply.text
        await settled(self.server.broker)

    @property
    def told(self) -> list[str]:
        """The pushkeys of whoever was notified, sorted."""
        return sorted(one["devices"][0]["pushkey"] for one in self.fake.delivered)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RestServer]:
    """One that may ask gateways on this machine."""
    settings = PushSettings(allow_loopback_targets=True)
    async with (
        build_transports(settings, tmp_path) as transports,
        rest_server(
            tmp_path / "data", transports=transports, matrix_hosts=(HOST["Host"],)
        ) as running,
    ):
        await running.broker.matrix.set_channels(running.app, CHANNELS)
        yield running


@pytest.fixture
async def notified(server: RestServer, ann: Asking, bob: Asking) -> AsyncIterator[Notified]:
    """Ann has two pushers, "a1" and "a2"; bob has "b1". "task" is on at a1 and b1."""
    fake = MatrixGateway()
    async with serving(fake.handle) as gateway:
        for user, pushkey, statuses in (
            (ann, "a1", {"task": "enabled", "news": "disabled"}),
            (ann, "a2", {"task": "disabled"}),
            (bob, "b1", {"task": "enabled"}),
        ):
            await user.fine(SET, pusher(pushkey, data={"url": gateway.url + NOTIFY}))
            await user.fine(WRITE, channels(**statuses), pushkey=pushkey)
        yield Notified(server, fake, gateway.url)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(
    ("recipient", "told"),
    [
        ({"clientId": ANN}, ["a1", "a2"]),
        ({"clientId": BOB}, ["b1"]),
        ({"matrixChannel": "task"}, ["a1", "b1"]),
        ({"matrixChannel": "news"}, ["a2", "b1"]),
        ({"matrixChannel": "erp.eu.prescription.get"}, []),
        ({"matrixChannel": "task", "clientId": ANN}, ["a1"]),
        ({"matrixChannel": "news", "clientId": ANN}, ["a2"]),
        ({"matrixChannel": "task", "clientId": "nobody"}, []),
    ],
    ids=str,
)
async def test_who_is_notified(
    notified: Notified, recipient: dict[str, str], told: list[str], kind: str
) -> None:
    await notified.publish({"recipient": recipient, **SAYS}, kind=kind)
    assert notified.told == told


async def test_a_batch(notified: Notified) -> None:
    both = [{"matrixChannel": "task", "clientId": BOB}, {"clientId": ANN}]
    notices = [
        {"recipient": both, "payload": SAYS},
        {"recipient": {"matrixChannel": "news"}, "payload": {"matrix": {"prio": "low"}}},
    ]
    await notified.publish(notices, BATCH)
    assert notified.told == ["a1", "a2", "a2", "b1", "b1"]


async def test_what_the_gateway_is_told(notified: Notified) -> None:
    matrix = {"room_id": "!r", "counts": {"unread": 2}, "content": {"body": "mine"}}
    await notified.publish({"recipient": {"clientId": BOB}, **SAYS, "matrix": matrix})
    (told,) = notified.fake.delivered
    assert told["room_id"] == "!r"
    assert told["counts"] == {"unread": 2}
    assert told["content"] == {"title": "t", "body": "mine"}
    assert told["devices"][0]["app_id"] == APP_ID


@pytest.mark.parametrize(
    "recipient",
    [
        {"matrixChannel": "nothing"},
        {"matrixChannel": "nothing", "clientId": ANN},
        {"matrixChannel": "task", "deviceId": "dev"},
        {"matrixChannel": ""},
        {"matrixChannel": "", "clientId": ANN},
        {"matrixChannel": 7},
        {"matrixChannel": ["task"]},
        {"matrixChannel": "task", "clientId": ""},
    ],
    ids=str,
)
async def test_recipients_that_make_no_sense(server: RestServer, recipient: dict[str, Any]) -> None:
    """Nobody is notified then, of a whole batch neither."""
    before = server.broker.log.position
    reply = await server.client.post(PUBLISH, json={"recipient": recipient, **SAYS})
    assert error_of(reply) == (400, 40000)
    notices = [{"recipient": [{"matrixChannel": "task"}, recipient], "payload": SAYS}]
    assert error_of(await server.client.post(BATCH, json=notices)) == (400, 40000)
    assert server.broker.log.position == before


async def test_messages_of_a_channel_that_the_user_is_subscribed_to(notified: Notified) -> None:
    """As to any device of the client."""
    server = notified.server
    await enable_push(server)
    wanted = {"channel": "push:a", "clientId": ANN}
    assert (await server.client.post(SUBSCRIPTIONS, json=wanted)).status_code == 201
    reply = await server.publish("push:a", {"data": "d", "extras": {"push": SAYS}}, MSGPACK)
    assert reply.status_code == 201
    await settled(server.broker)
    assert notified.told == ["a1", "a2"]


async def test_a_pusher_that_the_gateway_rejects_is_removed(
    notified: Notified, ann: Asking
) -> None:
    notified.fake.rejected.add("a1")
    await notified.publish({"recipient": {"matrixChannel": "task"}, **SAYS})
    assert notified.told == ["b1"]
    assert [one["pushkey"] for one in await ann.pushers()] == ["a2"]


async def test_who_deleted_the_pusher_is_not_notified(notified: Notified, ann: Asking) -> None:
    await ann.fine(SET, {"kind": None, "app_id": APP_ID, "pushkey": "a1"})
    await notified.publish({"recipient": {"matrixChannel": "task"}, **SAYS})
    assert notified.told == ["b1"]


async def test_a_pusher_that_was_taken_over_tells_the_new_user_only(
    notified: Notified, bob: Asking
) -> None:
    await bob.fine(SET, pusher("a1", data={"url": notified.url + NOTIFY}))
    await notified.publish({"recipient": {"clientId": ANN}, **SAYS})
    assert notified.told == ["a2"]


async def test_what_is_encrypted_is_read_by_the_phone_alone(
    notified: Notified, ann: Asking
) -> None:
    given = encryption()
    notified.fake.phones[given["key_identifier"]] = Phone(bytes.fromhex(ISS), MONTH)
    base = f"{notified.url}/push/v1/"
    await ann.fine(SET, pusher(data={"url": base, "x": 1}, encryption=given))
    await ann.fine(WRITE, channels(**{"erp.eu.prescription.get": "enabled"}), pushkey=PUSHKEY)
    content = {"ChannelId": "erp.eu.prescription.get", "Identifier": "7", "IdentifierType": "t"}
    recipient = {"matrixChannel": "erp.eu.prescription.get"}
    await notified.publish({"recipient": recipient, "matrix": {"content": content}})
    assert notified.fake.texts == [content]
    (told,) = notified.fake.delivered
    assert told["device"]["pushkey"] == PUSHKEY
    assert told["device"]["data"] == {"x": 1}
    assert "erp.eu" not in str(told)


async def test_registering_again_makes_a_rejected_pusher_new(
    notified: Notified, ann: Asking, server: RestServer
) -> None:
    notified.fake.rejected.add("a1")
    await notified.publish({"recipient": {"matrixChannel": "task"}, **SAYS})
    notified.fake.rejected.clear()
    await ann.fine(SET, pusher("a1", data={"url": notified.url + NOTIFY}))
    page = await server.broker.push.lists.devices(server.app, client=ANN, api=MATRIX, limit=9)
    assert {device.state for device in page.items} == {"ACTIVE"}
    await notified.publish({"recipient": {"matrixChannel": "news", "clientId": ANN}, **SAYS})
    assert notified.told == ["a1", "a2", "b1"]
