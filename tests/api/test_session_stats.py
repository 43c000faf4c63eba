"""What realtime connections count as: every message once for each that it was passed on to."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import broker
from api.realtime.protocol import Action
from broker.channels.modes import Mode
from broker.channels.presence import PresenceAction
from broker.stats.intervals import Unit
from tests.api.conversation import Talk, talking
from tests.broker.stats.usage import total, usage

OUT = "messages.outbound.realtime"
ENTER = PresenceAction.ENTER


@pytest.fixture
async def talk(tmp_path: Path) -> AsyncIterator[Talk]:
    async with broker.open(tmp_path / "data") as b, talking(b) as t:
        yield t


async def counted(talk: Talk, family: str) -> tuple[float, float]:
    """(count, data) of a family, once everything was delivered."""
    await talk.settled()
    count, data = [await total(talk.broker, f"{family}.{metric}") for metric in ("count", "data")]
    return count, data


async def test_each_subscriber_counts(talk: Talk) -> None:
    clients = [await talk.connect(binary=binary) for binary in (False, True, True)]
    for client in clients:
        await client.attach("c")
    clients[0].publishes("c", "a", "b", data="12345")
    assert await counted(talk, f"{OUT}.messages") == (6, 30)
    assert await counted(talk, "messages.inbound.realtime.messages") == (2, 10)


async def test_an_echo_that_is_not_wanted_does_not(talk: Talk) -> None:
    me, you = await talk.connect(echo=False), await talk.connect()
    for client in (me, you):
        await client.attach("c")
    me.publishes("c", "mine", data="1")
    you.publishes("c", "yours", data="12")
    assert await counted(talk, f"{OUT}.messages") == (3, 5)


@pytest.mark.parametrize("binary", [False, True])
async def test_data_counts_as_it_is_stored(talk: Talk, binary: bool) -> None:
    """JSON carries bytes as base64, which is longer."""
    me = await talk.connect(binary=binary)
    await me.attach("c")
    await talk.broker.channel("c").publish(data=bytes(300))
    await talk.broker.channel("c").publish(data=None)
    assert await counted(talk, f"{OUT}.messages") == (2, 300)


async def test_modes_say_what_is_passed_on(talk: Talk) -> None:
    me, you = await talk.connect("me"), await talk.connect("you")
    await me.attach("c")
    await you.attach("c", flags=int(Mode.PRESENCE_SUBSCRIBE))
    me.publishes("c", "a", data="123")
    me.present("c", ENTER, data="12")
    assert await counted(talk, f"{OUT}.messages") == (1, 3)
    assert await counted(talk, f"{OUT}.presence") == (2, 4)
    assert await counted(talk, "messages.inbound.realtime.presence") == (1, 2)


async def test_what_is_rewound_is_passed_on(talk: Talk) -> None:
    for name in "abc":
        await talk.broker.channel("c").publish(name, "12")
    me = await talk.connect()
    await me.attach("c", params={"rewind": "2"})
    assert await me.hears_names("c", 2) == ["b", "c"]
    assert await counted(talk, f"{OUT}.messages") == (2, 4)


@pytest.mark.parametrize("batches", [(3,), (1, 1, 1), (2, 5, 1), (300, 300)])
async def test_what_was_dropped_is_counted_once(talk: Talk, batches: tuple[int, ...]) -> None:
    """Nobody reads: deliveries are dropped, and read from the log later, in other batches."""
    me, you = await talk.connect(), await talk.connect()
    for client in (me, you):
        await client.attach("c")
    await talk.broker.channel("c").publish("first", "12")
    await me.hears_names("c", 1)
    me.outbox.stall()
    for size in batches:
        messages = [broker.Message(name="x", data="12")] * size
        await talk.broker.channel("c").publish_all(messages)
        await talk.settled()
    me.outbox.wake()
    count = sum(batches)
    await me.hears_items("c", count)
    await talk.broker.channel("c").publish("last", "12")
    assert await me.hears_names("c", 1) == ["last"]
    expected = 2 * (count + 2)
    assert await counted(talk, f"{OUT}.messages") == (expected, 2 * expected)


async def test_who_detached_is_passed_nothing(talk: Talk) -> None:
    me = await talk.connect()
    await me.attach("c")
    me.says(Action.DETACH, channel="c")
    await me.hears(Action.DETACHED)
    await talk.broker.channel("c").publish("a")
    assert await counted(talk, f"{OUT}.messages") == (0, 0)


async def test_what_is_refused(talk: Talk) -> None:
    token = talk.token(capability='{"mine":["*"]}')
    me = await talk.connect(token=token)
    me.publishes("yours", "not permitted")
    me.publishes("mine", "bad", data=1)
    me.publishes("mine", "good")
    me.present("mine", ENTER)  # it is not attached
    me.says(Action.MESSAGE, channel="mine", msgSerial=me.serial, messages=5)
    await talk.settled()
    (entries,) = (await usage(talk.broker, Unit.DAY)).values()
    assert entries["messages.inbound.realtime.messages.refused"] == 3
    assert entries["messages.inbound.realtime.presence.refused"] == 1
    assert entries["messages.inbound.realtime.messages.count"] == 1


async def test_connections_and_channels(talk: Talk) -> None:
    me = await talk.connect()
    await talk.connect()
    await me.attach("c")
    me.vanishes()
    await talk.settled()
    assert await total(talk.broker, "connections.all.opened") == 2
    assert await total(talk.broker, "channels.opened") == 2  # one more settles
