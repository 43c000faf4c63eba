"""Topics beside Ably's channels: sets of names in the order of names, on or off, bounded, and gone
with their device."""

import pytest

from broker import Broker
from broker.errors import BadRequest, NotFound
from broker.event import Kind
from broker.push import topic_rows
from broker.push.events import INTERESTS, MATRIX_CHANNELS, TopicsChanged
from broker.push.removal import RemoveDevices
from broker.push.rows import TOPIC_BYTES_MAX
from broker.push.topics import TooManyTopics
from tests.broker.push.registered import (
    CHANNEL,
    enabled,
    of_device,
    records,
    registered,
    subscriptions,
)

NAMES = ["A", "B-", "a", "a=b", "ab", "b", "with a \0 in it", "ä", "🌊"]
MANY = 1_000


@pytest.fixture
async def app(opened: Broker) -> str:
    app = await enabled(opened)
    await registered(opened, app, "d", "e")
    return app


async def names(
    b: Broker, app: str, device: str = "d", space: str = INTERESTS, **page: str
) -> list[str]:
    found = await b.push.topics.page(app, device, space, limit=MANY, **page)
    assert all(topic.is_on for topic in found)
    return [topic.name for topic in found]


def count(b: Broker, app: str, device: str = "d", space: str = INTERESTS) -> int:
    with b.rows() as rows:
        return topic_rows.count(rows, app, device, space)


async def changes(b: Broker, app: str) -> list[TopicsChanged]:
    events = [record.event for record in await records(b, app)]
    return [event for event in events if isinstance(event, TopicsChanged)]


async def test_in_the_order_of_names_from_any_of_them(opened: Broker, app: str) -> None:
    await opened.push.topics.replace(app, "d", INTERESTS, reversed(NAMES), 100)
    in_order = sorted(NAMES, key=str.encode)
    assert await names(opened, app) == in_order
    for number, name in enumerate(in_order):
        assert await names(opened, app, after=name) == in_order[number + 1 :]
        page = await opened.push.topics.page(app, "d", INTERESTS, after=name, limit=1)
        assert [topic.name for topic in page] == in_order[number + 1 : number + 2]
    assert await names(opened, app, after="aa") == [n for n in in_order if n.encode() > b"aa"]
    assert await names(opened, app, after="\uffff" * 500) == ["🌊"]


async def test_what_is_replaced_is_the_whole_set(opened: Broker, app: str) -> None:
    topics = opened.push.topics
    await topics.replace(app, "d", INTERESTS, ["a", "b", "b"], 2)
    await topics.replace(app, "d", INTERESTS, ["c", "b"], 2)
    assert await names(opened, app) == ["b", "c"]
    assert count(opened, app) == 2
    await topics.replace(app, "d", INTERESTS, [], 2)
    assert (await names(opened, app), count(opened, app)) == ([], 0)
    assert [(one.on, one.gone) for one in await changes(opened, app)] == [
        (("a", "b"), ()),
        (("c",), ("a",)),
        ((), ("b", "c")),
    ]


async def test_what_changes_nothing_is_no_event(opened: Broker, app: str) -> None:
    topics = opened.push.topics
    await topics.replace(app, "d", INTERESTS, ["a"], 2)
    await topics.change(app, "d", INTERESTS, off=["b"])
    await topics.change(app, "d", INTERESTS, on=["a"], off=["b"], gone=["c"], limit=1)
    assert len(await changes(opened, app)) == 2


async def test_one_that_is_off_is_remembered(opened: Broker, app: str) -> None:
    topics = opened.push.topics
    await topics.change(app, "d", MATRIX_CHANNELS, on=["a", "b"], off=["c"])
    await topics.change(app, "d", MATRIX_CHANNELS, on=["c"], off=["a"], gone=["b"])
    found = await topics.page(app, "d", MATRIX_CHANNELS, limit=MANY)
    assert [(one.name, one.is_on) for one in found] == [("a", False), ("c", True)]
    assert count(opened, app, space=MATRIX_CHANNELS) == 2
    with opened.rows() as rows:
        assert topic_rows.topic(rows, app, "d", MATRIX_CHANNELS, "b") is None
        assert topic_rows.topic(rows, app, "d", MATRIX_CHANNELS, "a") == ("a", False)


