"""Channels of one connection, as conversations: attached, continued, rewound, slow, counted."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

import broker
from api.realtime.protocol import HAS_BACKLOG, RESUMED, Action
from broker import Broker, BrokerSettings
from broker.channels.modes import DEFAULT, Mode
from broker.channels.presence import PresenceAction
from tests.api.conversation import Talk, talking

ENTER = PresenceAction.ENTER


@pytest.fixture
async def talk(tmp_path: Path) -> AsyncIterator[Talk]:
    settings = BrokerSettings(connection_channels_max=5)
    async with broker.open(tmp_path / "data", settings=settings) as b, talking(b) as t:
        yield t


def flags(message: dict[str, Any]) -> int:
    """Those below the modes."""
    return int(message["flags"]) & 0xFFFF


async def published(b: Broker, channel: str, *names: str) -> None:
    for name in names:
        await b.channel(channel).publish(name)


async def test_attach_publish_subscribe_detach(talk: Talk) -> None:
    me, you = await talk.connect("me"), await talk.connect("you")
    attached = await me.attach("c")
    assert attached["flags"] == DEFAULT
    await you.attach("c")
    me.publishes("c", "hello", data="x")
    (mine,), (yours,) = await me.hears_items("c", 1), await you.hears_items("c", 1)
    assert mine == yours
    assert (mine["name"], mine["data"], mine["clientId"]) == ("hello", "x", "me")
    assert mine["connectionId"] == me.id
    assert mine["id"] == f"{me.id}:0:0"
    ack = await me.hears(Action.ACK, msgSerial=0, count=1)
    assert ack["res"] == [{"serials": [mine["serial"]]}]
    you.says(Action.DETACH, channel="c")
    await you.hears(Action.DETACHED, channel="c")
    me.publishes("c", "unheard")
    await me.hears_items("c", 1)
    await talk.settled()
    you.hears_nothing_more()


async def test_detaching_what_is_not_attached(talk: Talk) -> None:
    me = await talk.connect()
    me.says(Action.DETACH, channel="c")
    await me.hears(Action.DETACHED, channel="c")


@pytest.mark.parametrize(
    ("asked", "code", "status"),
    [
        ({"channel": ""}, 40010, 400),
        ({"channel": "[x"}, 40010, 400),
        ({"channel": "c", "params": {"rewind": "x"}}, 40000, 400),
        ({"channel": "c", "params": {"rewind": "1", "rewindLimit": "x"}}, 40000, 400),
        ({"channel": "c", "params": {"modes": "publish,nothing"}}, 40000, 400),
    ],
)
async def test_an_attach_that_is_refused_concerns_its_channel_only(
    talk: Talk, asked: dict[str, Any], code: int, status: int
) -> None:
    me = await talk.connect()
    await me.attach("other")
    me.says(Action.ATTACH, **asked)
    await me.hears_error(Action.ERROR, code, status, channel=asked["channel"])
    await published(talk.broker, "other", "hello")
    assert await me.hears_names("other", 1) == ["hello"]
    assert not me.session.over


async def test_a_connection_attaches_so_many_channels(talk: Talk) -> None:
    me = await talk.connect()
    for number in range(5):
        await me.attach(str(number))
    me.says(Action.ATTACH, channel="5")
    await me.hears_error(Action.ERROR, 90010, 400, channel="5")
    await me.attach("4")
    me.says(Action.DETACH, channel="0")
    await me.hears(Action.DETACHED)
    await me.attach("5")


@pytest.mark.parametrize(
    "asked",
    [
        {"flags": Mode.SUBSCRIBE | Mode.PRESENCE},
        {"params": {"modes": "subscribe,presence"}},
        {"params": {"modes": "SUBSCRIBE, Presence"}, "flags": Mode.PUBLISH},
    ],
)
async def test_modes_are_as_asked(talk: Talk, asked: dict[str, Any]) -> None:
    me = await talk.connect("me")
    attached = await me.attach("c", **asked)
    assert attached["flags"] == Mode.SUBSCRIBE | Mode.PRESENCE
    serial = me.publishes("c", "no")
    await me.hears_error(Action.NACK, 40165, 401, msgSerial=serial)
    await published(talk.broker, "c", "heard")
    assert await me.hears_names("c", 1) == ["heard"]
    serial = me.present("c", ENTER)
    await me.hears(Action.ACK, msgSerial=serial)


async def test_attaching_again_changes_modes_without_a_gap(talk: Talk) -> None:
    me = await talk.connect()
    await me.attach("c", flags=Mode.SUBSCRIBE)
    await published(talk.broker, "c", "1")
    assert await me.hears_names("c", 1) == ["1"]
    again = await me.attach("c", flags=Mode.PUBLISH)
    assert again["flags"] == Mode.PUBLISH
    await published(talk.broker, "c", "unheard")
    await talk.settled()
    me.hears_nothing_more()
    await me.attach("c", flags=Mode.SUBSCRIBE)
    await published(talk.broker, "c", "2")
    assert await me.hears_names("c", 1) == ["2"]


async def test_one_channel_by_two_names(talk: Talk) -> None:
    """Each is an attachment of its own, and delivered under the name it was attached by."""
    me = await talk.connect()
    await me.attach("c")
    await me.attach("[?rewind=1]c")
    await published(talk.broker, "c", "hello")
    heard = [await me.next(), await me.next()]
    assert {message["channel"] for message in heard} == {"c", "[?rewind=1]c"}
    me.says(Action.DETACH, channel="c")
    await me.hears(Action.DETACHED, channel="c")
    await published(talk.broker, "c", "again")
    assert await me.hears_names("[?rewind=1]c", 1) == ["again"]


async def test_an_attachment_continues_on_any_connection(talk: Talk) -> None:
    me = await talk.connect()
    await me.attach("c")
    await published(talk.broker, "c", *"abc")
    items = [await me.hears_items("c", 1) for _ in "abc"]
    me.vanishes()
    await published(talk.broker, "c", *"de")
    other = await talk.connect()
    attached = await other.attach("c", channelSerial=items[1][0]["serial"])
    assert flags(attached) == RESUMED | HAS_BACKLOG
    assert await other.hears_names("c", 3) == ["c", "d", "e"]
    await published(talk.broker, "c", "f")
    assert await other.hears_names("c", 1) == ["f"]


async def test_continuing_where_nothing_was_missed(talk: Talk) -> None:
    me = await talk.connect()
    attached = await me.attach("c")
    me.vanishes()
    await published(talk.broker, "another", "x")
    other = await talk.connect()
    again = await other.attach("c", channelSerial=attached["channelSerial"])
    assert flags(again) == RESUMED
    assert "error" not in again


@pytest.mark.parametrize("serial", ["nonsense", "01700000000000-000@0000000000:000"])
async def test_a_serial_that_is_none_of_ours(talk: Talk, serial: str) -> None:
    me = await talk.connect()
    await published(talk.broker, "c", "old")
    me.says(Action.ATTACH, channel="c", channelSerial=serial, params={"rewind": "1"})
    attached = await me.hears_error(Action.ATTACHED, 90003, 404, channel="c")
    assert flags(attached) == 0
    await published(talk.broker, "c", "new")
    assert await me.hears_names("c", 1) == ["new"]


@pytest.mark.parametrize(
    ("rewind", "names"), [("2", ["b", "c"]), ("9", ["a", "b", "c"]), ("1m", ["a", "b", "c"])]
)
async def test_rewinding(talk: Talk, rewind: str, names: list[str]) -> None:
    await published(talk.broker, "c", *"abc")
    me = await talk.connect()
    attached = await me.attach("c", params={"rewind": rewind})
    assert flags(attached) == HAS_BACKLOG
    assert attached["params"] == {"rewind": rewind}
    await published(talk.broker, "c", "d")
    assert await me.hears_names("c", len(names) + 1) == [*names, "d"]


async def test_a_slow_client_reads_on_from_the_log(talk: Talk) -> None:
    """Everything once and in order, on every channel, and others hear it live."""
    slow, fast = await talk.connect(), await talk.connect()
    for channel in "cd":
        await slow.attach(channel)
        await fast.attach(channel)
    slow.outbox.stall()
    for number in range(120):
        await published(talk.broker, "c", f"c{number}")
        await published(talk.broker, "d", f"d{number}")
        if number % 50 == 10:
            slow.outbox.wake()
            await trio.lowlevel.checkpoint()
            slow.outbox.stall()
    heard: dict[str, list[str]] = {"c": [], "d": []}
    for client in (fast, slow):
        client.outbox.wake()
        while sum(map(len, heard.values())) < 240:
            message = await client.hears(Action.MESSAGE)
            heard[message["channel"]] += [item["name"] for item in message["messages"]]
        for channel, names in heard.items():
            assert names == [f"{channel}{number}" for number in range(120)]
            names.clear()
    await talk.settled()
    slow.hears_nothing_more()


async def test_detaching_while_catching_up(talk: Talk) -> None:
    me = await talk.connect()
    await me.attach("c")
    me.outbox.stall()
    await published(talk.broker, "c", *"abc")
    await talk.settled()
    me.says(Action.DETACH, channel="c")
    me.outbox.wake()
    await me.hears(Action.DETACHED)
    await me.attach("c")
    await published(talk.broker, "c", "d")
    assert await me.hears_names("c", 1) == ["d"]


async def test_occupancy_is_told_with_the_attachment_and_when_it_changes(talk: Talk) -> None:
    await (await talk.connect()).attach("c", flags=Mode.PUBLISH)
    await talk.settled()
    me = await talk.connect()
    attached = await me.attach("c", params={"occupancy": "metrics.publishers"})
    assert attached["params"] == {"occupancy": "metrics.publishers"}
    publishers = []
    while publishers[-1:] != [2]:
        (item,) = await me.hears_items("c", 1)
        assert item["name"] == "[meta]occupancy"
        (metrics,) = msgspec.json.decode(item["data"]).values()
        assert metrics.keys() == {"publishers"}
        publishers.append(metrics["publishers"])
    assert publishers[0] == 1
    await me.attach("c")
    await (await talk.connect()).attach("c", flags=Mode.OBJECT_PUBLISH)
    await talk.settled()
    me.hears_nothing_more()
