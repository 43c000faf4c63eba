"""Publishing through the façade: what is stored, what a repeat does, and how refusals look."""

from pathlib import Path
from typing import Any

import pytest
import trio

import broker
from broker import BadRequest, Broker, BrokerSettings, Message, Overloaded, Unavailable
from storage import LogSettings
from tests.broker.conftest import START_MS, FakeClock


def batch(base: str, count: int) -> list[Message]:
    return [Message(id=f"{base}:{index}", data=str(index)) for index in range(count)]


async def datas(b: Broker, channel: str, **query: Any) -> list[Any]:
    page = await b.channel(channel).history(**query)
    return [message.data for message in page.messages]


async def test_what_is_published_is_in_history_at_once(opened: Broker) -> None:
    channel = opened.channel("orders")
    published = await channel.publish("created", {"id": 7}, client_id="me", extras={"ai": {}})
    (message,) = (await channel.history()).messages
    assert (message.name, message.data, message.encoding) == ("created", '{"id":7}', "json")
    assert (message.client_id, message.extras) == ("me", {"ai": {}})
    assert (message.serial,) == published.serials
    assert message.timestamp == START_MS
    assert published.channel == "orders"
    assert not published.duplicate


async def test_ids_are_made_where_the_publisher_gave_none(opened: Broker) -> None:
    channel = opened.channel("orders")
    one = await channel.publish(data="x")
    several = await channel.publish_all([Message(data="y"), Message(data="z")])
    found = [message.id for message in (await channel.history(direction="forwards")).messages]
    assert found == [
        f"{one.message_id}:0",
        f"{several.message_id}:0",
        f"{several.message_id}:1",
    ]
    assert one.message_id.endswith(":0")
    assert one.message_id != several.message_id


@pytest.mark.parametrize("data", ["", "text", "\U0001f600 \0", b"", b"\xff\0", None])
async def test_payloads_come_back_as_they_went(opened: Broker, data: Any) -> None:
    await opened.channel("c").publish(data=data)
    (message,) = (await opened.channel("c").history()).messages
    assert (message.data, message.encoding) == (data, None)


async def test_a_repeat_publishes_nothing_and_has_the_first_serials(opened: Broker) -> None:
    channel = opened.channel("orders")
    first = await channel.publish("created", "one", id="order-7")
    again = await channel.publish("created", "one", id="order-7")
    other = await channel.publish("changed", "two", id="order-7")
    assert (again.serials, again.message_id) == (first.serials, first.message_id)
    assert other.serials == first.serials
    assert [first.duplicate, again.duplicate, other.duplicate] == [False, True, True]
    assert await datas(opened, "orders") == ["one"]
    metrics = opened.metrics
    assert (metrics.messages_published, metrics.publishes_repeated) == (1, 2)
    assert metrics.repeats_with_another_payload == 1


async def test_a_repeated_array_has_the_first_serials(opened: Broker) -> None:
    channel = opened.channel("orders")
    first = await channel.publish_all(batch("b", 3))
    again = await channel.publish_all(batch("b", 3))
    assert len(set(first.serials)) == 3
    assert again.serials == first.serials
    assert (first.message_id, again.message_id) == ("b", "b")
    assert await datas(opened, "orders") == ["2", "1", "0"]


async def test_an_array_that_overlaps_an_earlier_one_publishes_none_of_it(opened: Broker) -> None:
    channel = opened.channel("orders")
    first = await channel.publish_all(batch("b", 2))
    longer = await channel.publish_all(batch("b", 3))
    assert longer.serials == (*first.serials, None)
    assert longer.duplicate
    assert await datas(opened, "orders") == ["1", "0"]


async def test_ids_are_apart_by_channel_and_app(opened: Broker) -> None:
    await opened.apps.create("other")
    for app in (None, "other"):
        for name in ("a", "b"):
            assert not (await opened.channel(name, app=app).publish(id="same")).duplicate


async def test_equal_ids_at_the_same_time_are_published_once(opened: Broker) -> None:
    channel, serials = opened.channel("orders"), []

    async def publish(number: int) -> None:
        serials.append((await channel.publish(data=str(number), id="same")).serials)

    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(publish, number)
    assert len(set(serials)) == 1
    assert len(await datas(opened, "orders")) == 1


