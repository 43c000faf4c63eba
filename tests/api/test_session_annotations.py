"""Annotations as conversations: who is told each, who what they come to, and what is refused."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import broker
from api.realtime.protocol import HAS_BACKLOG, RESUMED, Action
from broker.channels.modes import DEFAULT, Mode
from tests.api.conversation import Client, Message, Talk, talking
from tests.broker.interactions.editing import CHANNEL, Editing, reaction

BOTH = DEFAULT | Mode.ANNOTATION_SUBSCRIBE
SUMMARY = 4


@pytest.fixture
async def talk(tmp_path: Path) -> AsyncIterator[Talk]:
    async with broker.open(tmp_path / "data") as b, talking(b) as t:
        await Editing(b).prepare()
        yield t


@pytest.fixture
def m(talk: Talk) -> Editing:
    return Editing(talk.broker)


async def summary(client: Client, channel: str = CHANNEL) -> Any:
    """Of the next message, which must be one."""
    (item,) = await client.hears_items(channel, 1)
    assert item["action"] == SUMMARY, item
    return item["annotations"]["summary"]


async def annotation(client: Client) -> Message:
    (item,) = await client.hears_items(CHANNEL, 1, Action.ANNOTATION)
    return item


def total(count: int) -> dict[str, Any]:
    return {"reaction:total.v1": {"total": count}}


TOTAL = reaction(None, method="total.v1")


@pytest.mark.parametrize("binary", [True, False])
async def test_annotated_by_one_and_told_to_others(talk: Talk, m: Editing, binary: bool) -> None:
    me = await talk.connect("me", binary=binary)
    sums, each = await talk.connect(binary=binary), await talk.connect(binary=binary)
    assert not (await sums.attach(CHANNEL))["flags"] & Mode.ANNOTATION_SUBSCRIBE
    assert (await each.attach(CHANNEL, flags=BOTH))["flags"] & Mode.ANNOTATION_SUBSCRIBE
    serial = await m.publish("x", name="n")
    for client in (sums, each):
        await client.hears_items(CHANNEL, 1)
    number = me.annotates(
        CHANNEL, serial, reaction("+1", data={"why": 1}, extras={"headers": {}}, foo="ignored")
    )
    ack = await me.hears(Action.ACK, msgSerial=number, count=1)
    counted = {"reaction:distinct.v1": {"+1": {"total": 1, "clientIds": ["me"], "clipped": False}}}
    for client in (sums, each):
        (item,) = await client.hears_items(CHANNEL, 1)
        assert item["annotations"] == {"summary": counted}
        assert (item["action"], item["serial"], item["name"]) == (SUMMARY, serial, "n")
        assert item["version"]["serial"] == ack["res"][0]["serials"][0] > serial
        assert "data" not in item
    told = await annotation(each)
    assert told == {
        "id": f"{me.id}:0:0",
        "action": 0,
        "serial": ack["res"][0]["serials"][0],
        "messageSerial": serial,
        "type": "reaction:distinct.v1",
        "name": "+1",
        "clientId": "me",
        "connectionId": me.id,
        "timestamp": told["timestamp"],
        "data": '{"why":1}',
        "encoding": "json",
        "extras": {"headers": {}},
    }
    me.annotates(CHANNEL, serial, reaction("+1", action=1))
    await me.hears(Action.ACK, msgSerial=1)
    assert await summary(sums) == await summary(each) == {}
    assert (await annotation(each))["action"] == 1
    await talk.settled()
    for client in (sums, each):
        client.hears_nothing_more()


async def test_every_kind(talk: Talk, m: Editing) -> None:
    me = await talk.connect("me")
    await me.attach(CHANNEL)
    serial = await m.publish("x")
    await me.hears_items(CHANNEL, 1)
    one = {"total": 1, "clientIds": ["me"], "clipped": False}
    counted = {
        "total": 3, "clientCounts": {"me": 3}, "totalUnidentified": 0, "clipped": False,
        "totalClientIds": 1,
    }  # fmt: skip
    kinds: dict[str, Any] = {
        "total.v1": {"total": 1}, "flag.v1": one, "distinct.v1": {"x": one},
        "unique.v1": {"x": one}, "multiple.v1": {"x": counted},
    }  # fmt: skip
    for method in kinds:
        me.annotates(CHANNEL, serial, reaction("x", method=method, count=3))
    found = {}
    while len(found) < len(kinds):
        found = await summary(me)
    assert found == {f"reaction:{method}": value for method, value in kinds.items()}


async def test_what_is_not_summed_up(talk: Talk, m: Editing) -> None:
    sums, each = await talk.connect(), await talk.connect()
    await sums.attach(CHANNEL)
    await each.attach(CHANNEL, flags=Mode.ANNOTATION_SUBSCRIBE)
    serial = await m.publish("x")
    await sums.hears_items(CHANNEL, 1)
    await m.annotate(serial, {"action": 0, "type": "comment", "data": "first"})
    assert (await annotation(each))["data"] == "first"
    await talk.settled()
    sums.hears_nothing_more()
    each.hears_nothing_more()


async def test_a_batch_tells_one_summary_of_a_message(talk: Talk, m: Editing) -> None:
    """Each annotation to who wants them; what they come to, once."""
    sums, each = await talk.connect(), await talk.connect()
    await sums.attach(CHANNEL)
    await each.attach(CHANNEL, flags=Mode.ANNOTATION_SUBSCRIBE | Mode.SUBSCRIBE)
    serials = [await m.publish("x"), await m.publish("y")]
    for client in (sums, each):
        await client.hears_items(CHANNEL, 2)
    commands = [
        talk.broker.annotator.prepare(m.principal, CHANNEL, [TOTAL] * 3, serial)
        for serial in (serials[0], serials[1], serials[0])
    ]
    await talk.broker.log.submit_all(commands, app=m.app, cost=1)
    found = {
        item["serial"]: item["annotations"]["summary"]
        for item in await sums.hears_items(CHANNEL, 2)
    }
    assert found == {serials[0]: total(6), serials[1]: total(3)}
    await talk.settled()
    sums.hears_nothing_more()
    told: list[Message] = []
    summed: list[Message] = []
    while len(told) < 9 or len(summed) < 2:
        message = await each.next()
        told += message.get("annotations", [])
        summed += message.get("messages", [])
    order = [one["serial"] for one in told]
    assert order == sorted(order)
    assert [one["messageSerial"] for one in told] == [serials[0]] * 3 + [serials[1]] * 3 + [
        serials[0]
    ] * 3
    each.hears_nothing_more()


async def test_a_summary_is_not_lost_between_two_frames(talk: Talk, m: Editing) -> None:
    """A client that read only the first of what one annotation is told by comes back for both."""
    me = await talk.connect()
    await me.attach(CHANNEL, flags=Mode.ANNOTATION_SUBSCRIBE | Mode.SUBSCRIBE)
    serial = await m.publish("x")
    await me.hears_items(CHANNEL, 1)
    await m.annotate(serial, TOTAL)
    first, second = await me.next(), await me.next()
    me.vanishes()
    for read, left in ((first, 2), (second, 0)):
        again = await talk.connect()
        await again.attach(
            CHANNEL,
            channelSerial=read["channelSerial"],
            flags=Mode.ANNOTATION_SUBSCRIBE | Mode.SUBSCRIBE,
        )
        heard = [await again.next() for _ in range(left)]
        assert [message["action"] for message in heard] == [Action.MESSAGE, Action.ANNOTATION][
            :left
        ]
        await talk.settled()
        again.hears_nothing_more()
        again.vanishes()


async def test_resumed_and_rewound(talk: Talk, m: Editing) -> None:
    """Who resumes hears the annotations it missed and what they come to; who rewinds sees that in
    the messages."""
    me = await talk.connect()
    attached = await me.attach(CHANNEL, flags=BOTH)
    old = await m.publish("old")
    await me.hears_items(CHANNEL, 1)
    me.vanishes()
    for _ in range(3):
        await m.annotate(old, TOTAL)
    new = await m.publish("new")
    await m.annotate(new, TOTAL)
    again = await talk.connect()
    reply = await again.attach(CHANNEL, flags=BOTH, channelSerial=attached["channelSerial"])
    assert reply["flags"] & 0xFF == RESUMED | HAS_BACKLOG
    sums: dict[str, Any] = {}
    told = 0
    while told < 4:
        message = await again.next()
        told += len(message.get("annotations", []))
        for item in message.get("messages", []):
            sums[item["serial"]] = item["annotations"]["summary"]
    assert sums == {old: total(3), new: total(1)}
    rewound = await talk.connect()
    await rewound.attach(CHANNEL, flags=BOTH, params={"rewind": "2"})
    items = await rewound.hears_items(CHANNEL, 2)
    shown = [(i["action"], i["data"], i["annotations"]["summary"]) for i in items]
    assert shown == [(0, "old", total(3)), (0, "new", total(1))]
    await talk.settled()
    rewound.hears_nothing_more()


async def test_without_echo_the_summary_is_still_told(talk: Talk, m: Editing) -> None:
    me = await talk.connect("me", echo=False)
    await me.attach(CHANNEL, flags=BOTH)
    serial = await m.publish("x")
    await me.hears_items(CHANNEL, 1)
    me.annotates(CHANNEL, serial, TOTAL)
    assert await summary(me) == total(1)
    await talk.settled()
    await me.hears(Action.ACK)
    me.hears_nothing_more()
    await m.annotate(serial, TOTAL)
    assert await summary(me) == total(2)
    assert "connectionId" not in await annotation(me)


GOOD = reaction("x")
REFUSED: dict[str, tuple[dict[str, Any], int, int]] = {
    "no name": (reaction(None), 40000, 400),
    "no type": ({"action": 0}, 40001, 400),
    "another action": ({**GOOD, "action": 5}, 40000, 400),
    "of another client": ({**GOOD, "clientId": "you"}, 40012, 400),
    "of no message": ({**GOOD, "messageSerial": "nonsense"}, 40400, 404),
    "data": ({**GOOD, "data": 7}, 40013, 400),
    "too large": ({**GOOD, "data": "x" * 65_537}, 40009, 413),
}


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("what", REFUSED)
async def test_annotations_that_are_refused(
    talk: Talk, m: Editing, what: str, binary: bool
) -> None:
    fields, code, status = REFUSED[what]
    me = await talk.connect("me", binary=binary)
    serial = await m.publish("x")
    wrong = me.annotates(CHANNEL, serial, fields)
    right = me.annotates(CHANNEL, serial, GOOD)
    await me.hears_error(Action.NACK, code, status, msgSerial=wrong)
    await me.hears(Action.ACK, msgSerial=right)
    assert len((await m.annotations(serial)).annotations) == 1


async def test_where_and_by_whom(talk: Talk, m: Editing) -> None:
    serial = await m.publish("x")
    nobody = await talk.connect()
    await nobody.hears_error(
        Action.NACK, 40161, 401, msgSerial=nobody.annotates(CHANNEL, serial, GOOD)
    )
    for channel, code, status in (
        ("other", 93002, 400), ("[filter=name]m:c", 40010, 400), ("[meta]log", 40160, 401),
        ("", 40010, 400),
    ):  # fmt: skip
        number = nobody.annotates(channel, serial, TOTAL)
        await nobody.hears_error(Action.NACK, code, status, msgSerial=number)
    number = nobody._sends(Action.ANNOTATION, CHANNEL)
    await nobody.hears_error(Action.NACK, 40001, 400, msgSerial=number)
    await nobody.attach(CHANNEL, flags=Mode.SUBSCRIBE | Mode.PUBLISH)
    number = nobody.annotates(CHANNEL, serial, TOTAL)
    await nobody.hears_error(Action.NACK, 40165, 401, msgSerial=number)
    token = talk.token(capability='{"*":["subscribe","publish"]}')
    limited = await talk.connect(token=token)
    number = limited.annotates(CHANNEL, serial, GOOD)
    await limited.hears_error(Action.NACK, 40160, 401, msgSerial=number)
    attached = await limited.attach(CHANNEL, flags=BOTH)
    annotating = Mode.ANNOTATION_SUBSCRIBE | Mode.ANNOTATION_PUBLISH
    assert not attached["flags"] & annotating


async def test_annotations_in_flight_when_the_connection_is_lost(talk: Talk, m: Editing) -> None:
    me = await talk.connect("me")
    serial = await m.publish("x")
    sent = [
        {
            "action": Action.ANNOTATION,
            "channel": CHANNEL,
            "msgSerial": number,
            "annotations": [{**TOTAL, "messageSerial": serial}] * 2,
        }
        for number in range(3)
    ]
    me.says_all(*sent)
    await talk.settled()
    me.vanishes()
    again = await talk.connect("me", resume=me.held.key)
    again.says_all(*sent)
    ack = await again.hears(Action.ACK, msgSerial=0, count=3)
    assert (await m.get(serial)).summary == total(6)
    listed = [one.serial for one in (await m.annotations(serial)).annotations]
    assert [serial for result in ack["res"] for serial in result["serials"]] == listed