async def test_there_is_a_bound(opened: Broker, app: str) -> None:
    """What is there already may be named again, and who makes room has it."""
    topics = opened.push.topics
    with pytest.raises(TooManyTopics):
        await topics.replace(app, "d", INTERESTS, ["a", "b", "c"], 2)
    await topics.replace(app, "d", INTERESTS, ["a", "b"], 2)
    with pytest.raises(TooManyTopics):
        await topics.change(app, "d", INTERESTS, on=["c"], limit=2)
    with pytest.raises(TooManyTopics):
        await topics.change(app, "d", INTERESTS, off=["c"], limit=2)
    await topics.change(app, "d", INTERESTS, on=["a"], limit=2)
    await topics.change(app, "d", INTERESTS, on=["c"], gone=["a"], limit=2)
    assert await names(opened, app) == ["b", "c"]
    await topics.change(app, "e", INTERESTS, on=["c"], limit=1)


async def test_a_name_that_no_row_can_hold_is_refused(opened: Broker, app: str) -> None:
    topics, longest = opened.push.topics, "ä" * (TOPIC_BYTES_MAX // 2)
    for space in (INTERESTS, MATRIX_CHANNELS):
        await topics.change(app, "d", space, on=[longest])
        with pytest.raises(BadRequest, match=str(TOPIC_BYTES_MAX)):
            await topics.replace(app, "d", space, [longest + "x"], 9)
        for which in ("on", "off"):
            with pytest.raises(BadRequest):
                await topics.change(app, "d", space, **{which: [longest + "x"]})
        await topics.change(app, "d", space, gone=[longest + "x"])
        assert await names(opened, app, space=space) == [longest]


async def test_nobody_elses(opened: Broker, app: str) -> None:
    """Devices, spaces, apps and Ably's channels of the same name do not know of each other."""
    other = await enabled(opened, (await opened.apps.create()).id)
    await registered(opened, other, "d")
    topics = opened.push.topics
    await topics.replace(app, "d", INTERESTS, [CHANNEL], 9)
    await topics.change(app, "d", MATRIX_CHANNELS, on=["m"])
    await topics.replace(other, "d", INTERESTS, ["o"], 9)
    await topics.replace(app, "e", INTERESTS, [], 9)
    assert await names(opened, app) == [CHANNEL]
    assert await names(opened, app, space=MATRIX_CHANNELS) == ["m"]
    assert await names(opened, other) == ["o"]
    assert await names(opened, app, "e") == []
    assert await names(opened, app, space="beam") == []
    await opened.push.subscribe(app, of_device("e"))
    for where in ({}, {"channel": CHANNEL}):
        assert await subscriptions(opened, app, **where) == {(CHANNEL, "d:e")}
    assert await subscriptions(opened, app, device="d") == set()
    assert list((await opened.push.lists.channels(app, limit=9)).items) == [CHANNEL]


async def test_of_a_device_that_is_not_there(opened: Broker, app: str) -> None:
    for device in ("gone", ""):
        with pytest.raises(NotFound):
            await opened.push.topics.replace(app, device, INTERESTS, ["a"], 9)
        with pytest.raises(NotFound):
            await opened.push.topics.change(app, device, INTERESTS, gone=["a"])
    assert await changes(opened, app) == []


async def test_with_a_device_they_are_gone(opened: Broker, app: str) -> None:
    with opened.rows() as rows:
        before = dict(rows.scan("push"))
    await registered(opened, app, "x")
    await opened.push.topics.replace(app, "x", INTERESTS, NAMES, 99)
    await opened.push.topics.change(app, "x", MATRIX_CHANNELS, on=["a"], off=["b"])
    await opened.push.remove(app, device="x")
    with opened.rows() as rows:
        assert dict(rows.scan("push")) == before
    await registered(opened, app, "x")
    assert await names(opened, app, "x") == []


async def test_with_an_app_they_are_gone(opened: Broker, app: str) -> None:
    other = (await opened.apps.create()).id
    await registered(opened, other, "x", address="one")
    await opened.push.topics.replace(other, "x", INTERESTS, NAMES, 99)
    await opened.apps.delete(other)
    with opened.rows() as rows:
        assert len(dict(rows.scan("push"))) == 2, "those of the other app's devices"
    assert await records(opened, other, Kind.PUSH) == []


async def test_devices_with_many_topics_are_removed_few_at_a_time(
    opened: Broker, app: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log is not busy with a user's devices for as long as it takes to remove all of them."""
    monkeypatch.setattr("broker.push.removal.REMOVED_AT_ONCE", 10)
    for device in ("d", "e"):
        await opened.push.topics.replace(app, device, INTERESTS, map(str, range(900)), MANY)
    await registered(opened, app, *"abc")
    ids, removed, place = {*"abcde"}, set(), b""
    while place is not None:
        outcome = await opened.submit(RemoveDevices(app, after=place), app=app)
        gone, place = outcome.reply
        assert len(set(gone) & {"d", "e"}) <= 1
        assert gone
        removed |= set(gone)
    assert removed == ids
