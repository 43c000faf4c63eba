"""Filtered channels as conversations: what passes, and how it composes with all else."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import broker
from api.realtime.protocol import HAS_BACKLOG, HAS_PRESENCE, RESUMED, Action
from broker import Message
from broker.channels.modes import ALL, Mode
from broker.channels.presence import PresenceAction
from broker.live import attach_point
from tests.api.conversation import Talk, talking
from tests.broker.interactions.editing import CHANNEL, Editing, reaction

WANTED = 'name == `"a"`'
NAME = f"[filter={WANTED}]{CHANNEL}"


@pytest.fixture
async def talk(tmp_path: Path) -> AsyncIterator[Talk]:
    async with broker.open(tmp_path / "data") as b, talking(b) as t:
        await Editing(b).prepare()
        yield t


@pytest.fixture
def m(talk: Talk) -> Editing:
    return Editing(talk.broker)


async def publish(m: Editing, *pairs: str, **more: Any) -> None:
    """ "a1" is the name a and the data 1."""
    messages = [Message(name=pair[0], data=pair[1:], **more) for pair in pairs]
    await m.broker.publish(m.principal, m.channel, messages)


@pytest.mark.parametrize("binary", [True, False])
async def test_what_passes(talk: Talk, m: Editing, binary: bool) -> None:
    """By name, client and headers, in base64 as SDKs write it."""
    expressions = {
        WANTED: ["a1", "a4"],
        'clientId == `"me"`': ["c3"],
        "headers.x == `1`": ["a4"],
        'name == `"a"` && headers.x == `1`': ["a4"],
        'name != `"a"`': ["b2", "c3"],
        'name == `"z"`': [],
    }
    clients = {}
    for expression in expressions:
        encoded = base64.b64encode(expression.encode()).decode()
        client = clients[expression] = await talk.connect(binary=binary)
        attached = await client.attach(f"[filter={encoded}]{CHANNEL}")
        assert attached["flags"] == Mode.SUBSCRIBE
    await publish(m, "a1", "b2")
    await m.publish("3", name="c", client_id="me")
    await m.publish("4", name="a", extras={"headers": {"x": 1}})
    await talk.settled()
    for expression, expected in expressions.items():
        encoded = base64.b64encode(expression.encode()).decode()
        items = await clients[expression].hears_items(f"[filter={encoded}]{CHANNEL}", len(expected))
        assert [item["name"] + item["data"] for item in items] == expected, expression
        clients[expression].hears_nothing_more()


@pytest.mark.parametrize(
    "expression", ["name ==", "a[*]", "foo(name)", "=", "bmFtZSA9PQ==", "9999", "x" * 2_100]
)
async def test_expressions_that_are_none(talk: Talk, m: Editing, expression: str) -> None:
    """The channel fails; the connection and its other channels do not."""
    me = await talk.connect()
    await me.attach(CHANNEL)
    name = f"[filter={expression}]{CHANNEL}"
    me.says(Action.ATTACH, channel=name)
    await me.hears_error(Action.ERROR, 40000, 400, channel=name)
    await publish(m, "a1")
    assert await me.hears_names(CHANNEL, 1) == ["a"]
    assert not me.session.over


@pytest.mark.parametrize(
    ("resource", "may"),
    [
        ("[filter]m:c", True),
        ("[filter]m:*", True),
        ("[filter]*", True),
        ("[*]m:c", True),
        ("[*]*", True),
        ("*", False),
        ("m:c", False),
        ("[meta]*", False),
        ("[filter]other", False),
    ],
)
async def test_which_keys_may(talk: Talk, m: Editing, resource: str, may: bool) -> None:
    token = talk.token(capability=f'{{"{resource}":["subscribe"]}}')
    me = await talk.connect(token=token)
    me.says(Action.ATTACH, channel=NAME)
    if may:
        assert (await me.hears(Action.ATTACHED, channel=NAME))["flags"] == Mode.SUBSCRIBE
    else:
        await me.hears_error(Action.ERROR, 40160, 401, channel=NAME)


async def test_only_to_listen(talk: Talk, m: Editing) -> None:
    """Every mode that is asked for but those; nothing is published, entered or annotated."""
    me = await talk.connect("me")
    attached = await me.attach(NAME, flags=ALL)
    assert attached["flags"] == Mode.SUBSCRIBE | Mode.ANNOTATION_SUBSCRIBE
    serial = await m.publish("x", name="a")
    await me.hears_items(NAME, 1)
    await me.hears_error(Action.NACK, 40010, 400, msgSerial=me.publishes(NAME, "a"))
    number = me.present(NAME, PresenceAction.ENTER)
    await me.hears_error(Action.NACK, 40010, 400, msgSerial=number)
    number = me.annotates(NAME, serial, reaction("x"))
    await me.hears_error(Action.NACK, 40010, 400, msgSerial=number)
    me.says(Action.ATTACH, channel=f"[?a=b]{NAME}", flags=Mode.PUBLISH)
    await me.hears_error(Action.ERROR, 40010, 400)
    other = NAME.replace('"a"', '"b"')
    me.says(Action.ATTACH, channel=other, flags=Mode.PUBLISH)
    await me.hears_error(Action.ERROR, 40160, 401)


async def test_presence_is_not_delivered(talk: Talk, m: Editing) -> None:
    me, you = await talk.connect("me"), await talk.connect("you")
    await you.attach(CHANNEL)
    you.present(CHANNEL, PresenceAction.ENTER)
    await you.hears(Action.ACK)
    attached = await me.attach(NAME)
    assert not attached["flags"] & HAS_PRESENCE
    me.says(Action.SYNC, channel=NAME)
    you.present(CHANNEL, PresenceAction.UPDATE)
    await talk.settled()
    me.hears_nothing_more()
    await publish(m, "a1")
    assert await me.hears_names(NAME, 1) == ["a"]


@pytest.mark.parametrize("ask", [{"params": {"rewind": "2"}}, {}])
async def test_a_rewind_counts_what_matches(talk: Talk, m: Editing, ask: Any) -> None:
    await publish(m, "a1", "b2", "a3", "b4", "b5", "a6", "b7")
    name = NAME if ask else f"[filter={WANTED}?rewind=2]{CHANNEL}"
    me = await talk.connect()
    attached = await me.attach(name, **ask)
    assert attached["flags"] & 0xFF == HAS_BACKLOG
    assert attached["params"] == {"rewind": "2"}
    await publish(m, "b8", "a9")
    items = await me.hears_items(name, 3)
    assert [item["data"] for item in items] == ["3", "6", "9"]


async def test_a_rewind_that_nothing_matches(talk: Talk, m: Editing) -> None:
    await publish(m, "b1")
    me = await talk.connect()
    assert not (await me.attach(NAME, params={"rewind": "1"}))["flags"] & 0xFF
    await publish(m, "a2")
    assert await me.hears_names(NAME, 1) == ["a"]


async def test_a_rewind_looks_at_so_many(
    talk: Talk, m: Editing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attach_point, "REWIND_SCANNED_MAX", 5)
    await publish(m, "a1", "b2", "b3", "a4", "b5", "b6")
    me = await talk.connect()
    await me.attach(NAME, params={"rewind": "9"})
    assert [item["data"] for item in await me.hears_items(NAME, 1)] == ["4"]


async def test_a_rewind_judges_messages_as_they_stand(talk: Talk, m: Editing) -> None:
    renamed = await m.publish("1", name="b")
    left = await m.publish("2", name="a")
    await m.publish("3", name="a")
    await m.update(renamed, name="a")
    await m.update(left, name="b")
    me = await talk.connect()
    await me.attach(NAME, params={"rewind": "2"})
    items = await me.hears_items(NAME, 2)
    assert [(item["action"], item["data"]) for item in items] == [(1, "1"), (0, "3")]


async def test_resumed(talk: Talk, m: Editing) -> None:
    me = await talk.connect()
    await me.attach(NAME)
    await publish(m, "a1")
    (seen,) = await me.hears_items(NAME, 1)
    me.vanishes()
    await publish(m, "b2", "a3", "b4")
    await publish(m, "a5")
    again = await talk.connect()
    reply = await again.attach(NAME, channelSerial=seen["serial"])
    assert reply["flags"] & 0xFF == RESUMED | HAS_BACKLOG
    assert [item["data"] for item in await again.hears_items(NAME, 2)] == ["3", "5"]


async def test_stalled_and_catching_up(talk: Talk, m: Editing) -> None:
    me = await talk.connect()
    await me.attach(NAME)
    me.outbox.stall()
    for number in range(300):
        await publish(m, f"{'ab'[number % 2]}{number}")
    await talk.settled()
    me.outbox.wake()
    items = await me.hears_items(NAME, 150)
    assert [item["data"] for item in items] == [str(number) for number in range(0, 300, 2)]


async def test_messages_that_begin_and_cease_to_match(talk: Talk, m: Editing) -> None:
    """What begins to is told whole; of what ceased to nothing is told. One after the other: what
    the tail brings together may be told as it came to stand."""
    me = await talk.connect()
    await me.attach(NAME)
    serial = await m.publish("1", name="b")
    for change, data, renamed in (
        (m.append, "2", {}),
        (m.append, "3", {"name": "a"}),
        (m.append, "4", {}),
        (m.append, "5", {"name": "b"}),
        (m.append, "6", {}),
        (m.append, "7", {"name": "a"}),
        (m.update, "8", {"name": "b"}),
        (m.update, "9", {"name": "a"}),
        (m.append, "!", {}),
    ):
        await change(serial, data, **renamed)
        await talk.settled()
    told = [(item["action"], item["data"]) for item in await me.hears_items(NAME, 5)]
    assert told == [(1, "123"), (5, "4"), (1, "1234567"), (1, "9"), (5, "!")]


async def test_annotations_of_what_matches(talk: Talk, m: Editing) -> None:
    """Of other messages neither an annotation is told nor what they come to."""
    me = await talk.connect()
    await me.attach(NAME, flags=Mode.SUBSCRIBE | Mode.ANNOTATION_SUBSCRIBE)
    hidden = await m.publish("1", name="b")
    shown = await m.publish("2", name="a")
    await me.hears_items(NAME, 1)
    for serial in (hidden, shown):
        await m.annotate(serial, {"action": 0, "type": "comment"})
        await m.annotate(serial, reaction("x", method="total.v1"))
    found = [await me.next() for _ in range(3)]
    assert [message["action"] for message in found] == [21, 15, 21]
    about = [item for message in found for item in message.get("annotations", [])]
    assert {item["messageSerial"] for item in about} == {shown}
    await talk.settled()
    me.hears_nothing_more()


async def test_beside_the_whole_channel_and_other_filters(talk: Talk, m: Editing) -> None:
    me = await talk.connect()
    other = f'[filter=name == `"b"`]{CHANNEL}'
    for name in (NAME, CHANNEL, other):
        await me.attach(name)
    await publish(m, "a1", "b2")
    await talk.settled()
    heard: dict[str, list[str]] = {}
    for _ in range(3):
        message = await me.hears(Action.MESSAGE)
        heard[message["channel"]] = [item["data"] for item in message["messages"]]
    assert heard == {NAME: ["1"], CHANNEL: ["1", "2"], other: ["2"]}
    me.says(Action.DETACH, channel=NAME)
    await me.hears(Action.DETACHED, channel=NAME)
    await publish(m, "a3")
    await me.hears_items(CHANNEL, 1)
    me.hears_nothing_more()


async def test_without_echo_and_ephemeral(talk: Talk, m: Editing) -> None:
    me = await talk.connect("me", echo=False)
    await me.attach(NAME)
    me.publishes(CHANNEL, "a", data="mine")
    await me.hears(Action.ACK)
    await publish(m, "a1", "b2", extras={"ephemeral": True})
    assert [item["data"] for item in await me.hears_items(NAME, 1)] == ["1"]