async def test_dedup_and_history_survive_reopening(path: Path, clock: FakeClock) -> None:
    async with broker.open(path, clock=clock) as b:
        first = await b.channel("orders").publish(data="one", id="order-7")
        before = (await b.channel("orders").history()).messages
    clock.advance(-60_000)
    async with broker.open(path, clock=clock) as b:
        assert (await b.channel("orders").history()).messages == before
        again = await b.channel("orders").publish(data="one", id="order-7")
        assert (again.serials, again.duplicate) == (first.serials, True)
        later = await b.channel("orders").publish(data="two")
        assert later.serials > first.serials  # although the clock went back


async def test_ephemeral_messages_are_never_in_history(opened: Broker) -> None:
    channel, extras = opened.channel("orders"), {"ephemeral": True}
    first = await channel.publish(data="gone", id="e", extras=extras)
    again = await channel.publish(data="gone", id="e", extras=extras)
    durable = await channel.publish(data="kept", id="e")
    assert first.serials[0]
    assert (again.serials, again.duplicate) == (first.serials, True)
    assert durable.duplicate  # one id space for all kinds of message
    await channel.publish(data="kept")
    assert await datas(opened, "orders") == ["kept"]


@pytest.mark.parametrize(
    ("messages", "code", "status"),
    [
        ([], 40030, 400),
        ([Message(data=5)], 40013, 400),
        ([Message(id="")], 40031, 400),
        ([Message(id="a"), Message(id="b")], 40031, 400),
        ([Message(client_id="*")], 40012, 400),
        ([Message(connection_key="k")], 40006, 400),
        ([Message(extras={"unknown": 1})], 40032, 400),
        ([Message(data="x" * 65_537)], 40009, 413),
        ([Message()] * 1001, 40034, 400),
        ([Message(), Message(extras={"ephemeral": True})], 40030, 400),
    ],
)
async def test_a_refused_publish_changes_nothing(
    opened: Broker, messages: list[Message], code: int, status: int
) -> None:
    await opened.channel("orders").publish(data="first")
    position = opened.log.position
    with pytest.raises(BadRequest) as refusal:
        await opened.channel("orders").publish_all(messages)
    assert (refusal.value.code, refusal.value.status) == (code, status)
    assert opened.log.position == position


@pytest.mark.parametrize("name", ["", ":a", "[b", "[unknown]b", "a\nb", "x" * 2048])
async def test_bad_channel_names_are_refused(opened: Broker, name: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        opened.channel(name)
    assert refusal.value.code == 40010


async def test_a_full_queue_is_a_rate_error(path: Path, clock: FakeClock) -> None:
    log = LogSettings(queue_commands_max=1)
    codes: list[tuple[int, int]] = []

    async def publish(b: Broker, number: int) -> None:
        try:
            await b.channel("c").publish(data=str(number))
        except Overloaded as error:
            codes.append((error.code, error.status))

    async with broker.open(path, clock=clock, settings=BrokerSettings(log=log)) as b:
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(publish, b, number)
        assert codes
        assert set(codes) == {(42910, 429)}
        assert len(await datas(b, "c")) == 20 - len(codes)
        await b.channel("c").publish(data="there is room again")


async def test_a_full_log_refuses_writes_and_serves_reads(path: Path, clock: FakeClock) -> None:
    async with broker.open(path, clock=clock) as b:
        await b.channel("c").publish(data="before")
    settings = BrokerSettings(log=LogSettings(max_bytes=1))
    async with broker.open(path, clock=clock, settings=settings) as b:
        with pytest.raises(Unavailable) as refusal:
            await b.channel("c").publish(data="no room")
        assert (refusal.value.code, refusal.value.status) == (50003, 503)
        assert b.failure is None
        assert await datas(b, "c") == ["before"]
    async with broker.open(path, clock=clock) as b:
        await b.channel("c").publish(data="there is room again")


async def test_a_clock_far_behind_is_unavailable(path: Path, clock: FakeClock) -> None:
    async with broker.open(path, clock=clock) as b:
        await b.channel("c").publish(data="before")
        clock.advance(-100 * 86_400_000)
        with pytest.raises(Unavailable) as refusal:
            await b.channel("c").publish(data="after")
        assert (refusal.value.code, refusal.value.status) == (50003, 503)
        assert b.failure is None
        assert await datas(b, "c", end=START_MS) == ["before"]


async def test_a_closed_broker_is_unavailable(path: Path, clock: FakeClock) -> None:
    async with broker.open(path, clock=clock) as b:
        channel = b.channel("c")
        await channel.publish(data="before")
    for use in (channel.publish, channel.history):
        with pytest.raises(Unavailable) as refusal:
            await use()
        assert (refusal.value.code, refusal.value.status) == (80017, 503)
