"""Presence on one connection, as conversations: told, synced, kept in mind, refused."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import broker
from api.realtime.protocol import HAS_PRESENCE, Action
from broker import BrokerSettings
from broker.channels.modes import Mode
from broker.channels.presence import PresenceAction
from broker.event import Kind
from storage import Cut, Stream
from tests.api.conversation import Client, Talk, talking

ENTER, LEAVE, UPDATE = PresenceAction.ENTER, PresenceAction.LEAVE, PresenceAction.UPDATE


@pytest.fixture
async def talk(tmp_path: Path) -> AsyncIterator[Talk]:
    settings = BrokerSettings(connection_channels_max=5)
    async with broker.open(tmp_path / "data", settings=settings) as b, talking(b) as t:
        yield t


def flags(message: dict[str, Any]) -> int:
    """Those below the modes."""
    return int(message["flags"]) & 0xFFFF


async def test_presence_is_told_and_synced(talk: Talk) -> None:
    me, you = await talk.connect("me"), await talk.connect("you")
    await me.attach("c")
    serial = me.present("c", ENTER, data="hi")
    (entered,) = await me.hears_items("c", 1, Action.PRESENCE)
    assert (entered["action"], entered["clientId"], entered["data"]) == (ENTER, "me", "hi")
    assert entered["id"] == f"{me.id}:{serial}:0"
    await me.hears(Action.ACK, msgSerial=serial)
    attached = await you.attach("c")
    assert flags(attached) == HAS_PRESENCE
    sync = await you.hears(Action.SYNC, channel="c")
    (present,) = sync["presence"]
    assert (present["action"], present["clientId"]) == (PresenceAction.PRESENT, "me")
    assert sync["channelSerial"].endswith(":")
    me.says(Action.DETACH, channel="c")
    await me.hears(Action.DETACHED)
    (left,) = await you.hears_items("c", 1, Action.PRESENCE)
    assert (left["action"], left["clientId"], left["data"]) == (LEAVE, "me", "hi")


@pytest.mark.parametrize(
    ("client_id", "item", "code"),
    [
        (None, {"action": 2}, 91000),
        ("me", {"action": 2, "clientId": "you"}, 40012),
        ("me", {"action": 99}, 40000),
        ("me", {"action": []}, 40000),
        ("me", {"action": {}}, 40000),
        ("me", {"action": True}, 40000),
        ("me", {"action": 0}, 40000),
        ("me", {"action": 2, "data": 5}, 40013),
        ("me", {"action": 2, "id": 5}, 40000),
        ("me", {"action": 2, "extras": 5}, 40032),
        ("me", 5, 40001),
        ("me", {"action": 2, "data": "x" * 70_000}, 40009),
    ],
)
async def test_presence_that_is_refused(
    talk: Talk, client_id: str | None, item: Any, code: int
) -> None:
    me = await talk.connect(client_id)
    await me.attach("c")
    me.says(Action.PRESENCE, channel="c", msgSerial=0, presence=[item])
    nack = await me.hears(Action.NACK, msgSerial=0)
    assert nack["error"]["code"] == code
    assert not me.session.over


async def test_presence_needs_an_attachment(talk: Talk) -> None:
    me = await talk.connect("me")
    me.present("c", ENTER)
    nack = await me.hears(Action.NACK, msgSerial=0)
    assert nack["error"]["code"] == 90001


async def crowd(talk: Talk, size: int) -> Client:
    """A connection that entered so many members of c."""
    many = await talk.connect(token=talk.token(client_id="*"))
    await many.attach("c", flags=Mode.PRESENCE)
    items = [{"action": ENTER, "clientId": str(number)} for number in range(size)]
    for first in range(0, size, 1_000):
        presence = items[first : first + 1_000]
        many.says(Action.PRESENCE, channel="c", msgSerial=many.serial, presence=presence)
        await many.hears(Action.ACK, msgSerial=many.serial)
        many.serial += 1
    return many


async def synced(client: Client) -> list[str]:
    """The clients that a SYNC tells, in its pages; live presence between them is left out."""
    found: list[str] = []
    cursor, names = "?", set()
    while cursor:
        message = await client.next()
        if message["action"] == Action.PRESENCE:
            continue
        assert message["action"] == Action.SYNC, message
        name, _, cursor = message["channelSerial"].partition(":")
        names.add(name)
        found += [item["clientId"] for item in message["presence"]]
        assert {item["action"] for item in message["presence"]} == {PresenceAction.PRESENT}
    assert len(names) == 1
    assert len(found) == len(set(found))
    return found


@pytest.mark.parametrize("size", [1, 250, 251, 1_250, 1_251, 2_600])
async def test_everybody_is_synced_once_again_and_again(talk: Talk, size: int) -> None:
    """The second time from what was kept of the first; when asked to, once more."""
    await crowd(talk, size)
    everybody = {str(number) for number in range(size)}
    for binary in (False, False, True):
        client = await talk.connect(binary=binary)
        await client.attach("c")
        assert set(await synced(client)) == everybody
    client.says(Action.SYNC, channel="c")
    assert set(await synced(client)) == everybody


async def test_a_large_channel_is_synced_beside_live_presence(talk: Talk) -> None:
    many = await crowd(talk, 600)
    me, you = await talk.connect(), await talk.connect()
    await me.attach("c")
    many.present("c", ENTER, "late")
    many.present("c", LEAVE, "0")
    found = await synced(me)
    assert (
        {str(number) for number in range(1, 600)}
        <= set(found)
        <= {
            "late",
            *map(str, range(600)),
        }
    )
    await talk.settled()
    await you.attach("c")
    assert set(await synced(you)) == {"late", *map(str, range(1, 600))}


@pytest.mark.parametrize("trimmed", [False, True])
async def test_a_kept_sync_is_not_served_stale(talk: Talk, trimmed: bool) -> None:
    """However little of the events is left."""
    many = await crowd(talk, 3)

    async def told() -> set[str]:
        if trimmed:
            cut = Cut(Stream(talk.app, "c", Kind.PRESENCE), talk.broker.log.position)
            await talk.broker.log.trim([cut])
        client = await talk.connect()
        await client.attach("c")
        found = set(await synced(client))
        client.vanishes()
        return found

    assert await told() == {"0", "1", "2"}
    for number in (3, 4):
        many.present("c", ENTER, str(number))
        await many.hears(Action.ACK)
        assert await told() == {str(n) for n in range(number + 1)}
    many.present("c", UPDATE, "1", data="x")
    many.present("c", LEAVE, "0")
    await many.hears(Action.ACK)
    await talk.settled()
    assert await told() == {"1", "2", "3", "4"}


async def test_a_detached_channel_is_synced_no_further(talk: Talk) -> None:
    await crowd(talk, 2_600)
    me = await talk.connect()
    me.outbox.stall()
    await me.attach("c")
    await me.hears(Action.SYNC)
    me.says(Action.DETACH, channel="c")
    await me.hears(Action.DETACHED)
    me.outbox.wake()
    await talk.settled()
    me.hears_nothing_more()


async def test_who_resumes_is_still_present(talk: Talk) -> None:
    me, you = await talk.connect("me"), await talk.connect()
    await me.attach("c")
    await you.attach("c", flags=Mode.PRESENCE_SUBSCRIBE)
    me.present("c", ENTER)
    await you.hears_items("c", 1, Action.PRESENCE)
    me.vanishes()
    again = await talk.connect("me", resume=me.held.key)
    await talk.settled()
    you.hears_nothing_more()
    again.says(Action.CLOSE)
    await again.hears(Action.CLOSED)
    (left,) = await you.hears_items("c", 1, Action.PRESENCE)
    assert left["action"] == LEAVE


async def test_what_the_log_refuses_is_told_and_counted_like_the_rest(tmp_path: Path) -> None:
    settings = BrokerSettings(presence_members_max=1)
    async with broker.open(tmp_path / "full", settings=settings) as b, talking(b) as t:
        watcher, me = await t.connect(), await t.connect("me")
        await watcher.attach("[meta]log")
        await me.attach("c")
        await me.hears(Action.ACK, msgSerial=me.present("c", ENTER))
        you = await t.connect("you")
        await you.attach("c")
        refused = you.present("c", ENTER)
        await you.hears_error(Action.NACK, 91003, 400, msgSerial=refused)
        (report,) = await watcher.hears_items("[meta]log", 1)
        told = msgspec.json.decode(report["data"])
        assert (told["error"]["code"], told["channel"], told["clientId"]) == (91003, "c", "you")
        assert b.answers.refusals["realtime", 91003] == 1
