"""Messages that change, as conversations: who is told a fragment, and who the whole."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

import broker
from api.realtime.protocol import HAS_BACKLOG, RESUMED, Action
from broker.channels.modes import Mode
from broker.interactions.state import APPEND, CREATE, DELETE, UPDATE
from broker.live import follower
from tests.api.conversation import STUCK_S, Client, Message, Talk, talking
from tests.broker.interactions.editing import CHANNEL, Editing

Told = tuple[int, str | bytes | None]


@pytest.fixture
async def talk(tmp_path: Path) -> AsyncIterator[Talk]:
    async with broker.open(tmp_path / "data") as b, talking(b) as t:
        await Editing(b).prepare()
        yield t


class _OneByOne(Editing):
    """Changes that are told one after the other. Whoever is told the whole gets it as it is when it
    is looked up, with whatever came meanwhile: then that is not told again."""

    talk: Talk

    async def change(self, *given: Any, **fields: Any) -> str:
        serial = await super().change(*given, **fields)
        await self.talk.settled()
        return serial


@pytest.fixture
def m(talk: Talk) -> Editing:
    one_by_one = _OneByOne(talk.broker)
    one_by_one.talk = talk
    return one_by_one


async def heard(client: Client, count: int = 1, channel: str = CHANNEL) -> list[Told]:
    return [(item["action"], item.get("data")) for item in await client.hears_items(channel, count)]


async def acked(client: Client, msg_serial: int) -> str:
    """The serial that an ACK names."""
    ack = await client.hears(Action.ACK, msgSerial=msg_serial, count=1)
    serial: str = ack["res"][0]["serials"][0]
    return serial


@pytest.mark.parametrize("binary", [True, False])
async def test_update_delete_append(talk: Talk, binary: bool) -> None:
    me = await talk.connect("me", binary=binary)
    await me.attach(CHANNEL)
    me.publishes(CHANNEL, "n", data="a", extras={"headers": {"x": 1}})
    (created,) = await me.hears_items(CHANNEL, 1)
    serial = await acked(me, 0)
    steps: list[tuple[int, dict[str, Any], int, Any]] = [
        (APPEND, {"data": "b"}, APPEND, "b"),
        (UPDATE, {"data": "c"}, UPDATE, "c"),
        (UPDATE, {"name": "other"}, UPDATE, "c"),
        (DELETE, {}, DELETE, "c"),
        (APPEND, {"data": "d"}, APPEND, "d"),
    ]
    versions = []
    for action, fields, told, data in steps:
        operation = {"description": "why", "metadata": {"k": "v"}}
        number = me.changes(CHANNEL, serial, action, version=operation, **fields)
        (item,) = await me.hears_items(CHANNEL, 1)
        assert (item["action"], item["data"], item["serial"]) == (told, data, serial)
        assert (item["id"], item["timestamp"]) == (created["id"], created["timestamp"])
        assert (item["clientId"], item["connectionId"]) == ("me", me.id)
        assert item["extras"] == {"headers": {"x": 1}}
        version = item["version"]
        assert version == {**version, **operation, "clientId": "me"}
        assert version["timestamp"] > created["timestamp"]
        assert await acked(me, number) == version["serial"]
        versions.append(version["serial"])
    assert [serial, *versions] == sorted({serial, *versions})


@pytest.mark.parametrize("data", ["text ü", b"\x00\xff"])
async def test_fragments_in_both_formats(talk: Talk, m: Editing, data: Any) -> None:
    clients = [await talk.connect(binary=binary) for binary in (True, False)]
    for client in clients:
        await client.attach(CHANNEL)
    serial = await m.publish(data)
    await m.append(serial, data)
    binary, text = [(await client.hears_items(CHANNEL, 2))[1] for client in clients]
    assert (binary["action"], binary["data"]) == (APPEND, data)
    encoded = (
        text["data"] if isinstance(data, str) else msgspec.json.decode(msgspec.json.encode(data))
    )
    assert text["data"] == encoded
    assert text.get("encoding") == (None if isinstance(data, str) else "base64")


async def test_attached_before_it_was_published(talk: Talk, m: Editing) -> None:
    me = await talk.connect()
    await me.attach(CHANNEL)
    serial = await m.publish("a")
    for letter in "bc":
        await m.append(serial, letter)
    assert await heard(me, 3) == [(CREATE, "a"), (APPEND, "b"), (APPEND, "c")]


async def test_attached_after_it_was_published(talk: Talk, m: Editing) -> None:
    serial = await m.publish("a")
    await m.append(serial, "b")
    me = await talk.connect()
    await me.attach(CHANNEL)
    await m.append(serial, "c")
    await m.append(serial, "d")
    assert await heard(me, 2) == [(UPDATE, "abc"), (APPEND, "d")]


async def test_an_append_of_nothing_but_a_name(talk: Talk, m: Editing) -> None:
    """No data, and no encoding of any."""
    me = await talk.connect()
    await me.attach(CHANNEL)
    serial = await m.publish("{}", encoding="json")
    await m.append(serial, name="named")
    item = (await me.hears_items(CHANNEL, 2))[1]
    assert (item["action"], item["name"]) == (APPEND, "named")
    assert not {"data", "encoding"} & item.keys()


async def test_rewound(talk: Talk, m: Editing) -> None:
    serial = await m.publish("a")
    await m.append(serial, "b")
    never = await m.publish("x")
    me = await talk.connect()
    await me.attach(CHANNEL, params={"rewind": "2"})
    assert await heard(me, 2) == [(UPDATE, "ab"), (CREATE, "x")]
    await m.append(serial, "c")
    await m.append(never, "y")
    await m.append(never, "z")
    assert await heard(me, 3) == [(APPEND, "c"), (UPDATE, "xy"), (APPEND, "z")]


async def test_resumed(talk: Talk, m: Editing) -> None:
    """What it saw may have grown, what it did not see may have, too: each is told once, as it
    stands, where it was published or first changed."""
    me = await talk.connect()
    await me.attach(CHANNEL)
    seen = await m.publish("a")
    (last,) = await me.hears_items(CHANNEL, 1)
    me.vanishes()
    await m.append(seen, "b")
    unseen = await m.publish("x")
    await m.append(unseen, "y")
    await m.append(seen, "c")
    again = await talk.connect()
    attached = await again.attach(CHANNEL, channelSerial=last["serial"])
    assert attached["flags"] & 0xFF == RESUMED | HAS_BACKLOG
    assert await heard(again, 2) == [(UPDATE, "abc"), (UPDATE, "xy")]
    await m.append(seen, "d")
    await m.append(unseen, "z")
    assert await heard(again, 2) == [(APPEND, "d"), (APPEND, "z")]
    await talk.settled()
    again.hears_nothing_more()


async def test_resumed_where_nothing_was_missed(talk: Talk, m: Editing) -> None:
    """It says what it saw last, but not that it kept it."""
    me = await talk.connect()
    await me.attach(CHANNEL)
    serial = await m.publish("a")
    (last,) = await me.hears_items(CHANNEL, 1)
    me.vanishes()
    again = await talk.connect()
    attached = await again.attach(CHANNEL, channelSerial=last["serial"])
    assert attached["flags"] & 0xFF == RESUMED
    await m.append(serial, "b")
    await m.append(serial, "c")
    assert await heard(again, 2) == [(UPDATE, "ab"), (APPEND, "c")]


async def test_a_change_is_a_backlog(talk: Talk, m: Editing) -> None:
    serial = await m.publish("a")
    me = await talk.connect()
    attached = await me.attach(CHANNEL)
    me.vanishes()
    await m.delete(serial)
    again = await talk.connect()
    found = await again.attach(CHANNEL, channelSerial=attached["channelSerial"])
    assert found["flags"] & 0xFF == RESUMED | HAS_BACKLOG
    assert await heard(again) == [(DELETE, "a")]


async def test_what_resumed_attachments_missed_of_what_is_gone(talk: Talk, m: Editing) -> None:
    """A version that was trimmed with its message cannot be told: that is said."""
    serial = await m.publish("a")
    me = await talk.connect()
    attached = await me.attach(CHANNEL)
    me.vanishes()
    await m.append(serial, "b")
    await talk.broker.purge(m.app, channel=CHANNEL)
    again = await talk.connect()
    again.says(Action.ATTACH, channel=CHANNEL, channelSerial=attached["channelSerial"])
    found = await again.hears_error(Action.ATTACHED, 90003, 404, channel=CHANNEL)
    assert not found["flags"] & RESUMED


@pytest.mark.parametrize("page", [1, 2, 200])
async def test_stalled_and_catching_up(
    talk: Talk, m: Editing, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    """From disk it is told each message as it stands, and fragments again when it is live."""
    monkeypatch.setattr(follower, "PAGE_RECORDS", page)
    me = await talk.connect()
    await me.attach(CHANNEL)
    first = await m.publish("a")
    assert await heard(me) == [(CREATE, "a")]
    me.outbox.stall()
    await m.append(first, "b")
    second = await m.publish("x")
    await m.append(second, "y")
    await m.append(first, "c")
    await talk.settled()
    me.outbox.wake()
    assert await heard(me, 2) == [(UPDATE, "abc"), (UPDATE, "xy")]
    with trio.fail_after(STUCK_S):
        while me.session.is_catching_up:
            await trio.lowlevel.checkpoint()
    await m.append(first, "d")
    await m.append(second, "z")
    third = await m.publish("p")
    await m.append(third, "q")
    expected = [(APPEND, "d"), (APPEND, "z"), (CREATE, "p"), (APPEND, "q")]
    assert await heard(me, 4) == expected


async def test_without_echo(talk: Talk, m: Editing) -> None:
    """Its own changes are not told; what others then add to the message is told with them."""
    me = await talk.connect("me", echo=False)
    await me.attach(CHANNEL)
    me.publishes(CHANNEL, "n", data="a")
    serial = await acked(me, 0)
    await acked(me, me.changes(CHANNEL, serial, APPEND, data="b"))
    await talk.settled()
    me.hears_nothing_more()
    await m.append(serial, "c")
    await m.append(serial, "d")
    assert await heard(me, 2) == [(UPDATE, "abc"), (APPEND, "d")]
    await acked(me, me.changes(CHANNEL, serial, APPEND, data="e"))
    await m.append(serial, "f")
    assert await heard(me) == [(UPDATE, "abcdef")]
    others = await m.publish("x")
    await m.append(others, "y")
    assert await heard(me, 2) == [(CREATE, "x"), (UPDATE, "xy")]


async def test_own_messages_that_were_annotated_are_no_echo(talk: Talk, m: Editing) -> None:
    me = await talk.connect("me", echo=False)
    attached = await me.attach(CHANNEL)
    me.publishes(CHANNEL, "n", data="a")
    serial = await acked(me, 0)
    await m.annotate(serial, {"action": 0, "type": "t:total.v1"})
    me.vanishes()
    again = await talk.connect("me", resume=me.held.key, echo=False)
    await again.attach(CHANNEL, channelSerial=attached["channelSerial"])
    (item,) = await again.hears_items(CHANNEL, 1)
    assert (item["action"], item["serial"]) == (4, serial)


async def test_one_that_listens_for_other_things(talk: Talk, m: Editing) -> None:
    """Modes decide: without SUBSCRIBE nothing of a message is told; with it again, wholes first."""
    me = await talk.connect()
    await me.attach(CHANNEL)
    serial = await m.publish("a")
    assert await heard(me) == [(CREATE, "a")]
    await me.attach(CHANNEL, flags=Mode.PUBLISH)
    await m.append(serial, "b")
    await talk.settled()
    await me.attach(CHANNEL)
    await m.append(serial, "c")
    await m.append(serial, "d")
    assert await heard(me, 2) == [(UPDATE, "abc"), (APPEND, "d")]


async def test_many_who_are_told_the_same_share_its_encoding(talk: Talk, m: Editing) -> None:
    old = await m.publish("a")
    clients = [await talk.connect() for _ in range(10)]
    for client in clients:
        await client.attach(CHANNEL)
    variants: list[int] = []
    key = clients[0].session._channels._attached[CHANNEL].key

    class Watch:
        def offer(self, batch: Any) -> None:
            variants.append(len(batch.encoded))

        def close(self) -> None:
            pass

    talk.broker.epoch.hub.add(key, Watch())
    new = await m.publish("x")
    for letter in "bcd":
        await m.append(old, letter)
        await m.append(new, letter)
    for client in clients:
        assert len(await heard(client, 7)) == 7
    assert variants == [1] * len(variants)


REFUSED: dict[str, tuple[dict[str, Any], int, int]] = {
    "no such message": ({"serial": "nonsense"}, 40400, 404),
    "an action that only equals one": ({"action": True}, 40000, 400),
    "an action that is no integer": ({"action": 1.0}, 40000, 400),
    "data of another kind": ({"action": APPEND, "data": 7}, 40013, 400),
    "another encoding": ({"action": APPEND, "encoding": "foo"}, 40013, 400),
    "extras": ({"extras": {"unknown": 1}}, 40032, 400),
    "who it is not": ({"version": {"clientId": "you"}}, 40012, 400),
    "a version that is none": ({"version": 7}, 40000, 400),
    "metadata that is none": ({"version": {"metadata": {"a": 1}}}, 40000, 400),
    "much metadata": ({"version": {"metadata": {"a": "x" * 9_000}}}, 40000, 400),
    "a long description": ({"version": {"description": "x" * 3_000}}, 40000, 400),
    "too large": ({"data": "x" * 65_537}, 40009, 413),
}


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("what", REFUSED)
async def test_changes_that_are_refused(talk: Talk, m: Editing, what: str, binary: bool) -> None:
    """One at a time; those beside it are made."""
    fields, code, status = REFUSED[what]
    me = await talk.connect("me", binary=binary)
    serial = await m.publish("a")
    given = {"serial": serial, "action": UPDATE, "data": "b", **fields}
    wrong = me.changes(CHANNEL, given.pop("serial"), given.pop("action"), **given)
    right = me.changes(CHANNEL, serial, APPEND, data="c")
    await me.hears_error(Action.NACK, code, status, msgSerial=wrong)
    await acked(me, right)
    assert await m.history() == [(1, "ac")]


async def test_a_change_comes_alone(talk: Talk, m: Editing) -> None:
    me = await talk.connect()
    serial = await m.publish("a")
    change = {"serial": serial, "action": UPDATE, "data": "b"}
    me.says(Action.MESSAGE, channel=CHANNEL, msgSerial=0, messages=[change, change])
    await me.hears_error(Action.NACK, 40000, 400, msgSerial=0)
    assert await m.history() == [(0, "a")]


@pytest.mark.parametrize(
    ("channel", "code", "status"),
    [("other", 93002, 400), ("[filter=name]m:c", 40010, 400), ("[meta]log", 40160, 401)],
)
async def test_where_nothing_changes(
    talk: Talk, m: Editing, channel: str, code: int, status: int
) -> None:
    me = await talk.connect()
    serial = await m.publish("a")
    number = me.changes(channel, serial, UPDATE, data="b")
    await me.hears_error(Action.NACK, code, status, msgSerial=number)


async def test_what_a_token_permits(talk: Talk, m: Editing) -> None:
    """Capabilities `-own` and `-any`, attached and not."""
    token = talk.token(capability='{"*":["subscribe","publish","message-update-own"]}')
    me = await talk.connect(token=token)
    mine, yours = await m.publish("a", client_id="me"), await m.publish("b", client_id="you")
    for _ in range(2):
        await acked(me, me.changes(CHANNEL, mine, APPEND, data="!"))
        number = me.changes(CHANNEL, yours, UPDATE, data="!")
        await me.hears_error(Action.NACK, 40160, 401, msgSerial=number)
        number = me.changes(CHANNEL, mine, DELETE)
        await me.hears_error(Action.NACK, 40160, 401, msgSerial=number)
        await me.attach(CHANNEL, flags=Mode.PUBLISH)
    await me.attach(CHANNEL, flags=Mode.SUBSCRIBE)
    number = me.changes(CHANNEL, mine, UPDATE, data="!")
    await me.hears_error(Action.NACK, 40165, 401, msgSerial=number)


async def test_changes_in_flight_when_the_connection_is_lost(talk: Talk, m: Editing) -> None:
    """They are sent again on the resumed one, and made once."""
    me = await talk.connect("me")
    serial = await m.publish("a")
    sent: list[Message] = []
    for number, letter in enumerate("bcd"):
        message = {"serial": serial, "action": APPEND, "data": letter}
        sent.append(
            {
                "action": Action.MESSAGE,
                "channel": CHANNEL,
                "msgSerial": number,
                "messages": [message],
            }
        )
    me.says_all(*sent)
    await talk.settled()
    me.vanishes()
    again = await talk.connect("me", resume=me.held.key)
    again.says_all(*sent)
    ack = await again.hears(Action.ACK, msgSerial=0, count=3)
    assert await m.history() == [(1, "abcd")]
    page = await m.page(serial)
    assert page.messages[-1].version is not None
    assert ack["res"][-1]["serials"] == [page.messages[-1].version.serial]
