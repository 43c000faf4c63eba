"""Changing messages in process, and subscribers that see it."""

from pathlib import Path

import pytest
import trio

import broker
from broker import BadRequest, Broker, StoredMessage
from broker.live.subscription import Subscription
from broker.tenancy import NamespaceRules
from tests.broker.acting import STUCK_S


@pytest.fixture
async def mutable(opened: Broker) -> Broker:
    rules = NamespaceRules(mutable_messages=True)
    await opened.apps.set_namespace(opened.default_app(), "m", rules)
    return opened


async def upcoming(messages: Subscription) -> StoredMessage:
    with trio.fail_after(STUCK_S):
        return await anext(messages)


async def test_a_subscriber_sees_a_message_change(mutable: Broker) -> None:
    channel = mutable.channel("m:c")
    async with channel.subscribe() as messages:
        (serial,) = (await channel.publish("n", "one")).serials
        assert (await upcoming(messages)).data == "one"
        await channel.append(serial or "", " two")
        appended = await upcoming(messages)
        assert (appended.serial, appended.data, appended.action) == (serial, "one two", 1)
        await channel.update(serial or "", data={"a": 1}, description="why")
        updated = await upcoming(messages)
        assert (updated.data, updated.encoding) == ('{"a":1}', "json")
        assert updated.version
        assert updated.version.description == "why"
        await channel.delete(serial or "")
        assert (await upcoming(messages)).action == 2
    (kept,) = (await channel.history()).messages
    assert (kept.data, kept.action) == ('{"a":1}', 2)


async def test_who_rewinds_sees_it_as_it_stands_and_once(mutable: Broker) -> None:
    channel = mutable.channel("m:c")
    (serial,) = (await channel.publish("n", "a")).serials
    for letter in "bcd":
        await channel.append(serial or "", letter)
    async with channel.subscribe(rewind=5) as messages:
        assert (await upcoming(messages)).data == "abcd"
        await channel.publish("n", "next")
        assert (await upcoming(messages)).data == "next"


async def test_elsewhere_messages_stay_as_they_are(opened: Broker) -> None:
    channel = opened.channel("c")
    (serial,) = (await channel.publish("n", "a")).serials
    with pytest.raises(BadRequest) as refused:
        await channel.append(serial or "", "b")
    assert refused.value.code == 93002


async def test_a_version_outlives_the_process(path: Path) -> None:
    async with broker.open(path) as b:
        await b.apps.set_namespace(b.default_app(), "m", NamespaceRules(mutable_messages=True))
        (serial,) = (await b.channel("m:c").publish("n", "a")).serials
        await b.channel("m:c").append(serial or "", "b")
    async with broker.open(path) as b:
        await b.channel("m:c").append(serial or "", "c")
        (kept,) = (await b.channel("m:c").history()).messages
    assert kept.data == "abc"
